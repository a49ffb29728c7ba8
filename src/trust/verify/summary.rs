//! The report: what the sources came to, put together under their anchors.

use super::{BundleAnswer, Part, Question, Verification};
use crate::trust::agreement::{self, OF_SOURCES};
use crate::trust::code::Code;
use crate::trust::report::{AnchorReport, Check, Outcome, Report};
use crate::tuf::RoleName;

impl Verification {
    pub(super) fn report(&self, mut first: Vec<Check>) -> Report {
        let q = &self.question;
        let mut checks = q.notes.clone();
        if q.clock_override {
            let outcome = Outcome::Waived("BULLA_DANGEROUS_NOW is set".into());
            checks.push(Check::new(Code::ClockOverride, outcome, format!("judged as of {}", q.now)));
        }
        if q.anchors.is_empty() {
            checks.push(Check::fail(Code::AnchorNone, format!("no anchor covers {}", q.subject.repository)));
        }
        checks.append(&mut first);
        let found = match &self.bundle {
            Some(BundleAnswer::Found { bundle, .. }) => Some(bundle),
            _ => None,
        };
        Report {
            reference: q.reference.clone(),
            verified_as: q.subject.repository.to_string(),
            tag: q.subject.tag.clone(),
            digest: found.map(|b| b.digest.clone()).or_else(|| q.digest.clone()),
            media_type: found.map(|b| b.media_type.clone()),
            size: found.map(|b| b.size),
            checks,
            anchors: self.by_anchor(),
        }
    }

    /// The reports of sources that must agree, and of organisations with their members, put together under their anchors.
    fn by_anchor(&self) -> Vec<AnchorReport> {
        let mut out = Vec::new();
        for (i, anchor) in self.question.anchors.iter().enumerate() {
            let reports = self.lines.iter().zip(&self.reports).filter(|(line, _)| line.anchor == i);
            let mut reports: Vec<AnchorReport> = reports.filter_map(|(_, report)| report.clone()).collect();
            if anchor.organisation {
                let of = |wanted: bool| {
                    let lines =
                        self.lines.iter().zip(&self.reports).filter(move |(line, _)| line.anchor == i);
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

/// What was to be checked of the bundle, and was not because a check before it failed.
pub(super) fn not_reached(checks: &[Check], question: &Question) -> Vec<Check> {
    let reached = |stem: Code| checks.iter().any(|c| c.code.as_str().starts_with(stem.as_str()));
    let entry = match question.digest.is_none() && question.subject.tag.is_some() {
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
