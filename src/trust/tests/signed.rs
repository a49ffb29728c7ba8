//! TUF beside signatures of other tools.

use super::*;
use crate::trust::rule::Waivable;
use crate::trust::signatures::tests::{Pair, by, end, line};

/// A collection that lists the bundle, and a signature that the scope needs too.
fn both(signed: bool) -> Deployer {
    let mut d = Deployer::new();
    let pair = Pair::new();
    let anchor = pair.anchor();
    if signed {
        d.hung = end(vec![pair.sign(&d.bundle.digest)]);
    }
    d.rule = Some(Box::new(move |rule| {
        rule.signers.push(anchor.clone());
        rule.required.signatures.push(line(1, std::slice::from_ref(&anchor)));
    }));
    d
}

fn says(d: &mut Deployer) -> String {
    let report = d.verify();
    let because = report.because().map(|c| format!(": {}", c.code)).unwrap_or_default();
    format!("{}{because}", report.verdict().as_str())
}

#[test]
fn both_must_vouch_where_both_are_required() {
    for digest in [false, true] {
        let by_digest = |mut d: Deployer| {
            if digest {
                (d.tag, d.digest) = (None, Some(d.bundle.digest.clone()));
            }
            d
        };
        let mut d = by_digest(both(true));
        assert_eq!(says(&mut d), "trusted");
        assert_eq!(says(&mut by_digest(both(false))), "not-trusted: signature.none");
        let mut d = by_digest(both(true));
        d.sim.entries.clear();
        d.sim.at_version(2, NOW);
        d.serve();
        let no = if digest { "bundle.digest.unlisted" } else { "bundle.tag.unlisted" };
        assert_eq!(says(&mut d), format!("not-trusted: {no}"));
        // What could not be looked at is open, unless something says no.
        let mut d = by_digest(both(true));
        d.state = StateAnswer::Unreadable("503".into());
        assert_eq!(says(&mut d), "undecided: state.unreadable");
        let mut d = by_digest(both(false));
        d.state = StateAnswer::Unreadable("503".into());
        assert_eq!(says(&mut d), "not-trusted: signature.none");
    }
}

#[test]
fn a_revocation_refuses_what_is_signed_also_where_tuf_is_waived() {
    for waived in [false, true] {
        let mut d = both(true);
        let edit = d.rule.take().unwrap();
        d.rule = Some(Box::new(move |rule| {
            edit(rule);
            if waived {
                (rule.required.tuf, rule.required.tuf_waived) = (false, Some(by("not yet")));
            }
        }));
        assert_eq!(says(&mut d), "trusted");
        d.sim.list = super::revocations::revoking(&d.bundle.digest);
        d.sim.at_version(2, NOW);
        d.serve();
        assert_eq!(says(&mut d), "not-trusted: revocation.bundle");
    }
}

#[test]
fn where_tuf_is_waived_it_need_not_vouch_and_the_report_says_so() {
    let mut d = both(true);
    let edit = d.rule.take().unwrap();
    d.rule = Some(Box::new(move |rule| {
        edit(rule);
        (rule.required.tuf, rule.required.tuf_waived) = (false, Some(by("not yet")));
    }));
    d.sim.entries.clear();
    d.sim.at_version(2, NOW);
    d.serve();
    assert_eq!(says(&mut d), "trusted");
    let report = d.verify();
    assert!(report.checks.iter().any(|c| c.code == Code::TufWaived && c.outcome.as_str() == "waived"));
}

#[test]
fn a_list_of_unsigned_bundles_replaces_no_tuf_anchor() {
    let listed = |d: &mut Deployer| {
        let edit = d.rule.take().unwrap();
        let digest = d.bundle.digest.clone();
        d.rule = Some(Box::new(move |rule| {
            edit(rule);
            rule.allow.push(Listing {
                digest: Some(digest.clone()),
                scope: Scope::Any,
                unsigned: true,
                reason: "old".into(),
                origin: Origin::default(),
            });
        }));
    };
    let mut d = both(false);
    listed(&mut d);
    assert_eq!(says(&mut d), "trusted");
    d.sim.entries.clear();
    d.sim.at_version(2, NOW);
    d.serve();
    assert_eq!(says(&mut d), "not-trusted: bundle.tag.unlisted");
}

/// Signatures that are not checked leave a scope that needs them "not checked", whatever TUF says; where none are needed, TUF decides.
#[test]
fn not_checked_is_never_trusted_where_signatures_are_needed() {
    let mut d = both(true);
    let edit = d.rule.take().unwrap();
    d.rule = Some(Box::new(move |rule| {
        edit(rule);
        rule.checks.signature = Waivable::Waived { by: by("later") };
    }));
    assert_eq!(says(&mut d), "not-checked: signature.off");
    let mut d = Deployer::new();
    d.rule = Some(Box::new(|rule| rule.checks.signature = Waivable::Waived { by: by("later") }));
    assert_eq!(says(&mut d), "trusted");
}
