//! The report: what the sources came to, put together under their anchors.

use super::{BundleAnswer, Part, Question, Verification};
use crate::trust::agreement::{self, OF_SOURCES};
use crate::trust::cnab::Provenance;
use crate::trust::code::Code;
use crate::trust::report::{AnchorReport, Check, Outcome, Report, Verdict};
use crate::trust::rule::Rule;
use crate::trust::signatures::{LineReport, SignatureReport};
use crate::tuf::RoleName;

impl Verification {
    pub(super) fn report(&self, mut first: Vec<Check>) -> Report {
        let q = &self.question;
        let mut checks = q.notes.clone();
        if q.clock_override {
            let outcome = Outcome::Waived("BULLA_DANGEROUS_NOW is set".into());
            checks.push(Check::new(Code::ClockOverride, outcome, format!("judged as of {}", q.now)));
        }
        let rule = &q.rule;
        let found = match &self.bundle {
            Some(BundleAnswer::Found { bundle, .. }) => Some(bundle),
            _ => None,
        };
        let digest = found.map(|b| b.digest.clone()).or_else(|| q.digest.clone());
        let signatures = self.signature_report(digest.as_ref());
        if lacks_anchors(rule, signatures.as_ref()) {
            let detail = format!("no anchor covers {}", rule.subject.repository);
            checks.push(Check::fail(Code::AnchorNone, detail));
        }
        checks.extend(self.listed(digest.as_ref()));
        checks.append(&mut first);
        let anchors = self.by_anchor();
        let vouched = anchors.iter().any(|a| a.verdict() == Verdict::Trusted);
        if let (Some(tag), None, false, Some(_)) = (&rule.subject.tag, &q.digest, vouched, &signatures) {
            let detail =
                format!("that {tag} names this digest is the registry's word alone; no TUF anchor says so");
            checks.push(Check::note(Code::BundleTagUnbound, detail));
        }
        let cnab = found.and_then(|_| self.inside_report(&anchors));
        // By digest nothing may have been fetched but signatures, which say both.
        let signed = signatures.as_ref().and_then(|s| s.signed.clone());
        let mut report = Report {
            reference: q.reference.clone(),
            verified_as: rule.subject.repository.to_string(),
            tag: rule.subject.tag.clone(),
            digest: digest.clone(),
            media_type: found.map(|b| b.media_type.clone()).or_else(|| signed.clone().map(|s| s.0)),
            size: found.map(|b| b.size).or_else(|| signed.map(|s| s.1)),
            checks,
            anchors,
            required: rule.required.clone(),
            signatures,
            attestations: self.attestation_report(digest.as_ref()),
            cnab,
        };
        let waived = waived(&report, rule, q.digest.is_some());
        report.checks.extend(waived);
        // Provenance is not verified yet, so none counts.
        let level = report.cnab_level(Provenance::default());
        if let (Some(cnab), Some(level)) = (&mut report.cnab, level) {
            let check = Check::note(Code::CnabLevel, format!("CNAB-Sec level {level}"));
            cnab.checks.push(check.with("level", level.as_str()));
        }
        report
    }

    /// The reports of sources that must agree, and of organisations with their members, put together under their anchors.
    fn by_anchor(&self) -> Vec<AnchorReport> {
        let mut out = Vec::new();
        for (i, anchor) in self.question.rule.tuf.iter().enumerate() {
            let lines = || self.lines.iter().zip(&self.reports).filter(|(l, _)| l.part != Part::Rescissions);
            let reports = lines().filter(|(line, _)| line.anchor == i);
            let mut reports: Vec<AnchorReport> = reports.filter_map(|(_, report)| report.clone()).collect();
            if anchor.organisation {
                let of = |wanted: bool| {
                    let lines = lines().filter(move |(line, _)| line.anchor == i);
                    let lines = lines.filter(move |(l, _)| matches!(l.part, Part::Member { .. }) == wanted);
                    lines.filter_map(|(_, report)| report.clone()).collect::<Vec<_>>()
                };
                let (organisation, member) = (of(false), of(true).pop());
                match (member, organisation) {
                    (Some(mut member), mut organisation) => {
                        member.sources.append(&mut organisation);
                        out.push(member);
                    }
                    // It judges no bundle: without a member it never vouches.
                    (None, organisation) => out.extend(organisation.into_iter().map(|mut report| {
                        report.checks.retain(|c| c.code != Code::OrganisationMember);
                        report
                    })),
                }
                continue;
            }
            if anchor.sources.is_empty() {
                out.append(&mut reports);
                continue;
            }
            let Some(first) = reports.first() else { continue };
            let check = agreement::count(anchor.min(), &reports, &OF_SOURCES);
            out.push(AnchorReport {
                collection: anchor.collection.clone(),
                role: RoleName::targets(),
                own_keys: false,
                at: None,
                by: None,
                root: None,
                evidence: first.evidence.filter(|e| reports.iter().all(|r| r.evidence == Some(*e))),
                as_of: reports.iter().filter_map(|r| r.as_of).min(),
                checks: vec![check],
                anchor: first.anchor.clone(),
                sources: reports,
            });
        }
        out
    }
}

/// What counts of TUF anchors also where none must vouch: what they revoke, and what a tag names that must be current.
fn waived(report: &Report, rule: &Rule, by_digest: bool) -> Vec<Check> {
    let mut out = Vec::new();
    let statement = rule.statement.as_ref();
    if rule.required.tuf {
        return out;
    }
    if by_digest && rule.subject.tag.is_some() && statement.is_some_and(|s| s.require_current_tag) {
        let said = || report.anchors.iter().flat_map(AnchorReport::all_checks);
        let outdated = said().find(|c| c.is_fail() && c.code == Code::BundleTagOutdated).cloned();
        let vouching = report.anchors.iter().filter(|anchor| anchor.verdict() == Verdict::Trusted);
        let is_current = vouching
            .flat_map(AnchorReport::all_checks)
            .any(|c| c.code == Code::BundleTag && c.outcome == Outcome::Pass);
        let detail = "the tag must be current, and no TUF anchor says what it names";
        let unchecked = (!is_current).then(|| Check::fail(Code::BundleTagUnchecked, detail));
        out.extend(outdated.or(unchecked));
    }
    // Whoever can withhold a state must not undo by that what it revokes.
    let open = report.anchors.iter().filter(|anchor| !anchor.says_what_is_revoked());
    if report.verdict() == Verdict::Trusted && rule.checks.rescinded.is_kept() {
        out.extend(open.map(|anchor| {
            let failed = anchor.all_checks().into_iter().find(|check| check.is_fail());
            let why = failed.map_or_else(String::new, |check| format!(": {} ({})", check.detail, check.code));
            let detail = format!("{} need not vouch, and what it revokes is not known{why}", anchor.name());
            Check::fail(Code::RevocationOpen, detail).with("anchor", anchor.anchor.as_str())
        }));
    }
    out
}

/// Whether what is required could only be met by anchors that are not there.
fn lacks_anchors(rule: &Rule, signatures: Option<&SignatureReport>) -> bool {
    let nobody = rule.tuf.is_empty() && rule.signers.is_empty();
    let unmet = |line: &LineReport| line.verdict() == Some(Verdict::NotTrusted);
    let signatures = signatures.is_none_or(|s| s.lines.iter().all(unmet));
    rule.required.tuf && rule.tuf.is_empty() || nobody && signatures
}

/// What was to be checked of the bundle, and was not because a check before it failed.
pub(super) fn not_reached(checks: &[Check], question: &Question) -> Vec<Check> {
    let reached = |stem: Code| checks.iter().any(|c| c.code.as_str().starts_with(stem.as_str()));
    let entry = match question.digest.is_none() && question.rule.subject.tag.is_some() {
        true => Code::BundleTag,
        false => Code::BundleRelease,
    };
    if !checks.iter().any(Check::is_fail) || checks.iter().any(|c| c.code.as_str().starts_with("bundle.")) {
        return Vec::new();
    }
    let open = [entry, Code::Revocation].into_iter().filter(|code| !reached(*code));
    open.map(|code| Check::new(code, Outcome::NotReached, "a check before it failed")).collect()
}

pub(super) fn unresolved(answer: &BundleAnswer) -> Check {
    match answer {
        BundleAnswer::Found { unreadable, .. } => {
            Check::fail(Code::BundleAmbiguous, unreadable.clone().unwrap_or_default())
        }
        BundleAnswer::Absent => Check::fail(Code::RefAbsent, "no such tag or digest is there"),
        BundleAnswer::WrongContent(why) => Check::fail(Code::BundleContent, why),
        BundleAnswer::Failed(why) => Check::fail(Code::BundleResolve, why),
    }
}
