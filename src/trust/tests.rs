//! The whole verification over a collection in memory. The attacks are one module a kind.

mod agreement;
mod anchors;
mod bundles;
mod freshness;
mod memory;
mod mutation;
mod organisations;
mod parsers;
mod revocations;
mod rollback;
mod roots;
mod seals;
mod signatures;
mod signed;

use std::collections::BTreeSet;

use super::signatures as signatures_of_other_tools;
use super::*;
use crate::oci::{Descriptor, Digest, media_type};
use crate::time::UnixTime;
use crate::tuf::sim::{DAY, NOW, Sim, SimKey, heading};
use crate::tuf::{About, Bundle, Claim, FileName, Files, Limits, Remembered, RoleName, Version};

/// A change to what applies.
type Bend = Box<dyn Fn(&mut Rule)>;

/// One deployer: what lies at the places, what is remembered, what policy says.
struct Deployer {
    sim: Sim,
    bundle: Descriptor,
    /// What the bundle lists.
    parts: Vec<Digest>,
    /// What the reference resolves to, where that is not simply the bundle.
    resolved: Option<BundleAnswer>,
    state: StateAnswer,
    /// What lies there at the second look.
    state_later: Option<StateAnswer>,
    seals: Vec<Result<Files, String>>,
    more_seals: bool,
    seals_refused: bool,
    memory: Option<Remembered>,
    /// Further anchors for the same repository.
    others: Vec<Party>,
    statement: Option<Statement>,
    /// What else the trust file says.
    rule: Option<Bend>,
    /// The collection says which signatures were taken back, and nothing else is asked of it.
    rescinds: bool,
    /// What hangs on the bundle, beside seals.
    hung: signatures_of_other_tools::SignaturesAnswer,
    acknowledged: BTreeSet<String>,
    tag: Option<&'static str>,
    digest: Option<Digest>,
    now: UnixTime,
    /// The process dies after this many saves.
    dies_after: Option<usize>,
    asked: Vec<Want>,
    saves: usize,
}

/// Another anchor, with its state and memory.
struct Party {
    anchor: Anchor,
    state: StateAnswer,
    memory: Option<Remembered>,
}

impl Deployer {
    /// A collection that lists one bundle as v1, live and fresh.
    fn new() -> Self {
        let bundle = Descriptor::of(media_type::OCI_MANIFEST, b"bundle");
        let mut sim = Sim::new();
        list(&mut sim, &bundle, "v1");
        let state = StateAnswer::Found(sim.files());
        Self {
            sim,
            bundle,
            parts: vec![],
            resolved: None,
            state,
            state_later: None,
            seals: vec![],
            more_seals: false,
            seals_refused: false,
            memory: None,
            others: vec![],
            statement: None,
            rule: None,
            rescinds: false,
            hung: Default::default(),
            acknowledged: BTreeSet::new(),
            tag: Some("v1"),
            digest: None,
            now: NOW,
            dies_after: None,
            asked: vec![],
            saves: 0,
        }
    }

    /// All roles at version 5, so that there is something to roll back from and to.
    fn at_five() -> Self {
        let mut d = Self::new();
        d.sim.at_version(5, NOW);
        d.serve();
        d
    }

    /// Serve what the sim makes.
    fn serve(&mut self) {
        self.state = StateAnswer::Found(self.sim.files());
    }

    /// Serve what the sim makes, changed by somebody without keys.
    fn serve_with(&mut self, change: impl FnOnce(&mut Files)) {
        let mut files = self.sim.files();
        change(&mut files);
        self.state = StateAnswer::Found(files);
    }

    fn anchor(&self) -> Anchor {
        anchor_of(&self.sim)
    }

    fn verify(&mut self) -> Report {
        self.run().expect("the process dies before it is done")
    }

    /// Verify; nothing when the process dies meanwhile.
    fn run(&mut self) -> Option<Report> {
        let subject: Subject = match self.tag {
            Some(tag) => format!("mirror.example/app:{tag}").parse().unwrap(),
            None => "mirror.example/app".parse().unwrap(),
        };
        let mut anchors = vec![self.anchor()];
        anchors.extend(self.others.iter().map(|p| p.anchor.clone()));
        let mut memories = vec![self.memory.clone()];
        memories.extend(self.others.iter().map(|p| p.memory.clone()));
        let mut memories = memories.into_iter().map(|m| m.into_iter().collect());
        let rescinders = if self.rescinds { std::mem::take(&mut anchors) } else { Vec::new() };
        let mut rule = Rule::of_tuf(subject, anchors, self.statement.clone());
        self.rule.iter().for_each(|edit| edit(&mut rule));
        let question = Question {
            reference: "mirror.example/app".into(),
            rule,
            digest: self.digest.clone(),
            rescinders,
            acknowledged: self.acknowledged.clone(),
            now: self.now,
            clock_override: false,
            notes: vec![],
            files: Default::default(),
            limits: Limits::default(),
        };
        let recall = |_: &Source| Ok::<_, std::convert::Infallible>(memories.next().unwrap_or_default());
        let mut verification = Verification::start(question, recall).unwrap();
        self.asked.clear();
        self.saves = 0;
        for _ in 0..20 {
            match verification.step() {
                Step::Need(wants) => {
                    let later = self.asked.contains(&Want::Bundle);
                    self.asked.extend(wants.clone());
                    let answers = wants.into_iter().map(|want| self.answer(want, later)).collect();
                    verification.feed(answers);
                }
                Step::Save { source: 0, remembered } => {
                    self.memory = Some(remembered);
                    self.saves += 1;
                    if self.dies_after == Some(self.saves) {
                        return None;
                    }
                    verification.saved();
                }
                Step::Save { source, remembered } => {
                    self.others[source - 1].memory = Some(remembered);
                    verification.saved();
                }
                Step::Done(report) => return Some(*report),
            }
        }
        panic!("the verification does not end");
    }

    fn answer(&self, want: Want, later: bool) -> Answer {
        match want {
            Want::Cnab { .. } | Want::Attestations { .. } => panic!("neither here"),
            Want::Bundle => Answer::Bundle(self.resolved.clone().unwrap_or_else(|| BundleAnswer::Found {
                bundle: self.bundle.clone(),
                parts: self.parts.clone(),
                unreadable: None,
                cnab: None,
            })),
            Want::State { source: 0 } => Answer::State(
                self.state_later.clone().filter(|_| later).unwrap_or_else(|| self.state.clone()),
            ),
            Want::State { source } => Answer::State(self.others[source - 1].state.clone()),
            Want::Memory { .. } => Answer::Memory(vec![]),
            Want::Signatures { anew: true, .. } => Answer::Signatures(self.hung.clone()),
            // A search that goes on finds nothing more.
            Want::Signatures { anew: false, .. } => {
                Answer::Signatures(signatures_of_other_tools::tests::end(vec![]))
            }
            Want::Seals { .. } if self.seals_refused => Answer::Seals(SealsAnswer::Unreadable("403".into())),
            Want::Seals { .. } => {
                Answer::Seals(SealsAnswer::Read { seals: self.seals.clone(), more: self.more_seals })
            }
        }
    }

    fn refused(&mut self) -> &'static str {
        let report = self.verify();
        assert_ne!(report.verdict(), Verdict::Trusted, "{report:#?}");
        report.because().unwrap().code.as_str()
    }

    fn trusted(&mut self) -> Report {
        let report = self.verify();
        assert_eq!(report.verdict(), Verdict::Trusted, "{report:#?}");
        report
    }

    /// The verdict in a line.
    fn outcome(&mut self) -> String {
        outcome(&self.verify())
    }
}

fn anchor_of(sim: &Sim) -> Anchor {
    Anchor::tuf("mirror.example/app".parse().unwrap(), Sim::name(), sim.roots[0].clone(), vec![])
}

/// `trusted by <evidence>`, `no: <code>` or `undecided: <code>`.
fn outcome(report: &Report) -> String {
    let because = || report.because().unwrap().code.as_str();
    match report.verdict() {
        Verdict::Trusted => format!("trusted by {}", report.anchors[0].evidence.unwrap().as_str()),
        Verdict::NotTrusted => format!("no: {}", because()),
        Verdict::NotChecked => "not checked".into(),
        Verdict::Undecided => format!("undecided: {}", because()),
    }
}

/// Whether the report holds a check of this code and outcome.
fn has(report: &Report, code: Code, outcome: &Outcome) -> bool {
    let all = report.checks.iter().chain(report.anchors.iter().flat_map(|a| &a.checks));
    all.into_iter().any(|c| c.code == code && c.outcome == *outcome)
}

/// What an attack on the honest state at version 5 comes to: for a first-time verifier, and for one who remembers that state.
fn both(attack: impl Fn(&mut Deployer)) -> [String; 2] {
    let mut first = Deployer::at_five();
    attack(&mut first);
    let mut remembers = Deployer::at_five();
    remembers.trusted();
    attack(&mut remembers);
    [first.outcome(), remembers.outcome()]
}

/// The heading of one role.
type HeadingOf = fn(&mut Sim) -> &mut crate::tuf::Heading;

/// The headings of all roles below the root.
const HEADINGS: [HeadingOf; 5] = [
    |s| &mut s.timestamp,
    |s| &mut s.snapshot,
    |s| &mut s.targets,
    |s| &mut s.releases,
    |s| &mut s.revocations,
];

/// The name of a role's file at a version.
fn file(role: &RoleName, version: u64) -> FileName {
    FileName::versioned(role.clone(), Version::new(version).unwrap())
}

/// A key that no role names.
fn stranger() -> SimKey {
    SimKey::new(99)
}

/// List a bundle under a tag and its digest.
fn list(sim: &mut Sim, bundle: &Descriptor, tag: &str) {
    let entry = |claim| Bundle {
        digest: bundle.digest.clone(),
        length: bundle.size,
        about: About {
            claim: Some(claim),
            tags: [tag.parse().unwrap()].into(),
            ..About::new(NOW, sim.releases_key.public().key_id(), &bundle.media_type)
        },
        custom: Default::default(),
    };
    let (by_tag, by_digest) = (entry(Claim::Tag).to_json(), entry(Claim::Release).to_json());
    sim.entries.insert(Sim::name().tag_path(&tag.parse().unwrap()), by_tag);
    sim.entries.insert(Sim::name().release_path(&bundle.digest), by_digest);
}

#[test]
fn a_live_state_is_enough() {
    let mut d = Deployer::new();
    let report = d.trusted();
    assert_eq!(report.anchors[0].evidence, Some(Evidence::State));
    assert_eq!(d.asked, [Want::Bundle, Want::State { source: 0 }]);
    assert!(d.memory.is_some());
    d.tag = None;
    d.digest = Some(d.bundle.digest.clone());
    d.trusted();
}

#[test]
fn a_seal_serves_when_the_state_is_gone() {
    let mut d = Deployer::new();
    d.seals = vec![Err("junk".into()), Ok(d.sim.files())];
    d.state = StateAnswer::Absent;
    assert_eq!(d.trusted().anchors[0].evidence, Some(Evidence::Seal));
    // Now remembered: the memory alone serves too.
    d.seals.clear();
    assert_eq!(d.trusted().anchors[0].evidence, Some(Evidence::Memory));
    d.memory = None;
    assert_eq!(d.refused(), "state.absent");
    d.more_seals = true;
    assert_eq!(d.outcome(), "undecided: seal.cap");
}

#[test]
fn a_moved_tag_is_read_twice_and_refused() {
    let mut d = Deployer::new();
    d.bundle = Descriptor::of(media_type::OCI_MANIFEST, b"another");
    assert_eq!(d.refused(), "bundle.tag.moved");
    assert_eq!(d.asked.len(), 4);
    d.digest = Some(d.bundle.digest.clone());
    assert_eq!(d.refused(), "bundle.digest.unlisted");
}

#[test]
fn rollback_is_refused_with_memory_even_an_expired_one() {
    let mut d = Deployer::new();
    let old = d.sim.files();
    d.sim.timestamp = heading(2, NOW, DAY);
    d.state = StateAnswer::Found(d.sim.files());
    d.trusted();
    d.state = StateAnswer::Found(old);
    assert_eq!(d.refused(), "tuf.timestamp.rollback");
    d.now = NOW.plus(2 * DAY);
    assert_eq!(d.refused(), "tuf.timestamp.rollback");
}

#[test]
fn staleness_is_waived_visibly_and_not_for_ever() {
    let mut d = Deployer::new();
    d.seals = vec![Ok(d.sim.files())];
    d.now = NOW.plus(27 * DAY);
    assert_eq!(d.refused(), "tuf.timestamp.expired");
    d.statement = Some(Statement {
        scope: "mirror.example/app".parse().unwrap(),
        max_staleness: Some("30d".parse().unwrap()),
        require_current_tag: false,
        reason: Some("stick".into()),
        ..Statement::of("*".parse().unwrap())
    });
    let report = d.trusted();
    assert!(report.anchors[0].checks.iter().any(|c| c.outcome == Outcome::Waived("stick".into())));
    d.now = NOW.plus(38 * DAY);
    assert_eq!(d.refused(), "tuf.timestamp.expired");
}

#[test]
fn a_failure_to_look_is_never_nothing_there() {
    let mut d = Deployer::new();
    d.seals = vec![Ok(d.sim.files())];
    d.state = StateAnswer::Unreadable("403".into());
    let report = d.verify();
    assert_eq!(report.verdict(), Verdict::Undecided);
    assert_eq!(report.because().unwrap().code, Code::StateUnreadable);
}

#[test]
fn media_type_and_length_are_signed() {
    let mut d = Deployer::new();
    d.bundle.media_type = media_type::DOCKER_MANIFEST.into();
    assert_eq!(d.refused(), "bundle.media-type");
    let mut d = Deployer::new();
    d.bundle.size += 1;
    assert_eq!(d.refused(), "bundle.length");
    let mut d = Deployer::new();
    d.bundle.digest = Digest::sha256(b"x");
    assert_eq!(d.refused(), "bundle.tag.moved");
}

#[test]
fn what_was_not_reached_is_named() {
    let mut d = Deployer::new();
    d.state = StateAnswer::Absent;
    let report = d.verify();
    let open: Vec<_> = report.anchors[0].checks.iter().filter(|c| c.outcome == Outcome::NotReached).collect();
    let codes: Vec<_> = open.iter().map(|c| c.code).collect();
    assert_eq!(codes, [Code::BundleTag, Code::Revocation]);
    assert_eq!(report.verdict(), Verdict::NotTrusted);
    d.state = StateAnswer::Found(d.sim.files());
    assert!(d.trusted().anchors[0].checks.iter().all(|c| c.outcome != Outcome::NotReached));
}
