//! The report: every check with its outcome. The verdict is computed from it, never stored.

use serde_json::{Map, Value};

use super::anchor::place_of;
use super::cnab::{CnabLevel, CnabReport, Provenance, Reached};
use super::code::{Code, Says};
use super::rule::{Attestations, Required, Signatures};
use super::signatures::{LineReport, SignatureReport};
use crate::oci::{Digest, Tag};
use crate::time::UnixTime;
use crate::tuf::{CollectionName, RoleName, TufError};

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// A trusted release.
    Trusted,
    /// Looked at, and not trusted.
    NotTrusted,
    /// The signatures that the scope requires are not checked, because a statement says so. Never trusted.
    NotChecked,
    /// Something could not be looked at.
    Undecided,
}

/// How a check ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It holds.
    Pass,
    /// Worth knowing; changes nothing.
    Note,
    /// It does not hold.
    Fail,
    /// It does not hold, and a statement allows that, for this reason.
    Waived(String),
    /// A check before it failed.
    NotReached,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Its code.
    pub code: Code,
    /// How it ended.
    pub outcome: Outcome,
    /// What it is about, for people.
    pub detail: String,
    /// Expected, found, times, key ids: for machines.
    pub data: Map<String, Value>,
}

/// What was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Evidence {
    /// The live state.
    State,
    /// What this installation remembers.
    Memory,
    /// A seal on the bundle.
    Seal,
}

/// The checks under one anchor, or of one of the sources that must agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnchorReport {
    /// The anchor's id in `trust.json`.
    pub anchor: String,
    /// The collection it vouches for.
    pub collection: CollectionName,
    /// The role from which the search started.
    pub role: RoleName,
    /// Whether that role stands in the place of top-level targets, with keys that the deployer gave (TAP 13).
    pub own_keys: bool,
    /// The only place whose state counts, where one was named.
    pub at: Option<String>,
    /// The role that vouches.
    pub by: Option<RoleName>,
    /// The final root, once the chain was walked.
    pub root: Option<Digest>,
    /// What was judged, once something served.
    pub evidence: Option<Evidence>,
    /// When that was signed.
    pub as_of: Option<UnixTime>,
    /// The checks, in order.
    pub checks: Vec<Check>,
    /// Those that must agree, each with its own checks; the check of the agreement is among `checks`.
    pub sources: Vec<Self>,
}

/// The whole report of one reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What was asked, as typed.
    pub reference: String,
    /// The name it was judged under.
    pub verified_as: String,
    /// The tag it was judged under.
    pub tag: Option<Tag>,
    /// The digest it was resolved to, once.
    pub digest: Option<Digest>,
    /// Media type of the bundle as served.
    pub media_type: Option<String>,
    /// Size of the bundle's manifest, bytes.
    pub size: Option<u64>,
    /// Checks before any anchor's.
    pub checks: Vec<Check>,
    /// One report a TUF anchor.
    pub anchors: Vec<AnchorReport>,
    /// What the scope requires.
    pub required: Required,
    /// What the signatures came to, where any are required and that was reached.
    pub signatures: Option<SignatureReport>,
    /// What the attestations came to, likewise.
    pub attestations: Option<SignatureReport>,
    /// Of a CNAB bundle: what came of looking into it.
    pub cnab: Option<CnabReport>,
}

/// One thing that the scope requires, and what it came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement<'a> {
    /// What.
    pub needs: Needs<'a>,
    /// How it ended; none: it was not reached.
    pub verdict: Option<Verdict>,
    /// The check that explains it best.
    pub because: Option<&'a Check>,
}

/// What is required.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Needs<'a> {
    /// One of the TUF anchors must vouch.
    Tuf,
    /// So many signers.
    Signatures(&'a Signatures, Option<&'a LineReport>),
    /// So many who say this.
    Attestations(&'a Attestations, Option<&'a LineReport>),
}

impl Evidence {
    /// As it is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Memory => "memory",
            Self::Seal => "seal",
        }
    }
}

impl Verdict {
    /// As it is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trusted => "trusted",
            Self::NotTrusted => "not-trusted",
            Self::NotChecked => "not-checked",
            Self::Undecided => "undecided",
        }
    }
}

impl Outcome {
    /// As it is printed.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Note => "note",
            Self::Fail => "fail",
            Self::Waived(_) => "waived",
            Self::NotReached => "not-reached",
        }
    }
}

impl Check {
    /// A check with this outcome.
    pub fn new(code: Code, outcome: Outcome, detail: impl Into<String>) -> Self {
        Self { code, outcome, detail: detail.into(), data: Map::new() }
    }

    /// It holds.
    pub fn pass(code: Code, detail: impl Into<String>) -> Self {
        Self::new(code, Outcome::Pass, detail)
    }

    /// Worth knowing.
    pub fn note(code: Code, detail: impl Into<String>) -> Self {
        Self::new(code, Outcome::Note, detail)
    }

    /// It does not hold.
    pub fn fail(code: Code, detail: impl Into<String>) -> Self {
        Self::new(code, Outcome::Fail, detail)
    }

    /// The failure of a metadata check.
    pub fn failed(e: &TufError) -> Self {
        Self::fail(e.into(), e.to_string()).with("role", e.role.to_string())
    }

    /// With one more datum.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.data.insert(key.to_owned(), value.into());
        self
    }

    /// Whether it failed.
    pub fn is_fail(&self) -> bool {
        self.outcome == Outcome::Fail
    }
}

impl AnchorReport {
    /// Trusted when a bundle check passed and nothing failed; one "no" beats any "undecided".
    pub fn verdict(&self) -> Verdict {
        match verdict_of(&self.checks) {
            Some(verdict) => verdict,
            None if self.checks.iter().any(vouches) => Verdict::Trusted,
            None => Verdict::NotTrusted,
        }
    }

    /// Every check, of its sources too.
    pub fn all_checks(&self) -> Vec<&Check> {
        let below = self.sources.iter().flat_map(Self::all_checks);
        self.checks.iter().chain(below).collect()
    }

    /// What makes two voices one: the role that vouches, of the collection, as seen at this place. Which roots were pinned makes no
    /// difference, for a place can hold newer ones back from one of them.
    pub(super) fn voice(&self) -> (&CollectionName, Option<&RoleName>, Option<String>) {
        let spelt = |at: &String| at.parse().map_or_else(|_| at.clone(), |at| place_of(&at));
        (&self.collection, self.by.as_ref(), self.at.as_ref().map(spelt))
    }

    /// A source in a few words: collection, role, place.
    pub fn name(&self) -> String {
        let mut name = self.collection.to_string();
        if self.role != RoleName::targets() || self.own_keys {
            name.push_str(&format!(" {}", self.role));
        }
        if self.own_keys {
            name.push_str(" by keys given here");
        }
        if let Some(at) = &self.at {
            name.push_str(&format!(" at {at}"));
        }
        name
    }

    pub(super) fn name_and_reason(&self) -> String {
        let says = if self.verdict() == Verdict::Undecided { Says::Undecided } else { Says::No };
        match self.checks.iter().find(|c| c.is_fail() && c.code.says() == says) {
            Some(check) => format!("{} ({})", self.name(), check.code),
            None => self.name(),
        }
    }

    /// Whether a state was judged whose word on what is revoked holds now; of several sources, that of one.
    pub(super) fn says_what_is_revoked(&self) -> bool {
        let agreement = |check: &Check| check.code.as_str().starts_with("agreement");
        // An anchor that is nothing but its sources; a member, with its organisation among them, speaks for itself.
        if !self.sources.is_empty() && self.checks.iter().all(agreement) {
            return self.sources.iter().any(Self::says_what_is_revoked);
        }
        // That the bundle is not listed there, or that nobody there speaks for it, says nothing against the rest.
        let beside = |check: &Check| {
            check.code.as_str().starts_with("bundle.")
                || agreement(check)
                || check.code == Code::OrganisationNone
        };
        self.evidence.is_some() && self.checks.iter().filter(|c| c.is_fail()).all(beside)
    }

    fn revokes(&self) -> bool {
        self.all_checks().iter().any(|c| c.is_fail() && c.code == Code::RevocationBundle)
    }
}

impl Report {
    /// The verdict: checks before the anchors first; then a revocation under any anchor refuses; then one anchor that
    /// passes wholly suffices. Nothing that vouches is not trusted.
    pub fn verdict(&self) -> Verdict {
        if let Some(verdict) = verdict_of(&self.checks) {
            return verdict;
        }
        if self.anchors.iter().any(AnchorReport::revokes) {
            return Verdict::NotTrusted;
        }
        let whole = self.cnab.as_ref().and_then(CnabReport::verdict);
        match (self.by_requirements(), whole) {
            (_, Some(Verdict::NotTrusted)) => Verdict::NotTrusted,
            (Verdict::Trusted, Some(other)) => other,
            (decides, _) => decides,
        }
    }

    /// What everything that the scope requires comes to.
    fn by_requirements(&self) -> Verdict {
        let met: Vec<Verdict> =
            self.requirements().iter().map(|r| r.verdict.unwrap_or(Verdict::NotTrusted)).collect();
        for decides in [Verdict::NotTrusted, Verdict::NotChecked, Verdict::Undecided, Verdict::Trusted] {
            if met.contains(&decides) {
                return decides;
            }
        }
        // Nothing was required, and so nothing was checked.
        Verdict::NotTrusted
    }

    /// The level of CNAB-Sec 300 that the evidence reaches, and never a higher one; `provenance` is what of it was verified. Of other
    /// bundles there is none.
    pub fn cnab_level(&self, provenance: Provenance) -> Option<CnabLevel> {
        self.cnab.as_ref()?;
        if self.verdict() != Verdict::Trusted {
            return Some(CnabLevel::L0);
        }
        let vouch = || self.anchors.iter().filter(|a| a.verdict() == Verdict::Trusted);
        let images = |a: &AnchorReport| {
            a.all_checks().iter().any(|c| c.code == Code::CnabImages && c.outcome == Outcome::Pass)
        };
        let (bundle_signed, images_signed) = (vouch().next().is_some(), vouch().any(images));
        Some(CnabLevel::of(Reached { bundle_signed, images_signed, provenance }))
    }

    /// What the TUF anchors say together: one that passes wholly suffices.
    fn by_tuf(&self) -> Verdict {
        let verdicts: Vec<_> = self.anchors.iter().map(AnchorReport::verdict).collect();
        let suffices = [Verdict::Trusted, Verdict::Undecided].into_iter().find(|v| verdicts.contains(v));
        suffices.unwrap_or(Verdict::NotTrusted)
    }

    /// Everything that the scope requires, with what it came to, also what was not reached.
    pub fn requirements(&self) -> Vec<Requirement<'_>> {
        let tuf = self.required.tuf.then(|| {
            let verdict = (!self.anchors.is_empty()).then(|| self.by_tuf());
            let because = verdict.filter(|v| *v != Verdict::Trusted).and_then(|v| self.because_of_tuf(v));
            Requirement { needs: Needs::Tuf, verdict, because }
        });
        let lines = self.required.signatures.iter().enumerate().map(|(i, line)| {
            let report = self.signatures.as_ref().and_then(|s| s.lines.get(i));
            let verdict = report.and_then(LineReport::verdict);
            let faults = self.signatures.iter().flat_map(|s| &s.checks).filter(|c| c.is_fail());
            let because = match verdict {
                None | Some(Verdict::Trusted) => None,
                Some(Verdict::NotTrusted) => faults.chain(report.map(|r| &r.check)).next(),
                Some(_) => report.map(|r| &r.check),
            };
            Requirement { needs: Needs::Signatures(line, report), verdict, because }
        });
        let attested = self.required.attestations.iter().enumerate().map(|(i, line)| {
            let report = self.attestations.as_ref().and_then(|a| a.lines.get(i));
            let verdict = report.and_then(LineReport::verdict);
            let because = report.filter(|_| verdict.is_some_and(|v| v != Verdict::Trusted));
            Requirement {
                needs: Needs::Attestations(line, report),
                verdict,
                because: because.map(|r| &r.check),
            }
        });
        tuf.into_iter().chain(lines).chain(attested).collect()
    }

    fn because_of_tuf(&self, verdict: Verdict) -> Option<&Check> {
        if verdict == Verdict::Undecided {
            let open = self.anchors.iter().filter(|a| a.verdict() == Verdict::Undecided);
            let mut open = open.flat_map(|a| &a.checks);
            return open.find(|c| c.is_fail() && c.code.says() == Says::Undecided);
        }
        let all = || self.anchors.iter().flat_map(|a| &a.checks).filter(|c| c.is_fail());
        all().find(|c| c.code.says() == Says::No).or_else(|| all().next())
    }

    /// The failure that explains the verdict best: the first in order that says what the verdict says, for later ones
    /// follow from it; a revocation before all.
    pub fn because(&self) -> Option<&Check> {
        let verdict = self.verdict();
        if verdict == Verdict::Trusted {
            return None;
        }
        let first = |says: Says| self.checks.iter().find(|c| c.is_fail() && c.code.says() == says);
        if verdict == Verdict::Undecided
            && let Some(open) = first(Says::Undecided)
        {
            return Some(open);
        }
        if verdict == Verdict::NotTrusted {
            let below = self.anchors.iter().flat_map(AnchorReport::all_checks);
            let revoked = below.into_iter().find(|c| c.is_fail() && c.code == Code::RevocationBundle);
            if let Some(check) = revoked.or_else(|| first(Says::No)) {
                return Some(check);
            }
        }
        let says = if verdict == Verdict::Undecided { Says::Undecided } else { Says::No };
        let parts = self.cnab.iter().flat_map(|c| &c.checks);
        let part = parts.into_iter().find(|c| c.is_fail() && c.code.says() == says);
        if part.is_some() && self.by_requirements() != verdict {
            return part;
        }
        let requirements = self.requirements();
        let decides = requirements.iter().find(|r| r.verdict == Some(verdict));
        decides.and_then(|r| r.because).or(part).or_else(|| self.checks.iter().find(|c| c.is_fail()))
    }
}

pub(super) fn verdict_of(checks: &[Check]) -> Option<Verdict> {
    let says = |s: Says| checks.iter().any(|c| c.is_fail() && c.code.says() == s);
    if says(Says::No) {
        Some(Verdict::NotTrusted)
    } else if says(Says::Undecided) {
        Some(Verdict::Undecided)
    } else {
        None
    }
}

fn vouches(check: &Check) -> bool {
    let bundle = matches!(
        check.code,
        Code::BundleTag
            | Code::BundleRelease
            | Code::BundleTagMoving
            | Code::OrganisationMember
            | Code::Agreement
    );
    bundle && matches!(check.outcome, Outcome::Pass | Outcome::Note)
}
