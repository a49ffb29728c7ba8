//! Signatures against what a scope requires, over bundles signed here: counting, order, junk, lists, waivers, and beside TUF.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use proptest::prelude::*;

use super::*;
use crate::envelope::sigstore_bundle::Draft;
use crate::oci::{Descriptor, Digest};
use crate::sig::SubjectKey;
use crate::time::UnixTime;
use crate::trust::rule::{By, Checks, Required, Rule, Signatures, Waivable};
use crate::trust::verify::{Answer, BundleAnswer, Question, Step, Verification, Want};
use crate::trust::{
    Code, Listing, Needs, Origin, Report, Rescissions, Scope, SignerAnchor, Source, Statement, Trusts,
    Verdict,
};
use crate::tuf::Limits;

pub(in crate::trust) struct Pair(EcdsaKeyPair);

impl Pair {
    pub(in crate::trust) fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
    }

    pub(in crate::trust) fn key(&self) -> SubjectKey {
        let der: PublicKeyX509Der<'_> = self.0.public_key().as_der().unwrap();
        SubjectKey::from_spki(der.as_ref()).unwrap()
    }

    pub(in crate::trust) fn anchor(&self) -> SignerAnchor {
        SignerAnchor::new(Scope::Any, Trusts::Key(self.key()), Rescissions::Nowhere).unwrap()
    }

    pub(in crate::trust) fn sign(&self, digest: &Digest) -> Found {
        let draft = Draft::sign(digest, &BTreeMap::new());
        let signature = self.0.sign(&SystemRandom::new(), &draft.message()).unwrap();
        found(draft.finish(&self.key(), signature.as_ref()).unwrap())
    }
}

fn found(bytes: Vec<u8>) -> Found {
    let manifest = Digest::sha256(&bytes);
    let form = Form::SigstoreBundle;
    Found {
        manifest,
        form,
        bytes: bytes.into(),
        signature: None,
        certificates: None,
        log_promise: None,
        timestamp: None,
    }
}

fn subject() -> Descriptor {
    Descriptor::of(crate::oci::media_type::OCI_MANIFEST, b"a bundle")
}

pub(in crate::trust) fn line(threshold: u32, from: &[SignerAnchor]) -> Signatures {
    Signatures {
        threshold: NonZeroU32::new(threshold).unwrap(),
        from: from.iter().map(|a| a.id.clone()).collect(),
        by: Origin::default(),
        stated_for: Some(Scope::Any),
    }
}

fn rule(signers: &[SignerAnchor], lines: Vec<Signatures>) -> Rule {
    Rule {
        subject: "registry.example.com/team/app:v1".parse().unwrap(),
        tuf: Vec::new(),
        signers: signers.to_vec(),
        statement: None,
        required: Required { signatures: lines, ..Required::default() },
        checks: Checks::default(),
        deny: Vec::new(),
        allow: Vec::new(),
    }
}

/// Judge what is found in these rounds; how many of them were asked for, too.
fn judged(rule: Rule, by_digest: bool, rounds: Vec<SignaturesAnswer>) -> (Report, usize) {
    let question = Question {
        reference: "registry.example.com/team/app:v1".into(),
        rule,
        digest: by_digest.then(|| subject().digest),
        rescinders: vec![],
        acknowledged: Default::default(),
        now: UnixTime::from_secs(1_800_000_000),
        clock_override: false,
        notes: vec![],
        files: Default::default(),
        limits: Limits::default(),
    };
    let nothing = |_: &Source| Ok::<_, std::convert::Infallible>(Vec::new());
    let mut verification = Verification::start(question, nothing).unwrap();
    let (mut rounds, mut asked) = (rounds.into_iter(), 0);
    loop {
        match verification.step() {
            Step::Done(report) => return (*report, asked),
            Step::Save { .. } => unreachable!("nothing is remembered"),
            Step::Need(wants) => {
                let answers = wants.into_iter().map(|want| match want {
                    Want::Bundle => Answer::Bundle(BundleAnswer::Found {
                        bundle: subject(),
                        parts: vec![],
                        unreadable: None,
                        cnab: None,
                    }),
                    Want::Signatures { digest, .. } => {
                        assert_eq!(digest, subject().digest);
                        asked += 1;
                        Answer::Signatures(rounds.next().unwrap_or_default())
                    }
                    other => unreachable!("{other:?}"),
                });
                let answers = answers.collect();
                verification.feed(answers);
            }
        }
    }
}

pub(in crate::trust) fn round(found: Vec<Found>) -> SignaturesAnswer {
    SignaturesAnswer { found, rest: Rest::More, ..SignaturesAnswer::default() }
}

pub(in crate::trust) fn end(found: Vec<Found>) -> SignaturesAnswer {
    SignaturesAnswer { found, ..SignaturesAnswer::default() }
}

fn says(report: &Report) -> String {
    let because = report.because().map(|c| format!(": {}", c.code)).unwrap_or_default();
    format!("{}{because}", report.verdict().as_str())
}

pub(in crate::trust) fn by(reason: &str) -> By {
    By {
        file: "trustpolicy.json".into(),
        origin: Origin::default(),
        scope: Scope::Any,
        reason: reason.into(),
    }
}

#[test]
fn reading_ends_with_the_round_that_suffices() {
    let (a, b) = (Pair::new(), Pair::new());
    let anchors = [a.anchor(), b.anchor()];
    let digest = subject().digest;
    for by_digest in [false, true] {
        let rounds =
            || vec![round(vec![]), round(vec![a.sign(&digest)]), round(vec![b.sign(&digest)]), end(vec![])];
        let one = rule(&anchors, vec![line(1, &anchors)]);
        let (report, asked) = judged(one, by_digest, rounds());
        assert_eq!((says(&report), asked), ("trusted".into(), 2));
        let two = rule(&anchors, vec![line(2, &anchors)]);
        let (report, asked) = judged(two, by_digest, rounds());
        assert_eq!((says(&report), asked), ("trusted".into(), 3));
        assert_eq!(report.digest, Some(digest.clone()));
    }
}

#[test]
fn every_line_must_be_met_and_each_is_told() {
    let (a, b) = (Pair::new(), Pair::new());
    let anchors = [a.anchor(), b.anchor()];
    let lines = || vec![line(1, &anchors[..1]), line(1, &anchors[1..])];
    let digest = subject().digest;
    let (report, _) = judged(rule(&anchors, lines()), false, vec![end(vec![a.sign(&digest)])]);
    assert_eq!(says(&report), "not-trusted: signature.short");
    let verdicts: Vec<_> = report.requirements().iter().map(|r| r.verdict).collect();
    assert_eq!(verdicts, [Some(Verdict::Trusted), Some(Verdict::NotTrusted)]);
    let (report, _) =
        judged(rule(&anchors, lines()), false, vec![end(vec![b.sign(&digest), a.sign(&digest)])]);
    assert_eq!(says(&report), "trusted");
}

/// Where one line cannot be met, nobody looks, and nobody says that there was nothing.
#[test]
fn a_line_that_cannot_be_met_is_told_without_looking() {
    let a = Pair::new();
    let anchors = [a.anchor()];
    let lines = vec![line(2, &anchors), line(1, &anchors)];
    let (report, asked) = judged(rule(&anchors, lines), false, vec![end(vec![a.sign(&subject().digest)])]);
    assert_eq!((says(&report), asked), ("not-trusted: signature.short".into(), 0));
    let verdicts: Vec<_> = report.requirements().iter().map(|r| r.verdict).collect();
    assert_eq!(verdicts, [Some(Verdict::NotTrusted), None]);
    assert!(!report.signatures.unwrap().all_checks().any(|c| c.code == Code::SignatureNone));
}

#[test]
fn what_was_not_read_leaves_the_answer_open() {
    let a = Pair::new();
    let anchors = [a.anchor()];
    let one = || rule(&anchors, vec![line(1, &anchors)]);
    let stranger = Pair::new().sign(&subject().digest);
    let unread = SignaturesAnswer { unread: vec!["503".into()], found: vec![stranger], ..Default::default() };
    assert_eq!(says(&judged(one(), false, vec![unread.clone()]).0), "undecided: signature.open");
    let cut = SignaturesAnswer { rest: Rest::Cut("much".into()), ..Default::default() };
    assert_eq!(says(&judged(one(), true, vec![cut]).0), "undecided: signature.cap");
    // A good one after it decides.
    let first = SignaturesAnswer { rest: Rest::More, ..unread };
    assert_eq!(says(&judged(one(), true, vec![first, end(vec![a.sign(&subject().digest)])]).0), "trusted");
}

#[test]
fn lists_and_waivers() {
    let a = Pair::new();
    let anchors = [a.anchor()];
    let one = || rule(&anchors, vec![line(1, &anchors)]);
    let digest = subject().digest;
    let listing = |unsigned| Listing {
        digest: Some(subject().digest),
        scope: Scope::Any,
        unsigned,
        reason: "from before we signed".into(),
        origin: Origin::default(),
    };
    let good = || vec![end(vec![a.sign(&digest)])];

    for by_digest in [false, true] {
        let mut denied = one();
        denied.deny.push(listing(false));
        denied.allow.push(listing(true));
        let (report, asked) = judged(denied, by_digest, good());
        assert_eq!((says(&report), asked), ("not-trusted: listed.denied".into(), 0));
        assert_eq!(report.requirements()[0].verdict, None);

        let mut allowed = one();
        allowed.allow.push(listing(false));
        assert_eq!(says(&judged(allowed.clone(), by_digest, vec![]).0), "not-trusted: signature.none");
        assert_eq!(says(&judged(allowed, by_digest, good()).0), "trusted");
        let mut unsigned = one();
        unsigned.allow.push(listing(true));
        let (report, asked) = judged(unsigned, by_digest, vec![]);
        assert_eq!((says(&report), asked), ("trusted".into(), 0));
        assert!(report.signatures.unwrap().lines[0].check.outcome.as_str() == "waived");

        let mut off = one();
        off.checks.signature = Waivable::Waived { by: by("not yet") };
        let (report, asked) = judged(off, by_digest, good());
        assert_eq!((says(&report), asked), ("not-checked: signature.off".into(), 0));
        assert!(report.because().unwrap().detail.contains("by trustpolicy.json"));
    }
}

/// Where no TUF anchor says what the tag names, a demand that it be current cannot be met by tag and digest; by the tag alone it is the
/// digest that the tag names now.
#[test]
fn a_tag_that_must_be_current_is_not_looked_at_by_signatures() {
    let a = Pair::new();
    let anchors = [a.anchor()];
    let mut current = rule(&anchors, vec![line(1, &anchors)]);
    current.statement = Some(Statement { require_current_tag: true, ..Statement::of(Scope::Any) });
    let good = || vec![end(vec![a.sign(&subject().digest)])];
    assert_eq!(says(&judged(current.clone(), true, good()).0), "undecided: bundle.tag.unchecked");
    let (report, _) = judged(current, false, good());
    assert_eq!(says(&report), "trusted");
    assert!(report.checks.iter().any(|c| c.code == Code::BundleTagUnbound));
}

/// Copies of a signature that stands are not judged again, and say nothing new; one that was taken back elsewhere is.
#[test]
fn copies_of_a_good_one_cost_nothing() {
    let (a, b) = (Pair::new(), Pair::new());
    let anchors = [a.anchor(), b.anchor()];
    let one = a.sign(&subject().digest);
    let copies: Vec<Found> =
        (0..5_000u32).map(|i| Found { manifest: Digest::sha256(&i.to_le_bytes()), ..one.clone() }).collect();
    let began = std::time::Instant::now();
    let rounds = copies.chunks(64).map(|c| round(c.to_vec())).chain([end(vec![])]).collect();
    let (report, _) = judged(rule(&anchors, vec![line(2, &anchors)]), true, rounds);
    assert_eq!(says(&report), "not-trusted: signature.short");
    let more = report.signatures.unwrap().checks.into_iter().find(|c| c.code == Code::SignatureMore).unwrap();
    assert!(more.detail.starts_with("4999 "), "{more:?}");
    // Judged one by one they take a minute in a debug build.
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
}

/// An allow list does not replace TUF, and neither do signatures.
#[test]
fn nothing_replaces_a_tuf_anchor_that_must_vouch() {
    let a = Pair::new();
    let anchors = [a.anchor()];
    let mut both = rule(&anchors, vec![line(1, &anchors)]);
    both.required.tuf = true;
    let (report, _) = judged(both, false, vec![end(vec![a.sign(&subject().digest)])]);
    assert_eq!(says(&report), "not-trusted: anchor.none");
    let verdicts: Vec<_> =
        report.requirements().iter().map(|r| (matches!(r.needs, Needs::Tuf), r.verdict)).collect();
    assert_eq!(verdicts, [(true, None), (false, Some(Verdict::Trusted))]);
}

#[test]
fn one_signer_by_two_anchors_is_one_and_one_anchor_is_one_voice() {
    let (a, b) = (Pair::new(), Pair::new());
    let again = SignerAnchor::new(
        "registry.example.com".parse().unwrap(),
        Trusts::Key(a.key()),
        Rescissions::Nowhere,
    );
    let anchors = [a.anchor(), again.unwrap(), b.anchor()];
    let digest = subject().digest;
    let two = || rule(&anchors, vec![line(2, &anchors)]);
    let (report, _) = judged(two(), false, vec![end(vec![a.sign(&digest), a.sign(&digest)])]);
    assert_eq!(says(&report), "not-trusted: signature.short");
    let (report, _) = judged(two(), false, vec![end(vec![a.sign(&digest), b.sign(&digest)])]);
    assert_eq!(says(&report), "trusted");
}

proptest! {
    /// Neither order, copies, strangers nor junk change the answer.
    #[test]
    fn the_answer_depends_on_the_good_ones_alone(
        signed in proptest::collection::vec(any::<bool>(), 4),
        threshold in 1u32..=4,
        junk in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..6),
        order in any::<prop::sample::Index>(),
        copies in 0usize..3,
    ) {
        let pairs: Vec<Pair> = (0..4).map(|_| Pair::new()).collect();
        let anchors: Vec<SignerAnchor> = pairs.iter().map(Pair::anchor).collect();
        let digest = subject().digest;
        let good: Vec<Found> = pairs.iter().zip(&signed).filter(|(_, s)| **s).map(|(p, _)| p.sign(&digest)).collect();
        let enough = good.len() >= threshold as usize;
        let mut all = good.clone();
        (0..copies).for_each(|_| all.extend(good.clone()));
        all.extend(junk.into_iter().map(found));
        all.push(Pair::new().sign(&digest));
        all.push(pairs[0].sign(&Digest::sha256(b"another")));
        let start = order.index(all.len());
        all.rotate_left(start);
        let rounds = all.chunks(3).map(|c| round(c.to_vec())).chain([end(vec![])]).collect();
        let (report, _) = judged(rule(&anchors, vec![line(threshold, &anchors)]), false, rounds);
        prop_assert_eq!(report.verdict() == Verdict::Trusted, enough, "{:#?}", report.signatures);
        if !enough {
            prop_assert_eq!(report.verdict(), Verdict::NotTrusted);
        }
    }
}
