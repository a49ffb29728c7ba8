//! The verification alone, without a place: what a state and a seal come to for one bundle of a collection.

use bulla::oci::Descriptor;
use bulla::time::UnixTime;
use bulla::trust::{
    Anchor, Answer, BundleAnswer, Question, Report, Rule, SealsAnswer, Source, StateAnswer, Step, Subject,
    Verification, Want,
};
use bulla::tuf::{Files, Limits, Remembered};

/// Judge `bundle`, by the tag `v1` or by its digest, at the anchor's own place; the report, and what is remembered then.
pub(crate) fn judge(
    anchor: &Anchor,
    state: &StateAnswer,
    seal: &Result<Files, String>,
    bundle: &Descriptor,
    by_digest: bool,
    memory: Option<&Remembered>,
    now: i64,
) -> (Report, Option<Remembered>) {
    let tag = (!by_digest).then(|| "v1".parse().unwrap());
    let question = Question {
        reference: anchor.collection.to_string(),
        rule: Rule::of_tuf(
            Subject { repository: anchor.collection.as_repository().clone(), tag },
            vec![anchor.clone()],
            None,
        ),
        digest: by_digest.then(|| bundle.digest.clone()),
        rescinders: vec![],
        acknowledged: std::collections::BTreeSet::new(),
        now: UnixTime::from_secs(now),
        clock_override: false,
        notes: vec![],
        files: Default::default(),
        limits: Limits::default(),
    };
    let recall = |_: &Source| Ok::<_, std::convert::Infallible>(memory.cloned().into_iter().collect());
    let mut verification = Verification::start(question, recall).unwrap();
    let mut remembered = memory.cloned();
    loop {
        match verification.step() {
            Step::Need(wants) => {
                let answer = |want| match want {
                    Want::Cnab { .. } | Want::Attestations { .. } => unreachable!("neither here"),
                    Want::Bundle => Answer::Bundle(BundleAnswer::Found {
                        bundle: bundle.clone(),
                        parts: vec![],
                        unreadable: None,
                        cnab: None,
                    }),
                    Want::State { .. } => Answer::State(state.clone()),
                    // No organisation is anchored here.
                    Want::Memory { .. } => Answer::Memory(vec![]),
                    Want::Signatures { .. } => unreachable!("no anchor of signatures here"),
                    Want::Seals { .. } => {
                        Answer::Seals(SealsAnswer::Read { seals: vec![seal.clone()], more: false })
                    }
                };
                let answers = wants.into_iter().map(answer).collect();
                verification.feed(answers);
            }
            Step::Save { remembered: new, .. } => {
                remembered = Some(new);
                verification.saved();
            }
            Step::Done(report) => return (*report, remembered),
        }
    }
}
