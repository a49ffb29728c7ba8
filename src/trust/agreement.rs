//! How many say the same of one bundle: sources of an anchor, and roles that a collection's own top-level targets names.

use std::collections::BTreeSet;

use super::bundle;
use super::candidate::{Candidate, Court};
use super::code::Code;
use super::report::{AnchorReport, Check, Verdict};
use super::verify::Question;
use crate::oci::Descriptor;
use crate::tuf::Agreement;

/// The codes of one kind of agreement.
pub(super) struct Codes {
    enough: Code,
    short: Code,
    open: Code,
}

/// What the anchor asks of its sources.
pub(super) const OF_SOURCES: Codes =
    Codes { enough: Code::Agreement, short: Code::AgreementShort, open: Code::AgreementOpen };
/// What the collection's owner asks of its roles.
const OF_ROLES: Codes =
    Codes { enough: Code::AgreementOwner, short: Code::AgreementOwnerShort, open: Code::AgreementOwnerOpen };

/// Whether at least `min` of `voices` trust the bundle. All of them judge one digest and length, so those that do agree. The same
/// role of the same collection at the same place counts once, whatever it was asked as. Those that could not be looked at do not
/// agree; when they could have made up the number, nothing is decided.
pub(super) fn count(min: usize, voices: &[AnchorReport], codes: &Codes) -> Check {
    let says = |v: Verdict| voices.iter().filter(move |r| r.verdict() == v);
    let mut agreeing: BTreeSet<_> = says(Verdict::Trusted).map(AnchorReport::voice).collect();
    // Where no place was named it may be any of those that were: it is no voice beside them.
    let placed: BTreeSet<_> =
        agreeing.iter().filter(|(_, _, at)| at.is_some()).map(|(c, by, _)| (*c, *by)).collect();
    agreeing.retain(|(c, by, at)| at.is_some() || !placed.contains(&(*c, *by)));
    let open = says(Verdict::Undecided).count();
    let mut detail = format!("{} of {} agree, {min} must", agreeing.len(), voices.len());
    let doubled = says(Verdict::Trusted).count() - agreeing.len();
    if doubled > 0 {
        detail.push_str("; the same role at the same place counts once");
    }
    for (word, verdict) in [("no", Verdict::NotTrusted), ("not decided", Verdict::Undecided)] {
        let names: Vec<String> = says(verdict).map(|r| r.name_and_reason()).collect();
        if !names.is_empty() {
            detail.push_str(&format!("; {word}: {}", names.join(", ")));
        }
    }
    let check = if agreeing.len() >= min {
        Check::pass(codes.enough, detail)
    } else if agreeing.len() + open >= min {
        Check::fail(codes.open, detail)
    } else {
        Check::fail(codes.short, detail)
    };
    check.with("agree", agreeing.len()).with("min", min).with("sources", voices.len())
}

/// What the role at the top demands beyond itself: each role that it names is asked, and enough of them must list the bundle alike.
/// It holds for whoever goes by that role, and no anchor can lower it.
pub(super) fn demanded(
    question: &Question,
    subject: &Descriptor,
    chosen: &Candidate,
    court: &Court<'_>,
    own: &AnchorReport,
) -> (Vec<AnchorReport>, Option<Check>) {
    let agreement = match Agreement::of(chosen.trusted.targets()) {
        Ok(None) => return (Vec::new(), None),
        Ok(Some(agreement)) => agreement,
        Err(fault) => {
            let detail = format!("what {} demands cannot be read: {fault}", chosen.trusted.top());
            return (Vec::new(), Some(Check::fail(Code::AgreementOwnerUnreadable, detail)));
        }
    };
    let voices: Vec<AnchorReport> = agreement
        .roles()
        .iter()
        .map(|role| {
            let court = Court { role, ..court.clone() };
            let (checks, by) = bundle::entries(question, subject, chosen, &court);
            AnchorReport { role: role.clone(), checks, by, sources: Vec::new(), ..own.clone() }
        })
        .collect();
    let check = count(agreement.min(), &voices, &OF_ROLES);
    (voices, Some(check))
}
