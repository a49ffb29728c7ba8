//! The part of a verification that looks for attestations: whether any are needed, until enough are there.

use std::collections::BTreeSet;

use super::{BundleAnswer, Part, Verification, Want};
use crate::oci::Digest;
use crate::trust::rule::Attestations;
use crate::trust::signatures::{Attested, Bench, SignatureReport, SignaturesAnswer, Terms, unmeetable};

impl Verification {
    /// What to look at next, if that could change anything. What was taken back must be known before.
    pub(super) fn next_attestations(&mut self, digest: &Digest) -> Option<Want> {
        let lists = self.lines.iter().filter(|line| line.part == Part::Rescissions).count();
        if !self.wants_attestations(digest) || self.reports.len() < lists {
            return None;
        }
        let wanted = &self.question.rule.required.attestations;
        let anew = self.attested.as_ref().is_none_or(|attested| attested.digest() != digest);
        if anew {
            self.attested = Some(Attested::new(digest.clone(), wanted.len()));
        }
        let open = self.attested.as_ref().is_some_and(|attested| attested.is_open(wanted));
        let types: BTreeSet<String> = wanted.iter().map(|a| a.predicate_type.to_string()).collect();
        open.then(|| Want::Attestations { digest: digest.clone(), types, anew })
    }

    /// Whether attestations are needed for this bundle, and could be enough.
    fn wants_attestations(&self, digest: &Digest) -> bool {
        let rule = &self.question.rule;
        let can = |line: &Attestations| line.signers.from.len() >= line.signers.threshold.get() as usize;
        let lines = &rule.required.attestations;
        !lines.is_empty() && lines.iter().all(can) && rule.denied(digest).is_none()
    }

    pub(super) fn judge_attestations(&mut self, digest: &Digest, answer: &SignaturesAnswer) {
        let Some(mut attested) = self.attested.take().filter(|a| a.digest() == digest) else { return };
        let served = match &self.bundle {
            Some(BundleAnswer::Found { bundle, .. }) => Some(bundle).filter(|b| b.digest == *digest),
            _ => None,
        };
        let rule = &self.question.rule;
        let bench = Bench {
            digest,
            served,
            artifact: None,
            attestations: true,
            signers: &rule.signers,
            lists: &self.lists,
            must_know: rule.checks.rescinded_known,
            now: self.question.now,
        };
        let terms = Terms { lines: &[], checks: &rule.checks, now: self.question.now };
        attested.take(answer, &rule.required.attestations, &bench, &terms);
        self.attested = Some(attested);
    }

    /// What the attestations came to; none where none are required, or it was not reached.
    pub(super) fn attestation_report(&self, digest: Option<&Digest>) -> Option<SignatureReport> {
        let (rule, digest) = (&self.question.rule, digest?);
        let wanted = &rule.required.attestations;
        if wanted.is_empty() || rule.denied(digest).is_some() {
            return None;
        }
        match self.attested.as_ref().filter(|attested| attested.digest() == digest) {
            Some(attested) => Some(attested.report(wanted)),
            None if !self.wants_attestations(digest) => {
                let lines = wanted.iter().map(unmeetable).collect();
                Some(SignatureReport { lines, checks: Vec::new(), signed: None })
            }
            None => None,
        }
    }
}
