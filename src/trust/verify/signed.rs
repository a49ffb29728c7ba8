//! The part of a verification that looks for signatures of other tools: whether any are needed, until enough are there.

use std::collections::BTreeSet;

use super::{BundleAnswer, Part, Verification, Want};
use crate::oci::Digest;
use crate::trust::code::Code;
use crate::trust::report::{Check, Outcome};
use crate::trust::rule::Rule;
use crate::trust::signatures::{Bench, LineReport, SignatureReport, SignaturesAnswer, Tally, Terms, reason};

impl Verification {
    /// Whether the answer is known before anything is fetched: nobody is trusted for the subject, or the digest that was typed is
    /// denied.
    pub(super) fn is_settled_beforehand(&self) -> bool {
        let rule = &self.question.rule;
        let nobody =
            self.lines.is_empty() && !rule.required.signatures.iter().any(|line| !line.from.is_empty());
        let unchecked = !rule.checks.signature.is_kept() && !rule.required.signatures.is_empty();
        let denied = self.question.digest.as_ref().is_some_and(|digest| rule.denied(digest).is_some());
        denied || nobody && !unchecked && !self.may_be_listed_as_unsigned()
    }

    fn may_be_listed_as_unsigned(&self) -> bool {
        self.question.rule.allow.iter().any(|listing| listing.unsigned)
    }

    /// What to look at next, if that could change anything. What was taken back must be known before.
    pub(super) fn next_signatures(&mut self, digest: &Digest) -> Option<Want> {
        let lists = self.lines.iter().filter(|line| line.part == Part::Rescissions).count();
        if !self.wants_signatures(digest) || self.reports.len() < lists {
            return None;
        }
        let anew = self.tally.as_ref().is_none_or(|tally| tally.digest() != digest);
        if anew {
            self.tally = Some(Tally::new(digest.clone()));
        }
        let rule = &self.question.rule;
        let open = self.tally.as_ref().is_some_and(|tally| tally.is_open(&self.terms()));
        open.then(|| Want::Signatures { digest: digest.clone(), thumbprints: thumbprints(rule), anew })
    }

    /// Whether signatures are needed for this bundle, and could be enough.
    fn wants_signatures(&self, digest: &Digest) -> bool {
        let rule = &self.question.rule;
        let can = |line: &crate::trust::rule::Signatures| line.from.len() >= line.threshold.get() as usize;
        rule.checks.signature.is_kept()
            && !rule.required.signatures.is_empty()
            && rule.required.signatures.iter().all(can)
            && rule.denied(digest).is_none()
            && !rule.allowed(digest).is_some_and(|listing| listing.unsigned)
    }

    /// Whether nothing but its digest need be known of the bundle: where digests are denied, one could be a part of it.
    pub(super) fn needs_no_bundle(&self, digest: &Digest) -> bool {
        let denies = self.question.rule.deny.iter().any(|listing| listing.digest.is_some());
        !denies && self.has_signatures(digest)
    }

    /// Whether all that are needed were found.
    fn has_signatures(&self, digest: &Digest) -> bool {
        let terms = self.terms();
        self.wants_signatures(digest)
            && self.tally.as_ref().is_some_and(|t| t.digest() == digest && t.is_met(&terms))
    }

    pub(super) fn judge_signatures(&mut self, digest: &Digest, answer: &SignaturesAnswer) {
        let Some(mut tally) = self.tally.take().filter(|tally| tally.digest() == digest) else { return };
        let served = match &self.bundle {
            Some(BundleAnswer::Found { bundle, .. }) => Some(bundle).filter(|b| b.digest == *digest),
            _ => None,
        };
        let bench = Bench {
            digest,
            served,
            artifact: answer.artifact.as_ref(),
            attestations: false,
            signers: &self.question.rule.signers,
            lists: &self.lists,
            must_know: self.question.rule.checks.rescinded_known,
            now: self.question.now,
        };
        tally.take(answer, &bench, &self.terms());
        self.tally = Some(tally);
    }

    fn terms(&self) -> Terms<'_> {
        let rule = &self.question.rule;
        Terms { lines: &rule.required.signatures, checks: &rule.checks, now: self.question.now }
    }

    /// What the signatures came to; none where none are required, or it was not reached.
    pub(super) fn signature_report(&self, digest: Option<&Digest>) -> Option<SignatureReport> {
        let rule = &self.question.rule;
        if rule.required.signatures.is_empty() {
            return None;
        }
        if let Some(by) = rule.checks.signature.waived_by() {
            let detail = format!("not checked, by {}", by.file);
            let check = Check::fail(Code::SignatureOff, detail).with("reason", by.reason.clone());
            return Some(self.all_lines(&check.with("scope", by.scope.to_string())));
        }
        let digest = digest?;
        if rule.denied(digest).is_some() {
            return None;
        }
        if let Some(listing) = rule.allowed(digest).filter(|listing| listing.unsigned) {
            let why = format!("{}, by the allow list of {}", listing.reason, listing.origin);
            let check = Check::new(Code::Signature, Outcome::Waived(why), "no signature is needed for it");
            return Some(self.all_lines(&check));
        }
        let known = self.tally.as_ref().filter(|tally| tally.digest() == digest);
        match (known, self.wants_signatures(digest)) {
            (Some(tally), _) => Some(tally.report(&self.terms())),
            // It cannot be met, whatever hangs there.
            (None, false) => {
                let lines = rule.required.signatures.iter().map(LineReport::unmeetable).collect();
                Some(SignatureReport { lines, checks: Vec::new(), signed: None })
            }
            (None, true) => None,
        }
    }

    fn all_lines(&self, check: &Check) -> SignatureReport {
        let lines = self.question.rule.required.signatures.iter();
        let lines = lines.map(|line| LineReport::of(line, Vec::new(), check.clone())).collect();
        SignatureReport { lines, checks: Vec::new(), signed: None }
    }

    /// What lists and statements say of the subject that is no signature's doing.
    pub(super) fn listed(&self, digest: Option<&Digest>) -> Vec<Check> {
        let rule = &self.question.rule;
        let mut out = Vec::new();
        if let Some(listing) = digest.and_then(|digest| rule.denied(digest)) {
            let detail = format!("on the deny list of {}: {}", listing.origin, listing.reason);
            out.push(Check::fail(Code::ListedDenied, detail).with("reason", listing.reason.clone()));
        }
        // Who takes the whole gets its parts too.
        if let Some(BundleAnswer::Found { parts, .. }) = &self.bundle {
            let denied =
                parts.iter().find_map(|part| Some((part, rule.deny.iter().find(|l| l.names(part))?)));
            if let Some((part, listing)) = denied {
                let detail =
                    format!("its part {part} is on the deny list of {}: {}", listing.origin, listing.reason);
                let check = Check::fail(Code::ListedDenied, detail).with("reason", listing.reason.clone());
                out.push(check.with("subject", part.to_string()));
            }
        }
        if let Some(listing) = digest.and_then(|digest| rule.allowed(digest)) {
            let detail = format!("on the allow list of {}: {}", listing.origin, listing.reason);
            out.push(Check::note(Code::ListedAllowed, detail).with("unsigned", listing.unsigned));
        }
        if let Some(by) = &rule.required.tuf_waived {
            let detail = "the TUF anchors of the scope need not vouch; what they revoke still counts";
            out.push(Check::new(Code::TufWaived, Outcome::Waived(reason(by)), detail));
        }
        if let Some(by) = rule.checks.rescinded.waived_by().filter(|_| !rule.required.signatures.is_empty()) {
            let detail = "what was taken back of signatures counts all the same";
            out.push(Check::new(Code::SignatureRescinded, Outcome::Waived(reason(by)), detail));
        }
        let off = |check: &crate::trust::rule::Waivable| check.waived_by().map(reason);
        if rule.required.signatures.is_empty()
            && let Some(why) = off(&rule.checks.signature)
        {
            out.push(Check::note(Code::SignatureOff, format!("signatures are not checked: {why}")));
        }
        out
    }
}

/// Thumbprints of the certificates that count for any line.
fn thumbprints(rule: &Rule) -> BTreeSet<String> {
    let counts = |id| rule.required.signatures.iter().any(|line| line.from.contains(id));
    let signers = rule.signers.iter().filter(|signer| counts(&signer.id));
    signers.filter_map(|signer| Some(signer.certificate()?.thumbprint().hex().to_owned())).collect()
}
