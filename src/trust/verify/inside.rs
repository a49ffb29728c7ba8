//! The part of a verification that looks into a CNAB bundle: whether it is one, and whether it is whole.

use super::{Verification, Want};
use crate::oci::Digest;
use crate::trust::cnab::{self, CnabAnswer, CnabIndex, CnabIndexError, CnabReport};
use crate::trust::code::Code;
use crate::trust::report::{AnchorReport, Check, Outcome, Verdict};

impl Verification {
    /// Whether files of the caller must belong to it: then it is looked into, whoever vouches.
    pub(super) fn asks_inside(&self) -> bool {
        self.question.files != cnab::CnabFiles::default()
    }

    /// What of a CNAB bundle must be read still. What is refused anyhow is not.
    pub(super) fn next_inside(
        &mut self,
        digest: &Digest,
        index: Option<Result<CnabIndex, CnabIndexError>>,
    ) -> Option<Want> {
        if self.inside.is_some() || self.question.rule.denied(digest).is_some() {
            return None;
        }
        match index {
            None if self.asks_inside() => {
                let why = "a file of a CNAB bundle was given, and this is none";
                let checks = vec![Check::fail(Code::CnabNone, why)];
                let report = CnabReport { name: None, bundle_json: None, images: Vec::new(), checks };
                self.inside = Some((report, None));
                None
            }
            None => None,
            Some(Ok(index)) => Some(Want::Cnab { bundle: digest.clone(), index: Box::new(index) }),
            Some(none @ Err(_)) => {
                self.judge_inside(&none, None);
                None
            }
        }
    }

    pub(super) fn judge_inside(
        &mut self,
        index: &Result<CnabIndex, CnabIndexError>,
        read: Option<&CnabAnswer>,
    ) {
        self.inside = Some(cnab::judge(index, read, &self.question.files, &self.question.reference));
    }

    /// What came of it, with what the anchors say besides.
    pub(super) fn inside_report(&self, anchors: &[AnchorReport]) -> Option<CnabReport> {
        let (mut report, _) = self.inside.clone()?;
        if let Some(file) = &self.question.files.thick {
            let lists = |a: &&AnchorReport| {
                let said = |c: &&Check| c.code == Code::CnabThick && c.outcome == Outcome::Pass;
                a.verdict() == Verdict::Trusted && a.all_checks().iter().any(said)
            };
            let differs =
                |a: &AnchorReport| a.all_checks().iter().any(|c| c.code == Code::CnabThick && c.is_fail());
            match anchors.iter().find(lists) {
                Some(_) => {}
                // The anchor's own check says so; where signatures suffice it must decide all the same.
                None if anchors.iter().any(differs) => {
                    let detail = format!("the file is {}, and another one is listed", file.digest);
                    report.checks.push(Check::fail(Code::CnabThick, detail));
                }
                None => report.checks.push(cnab::thick_unlisted(file)),
            }
        }
        Some(report)
    }
}
