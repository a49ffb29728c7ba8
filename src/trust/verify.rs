//! The whole of verification as a step machine (docs/trust.md "The order"). The driver answers what is asked and saves what
//! must be remembered; it can forget nothing and change no order.

use std::collections::VecDeque;

use super::anchor::Anchor;
use super::bundle;
use super::candidate::{Candidate, Court, walk};
use super::code::Code;
use super::metadata;
use super::policy::Statement;
use super::report::{AnchorReport, Check, Evidence, Outcome, Report};
use super::scope::Subject;
use crate::oci::{Descriptor, Digest};
use crate::time::UnixTime;
use crate::tuf::{Fault, FileName, Files, Limits, Remembered, RoleName, RootChain, TufError};

/// Most seals that are read for one bundle.
pub const MAX_SEALS: usize = 32;

/// What is asked, with everything that is known before anything is fetched.
#[derive(Debug, Clone)]
pub struct Question {
    /// The reference as typed, for the report.
    pub reference: String,
    /// The name and tag it is judged under.
    pub subject: Subject,
    /// The digest asked for, if one was typed: then it decides, and the tag only gives notes.
    pub digest: Option<Digest>,
    /// The anchors that cover the subject, each with what is remembered of its chain.
    pub anchors: Vec<(Anchor, Option<Remembered>)>,
    /// The statement that counts for the subject.
    pub statement: Option<Statement>,
    /// The one time of the whole verification.
    pub now: UnixTime,
    /// Whether that time was set by hand.
    pub clock_override: bool,
    /// Checks that are known beforehand, such as places that are not asked offline.
    pub notes: Vec<Check>,
    /// Bounds.
    pub limits: Limits,
}

/// What the machine wants next.
#[derive(Debug, Clone)]
pub enum Step {
    /// All of these, side by side; answered in the same order.
    Need(Vec<Want>),
    /// Remember this for the anchor with this index before going on.
    Save {
        /// Index into [`Question::anchors`].
        anchor: usize,
        /// What to remember.
        remembered: Remembered,
    },
    /// Done.
    Done(Box<Report>),
}

/// Something to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// Resolve the reference.
    Bundle,
    /// The live state of an anchor's collection, from the places it may lie at.
    State {
        /// Index into [`Question::anchors`].
        anchor: usize,
    },
    /// The seals on the bundle, at most [`MAX_SEALS`].
    Seals {
        /// The bundle.
        subject: Descriptor,
    },
}

/// What was fetched.
#[derive(Debug, Clone)]
pub enum Answer {
    /// To [`Want::Bundle`].
    Bundle(BundleAnswer),
    /// To [`Want::State`].
    State(StateAnswer),
    /// To [`Want::Seals`].
    Seals(SealsAnswer),
}

/// What the reference resolved to.
#[derive(Debug, Clone)]
pub enum BundleAnswer {
    /// A manifest or index; `unreadable` says why it could not be read as exactly one of them.
    Found {
        /// Type as served, digest, size.
        bundle: Descriptor,
        /// Of an index: the manifests that it lists.
        parts: Vec<Digest>,
        /// Why it is no manifest, or an ambiguous one.
        unreadable: Option<String>,
    },
    /// The place says that it is not there.
    Absent,
    /// The bytes are not what the digest names.
    WrongContent(String),
    /// It could not be looked at.
    Failed(String),
}

/// What lies at the state's tag.
#[derive(Debug, Clone)]
pub enum StateAnswer {
    /// Files, unchecked.
    Found(Files),
    /// Every place says that there is none.
    Absent,
    /// Something lies there that is no state.
    Invalid(String),
    /// A place could not be asked.
    Unreadable(String),
}

/// The seals on a bundle.
#[derive(Debug, Clone)]
pub enum SealsAnswer {
    /// Those that were read (files, or why a seal is none), and whether there are more than were read.
    Read {
        /// One an artifact.
        seals: Vec<Result<Files, String>>,
        /// Whether the cap cut the list.
        more: bool,
    },
    /// They could not be listed or read.
    Unreadable(String),
}

/// A verification under way.
#[derive(Debug)]
pub struct Verification {
    question: Question,
    bundle: Option<BundleAnswer>,
    states: Vec<StateAnswer>,
    seals: Option<SealsAnswer>,
    wanted: Vec<Want>,
    saves: VecDeque<(usize, Remembered)>,
    reports: Vec<AnchorReport>,
    needs_seals: Vec<bool>,
    reread: bool,
}

/// How far one anchor got.
enum Flow {
    Seals,
    SaveRoots(Remembered),
    Reread,
    Finished(AnchorReport, Option<Remembered>),
}

/// What the candidates of one anchor come to.
enum Choice {
    Use(Box<Candidate>),
    /// No sound live state: seals must be read before anything is chosen.
    ReadSeals,
    /// Nothing serves; the checks say why.
    Nothing,
}

impl Verification {
    /// Start on a question.
    pub fn start(question: Question) -> Self {
        let needs_seals = vec![false; question.anchors.len()];
        Self {
            question,
            bundle: None,
            states: Vec::new(),
            seals: None,
            wanted: Vec::new(),
            saves: VecDeque::new(),
            reports: Vec::new(),
            needs_seals,
            reread: false,
        }
    }

    /// What is wanted now.
    pub fn step(&mut self) -> Step {
        loop {
            if let Some((anchor, remembered)) = self.saves.front() {
                return Step::Save { anchor: *anchor, remembered: remembered.clone() };
            }
            if !self.wanted.is_empty() {
                return Step::Need(self.wanted.clone());
            }
            let Some(bundle) = self.bundle.clone() else {
                if self.question.anchors.is_empty() {
                    return Step::Done(Box::new(self.report(Vec::new())));
                }
                self.wanted.push(Want::Bundle);
                self.wanted.extend((0..self.question.anchors.len()).map(|anchor| Want::State { anchor }));
                continue;
            };
            let BundleAnswer::Found { bundle, parts, unreadable: None } = bundle else {
                return Step::Done(Box::new(self.report(vec![unresolved(&bundle)])));
            };
            if let Some(asked) = self.question.digest.as_ref().filter(|d| **d != bundle.digest) {
                let why = format!("{asked} was asked for, and {} came", bundle.digest);
                let answer = BundleAnswer::WrongContent(why);
                self.bundle = Some(answer.clone());
                return Step::Done(Box::new(self.report(vec![unresolved(&answer)])));
            }
            let i = self.reports.len();
            if i == self.question.anchors.len() {
                return Step::Done(Box::new(self.report(Vec::new())));
            }
            match self.anchor(i, &bundle, &parts) {
                Flow::Seals => {
                    self.needs_seals[i] = true;
                    if self.seals.is_none() {
                        self.wanted.push(Want::Seals { subject: bundle.clone() });
                    }
                }
                Flow::SaveRoots(remembered) => self.saves.push_back((i, remembered)),
                Flow::Reread => {
                    self.reread = true;
                    (self.bundle, self.seals) = (None, None);
                    self.needs_seals.fill(false);
                    self.states.clear();
                    self.reports.clear();
                }
                Flow::Finished(mut report, remembered) => {
                    report.checks.extend(not_reached(&report.checks, &self.question));
                    self.saves.extend(remembered.map(|r| (i, r)));
                    self.reports.push(report);
                }
            }
        }
    }

    /// Answers to [`Step::Need`], in the order asked.
    pub fn feed(&mut self, answers: Vec<Answer>) {
        self.wanted.clear();
        for answer in answers {
            match answer {
                Answer::Bundle(b) => self.bundle = Some(b),
                Answer::State(s) => self.states.push(s),
                Answer::Seals(s) => self.seals = Some(s),
            }
        }
    }

    /// Answer to [`Step::Save`]: it is remembered, and counts from now on.
    pub fn saved(&mut self) {
        if let Some((anchor, remembered)) = self.saves.pop_front() {
            self.question.anchors[anchor].1 = Some(remembered);
        }
    }

    fn anchor(&self, i: usize, subject: &Descriptor, parts: &[Digest]) -> Flow {
        let (anchor, memory) = &self.question.anchors[i];
        let paths = bundle::paths(&anchor.collection, &self.question, &subject.digest);
        let court = Court {
            collection: &anchor.collection,
            paths: &paths,
            parts,
            now: self.question.now,
            limits: &self.question.limits,
        };
        let mut report = AnchorReport {
            anchor: anchor.id.as_str().to_owned(),
            collection: anchor.collection.clone(),
            evidence: None,
            as_of: None,
            checks: Vec::new(),
        };
        let fingerprint = anchor.root.fingerprint();
        report.checks.push(
            Check::pass(Code::AnchorScope, format!("{}, root {fingerprint}", anchor.scope))
                .with("scope", anchor.scope.to_string())
                .with("root", fingerprint.to_string()),
        );
        let live = match self.states.get(i) {
            Some(StateAnswer::Found(files)) => Some(files),
            _ => None,
        };
        let mut sources: Vec<&Files> = live.into_iter().collect();
        if let Some(SealsAnswer::Read { seals, .. }) = self.seals.as_ref().filter(|_| self.needs_seals[i]) {
            sources.extend(seals.iter().flatten());
        }
        let known_roots = memory.as_ref().map(|m| &m.files);
        let chain = match walk(anchor.root.bytes(), known_roots, &sources, &court) {
            Ok((chain, failure)) => {
                if let Some(flow) = self.roots_to_save(i, &chain) {
                    return flow;
                }
                if let Some(e) = failure {
                    report.checks.push(Check::failed(&e));
                    return self.without_vouching(i, subject, &court, &chain, report);
                }
                if known_roots.and_then(Files::newest_root).is_some_and(|v| v > chain.last().version()) {
                    report.checks.push(Check::fail(Code::MemoryInvalid, "a remembered root does not verify"));
                    return Flow::Finished(report, None);
                }
                chain
            }
            Err(e) => {
                let code = match e.fault {
                    Fault::Collection { .. } => Code::AnchorCollection,
                    _ => Code::AnchorRoot,
                };
                report.checks.push(Check::fail(code, e.to_string()));
                return Flow::Finished(report, None);
            }
        };
        if let Some(StateAnswer::Unreadable(why)) = self.states.get(i) {
            report.checks.push(Check::fail(Code::StateUnreadable, why));
            return self.without_vouching(i, subject, &court, &chain, report);
        }
        report.checks.extend(metadata::repeated_keys(&chain));
        let chosen = match self.choose(i, &court, &chain, &mut report.checks) {
            Choice::Use(chosen) => *chosen,
            Choice::ReadSeals => return Flow::Seals,
            Choice::Nothing => return self.without_vouching(i, subject, &court, &chain, report),
        };
        report.evidence = Some(chosen.evidence);
        report.as_of = chosen.trusted.timestamp().extra().map(|x| x.at);
        let metadata = metadata::checks(&chosen, &court, self.question.statement.as_ref());
        let sound = !metadata.iter().any(Check::is_fail);
        report.checks.extend(metadata);
        report.checks.extend(bundle::checks(&anchor.collection, &self.question, subject, &chosen, &court));
        let moved = report.checks.iter().any(|c| c.is_fail() && c.code == Code::BundleTagMoved);
        if moved && !self.reread {
            return Flow::Reread;
        }
        let remembered =
            sound.then(|| Remembered::of(&chain, &chosen.trusted, &chosen.files, memory.as_ref()));
        Flow::Finished(report, remembered.filter(|r| memory.as_ref() != Some(r)))
    }

    fn roots_to_save(&self, i: usize, chain: &RootChain) -> Option<Flow> {
        let memory = self.question.anchors[i].1.as_ref();
        if memory.is_some_and(|m| m.files.newest_root() >= Some(chain.last().version())) {
            return None;
        }
        let mut remembered = memory.cloned().unwrap_or_default();
        add_roots(&mut remembered.files, chain);
        Some(Flow::SaveRoots(remembered))
    }

    /// Nothing vouches under this anchor. What is remembered may still say that the bundle was revoked, which whoever withholds
    /// the state must not be able to hide from the other anchors.
    fn without_vouching(
        &self,
        i: usize,
        subject: &Descriptor,
        court: &Court<'_>,
        chain: &RootChain,
        mut report: AnchorReport,
    ) -> Flow {
        let memory = self.question.anchors[i].1.as_ref().filter(|m| m.verified_under.is_some());
        let known = memory.and_then(|m| court.remembered(chain, m, &[]).ok());
        report.checks.extend(known.and_then(|known| bundle::revoked(subject, &known, court)));
        Flow::Finished(report, None)
    }

    /// The newest candidate that verifies under the final root and above the floor.
    fn choose(&self, i: usize, court: &Court<'_>, chain: &RootChain, checks: &mut Vec<Check>) -> Choice {
        let memory = self.question.anchors[i].1.as_ref().filter(|m| m.verified_under.is_some());
        let held = match memory.map(|m| court.held(chain, m)).transpose() {
            Ok(held) => held.flatten(),
            Err(e) => {
                checks.push(Check::fail(Code::MemoryInvalid, e.to_string()));
                return Choice::Nothing;
            }
        };
        let remembered = memory.and_then(|m| court.remembered(chain, m, &[]).ok());
        let state = self.states.get(i);
        let live = match state {
            Some(StateAnswer::Found(files)) => {
                Some(court.judge(chain, files, held.as_ref(), Evidence::State))
            }
            _ => None,
        };
        let mut candidates = Vec::new();
        let mut failure = None;
        match live {
            Some(Ok(live)) => match forked(&live, remembered.as_ref()) {
                Ok(false) => {
                    // An expired state is no reason to stop looking: a seal may be fresher.
                    match court.is_expired(&live) {
                        Ok(false) => return Choice::Use(Box::new(live)),
                        Ok(true) => candidates.push(live),
                        Err(e) => failure = Some(Check::failed(&e)),
                    }
                }
                Ok(true) => {
                    let version = live.trusted.timestamp().version();
                    checks.push(Check::note(Code::TufFork, Fault::Fork(version).to_string()));
                    return remembered.map_or(Choice::Nothing, |c| Choice::Use(Box::new(c)));
                }
                Err(e) => failure = Some(Check::failed(&e)),
            },
            Some(Err(e)) if is_rollback(&e) => {
                checks.push(Check::failed(&e));
                return Choice::Nothing;
            }
            Some(Err(e)) => failure = Some(Check::failed(&e)),
            None => {
                failure = Some(match state {
                    Some(StateAnswer::Invalid(why)) => Check::fail(Code::StateInvalid, why),
                    _ => Check::fail(
                        Code::StateAbsent,
                        format!("no state of {} at any place", court.collection),
                    ),
                });
            }
        }
        let (seals, more) = match self.seals.as_ref().filter(|_| self.needs_seals[i]) {
            None => return Choice::ReadSeals,
            Some(SealsAnswer::Unreadable(why)) => {
                checks.extend(failure.map(as_note));
                checks.push(Check::fail(Code::SealUnreadable, why));
                return Choice::Nothing;
            }
            Some(SealsAnswer::Read { seals, more }) => (seals, *more),
        };
        let mut reasons = Vec::new();
        for seal in seals {
            let judged = match seal {
                Ok(files) => {
                    court.judge(chain, files, held.as_ref(), Evidence::Seal).map_err(|e| e.to_string())
                }
                Err(why) => Err(why.clone()),
            };
            match judged {
                Ok(candidate) => candidates.push(candidate),
                Err(why) => reasons.push(why),
            }
        }
        let files: Vec<&Files> = seals.iter().flatten().collect();
        candidates.extend(memory.and_then(|m| court.remembered(chain, m, &files).ok()));
        let rank = |c: &Candidate| (c.trusted.timestamp().version(), std::cmp::Reverse(c.evidence));
        match candidates.into_iter().max_by_key(rank) {
            Some(best) => {
                if best.evidence != Evidence::State {
                    checks.extend(failure.map(as_note));
                }
                checks.extend(used(&best));
                Choice::Use(Box::new(best))
            }
            None => {
                // Past the cap there may be one that serves.
                checks.extend(failure.map(|f| if more { as_note(f) } else { f }));
                checks.extend(reasons.into_iter().take(5).map(|why| Check::note(Code::SealInvalid, why)));
                checks.push(if more {
                    Check::fail(Code::SealCap, "more seals than are read, and none of those read serves")
                } else {
                    Check::fail(Code::SealNone, "no seal of the collection on the bundle verifies")
                });
                Choice::Nothing
            }
        }
    }

    fn report(&self, mut first: Vec<Check>) -> Report {
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
            anchors: self.reports.clone(),
        }
    }
}

/// What was to be checked of the bundle, and was not because a check before it failed.
fn not_reached(checks: &[Check], question: &Question) -> Vec<Check> {
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

fn unresolved(answer: &BundleAnswer) -> Check {
    match answer {
        BundleAnswer::Found { unreadable, .. } => {
            Check::fail(Code::BundleAmbiguous, unreadable.clone().unwrap_or_default())
        }
        BundleAnswer::Absent => Check::fail(Code::RefAbsent, "no such tag or digest is there"),
        BundleAnswer::WrongContent(why) => Check::fail(Code::BundleContent, why),
        BundleAnswer::Failed(why) => Check::fail(Code::BundleResolve, why),
    }
}

fn as_note(check: Check) -> Check {
    Check { outcome: Outcome::Note, ..check }
}

fn add_roots(files: &mut Files, chain: &RootChain) {
    for root in chain.roots() {
        files.put(FileName::versioned(RoleName::root(), root.version()), root.bytes().clone());
    }
}

fn is_rollback(e: &TufError) -> bool {
    matches!(e.fault, Fault::Rollback { .. } | Fault::Dropped(_))
}

/// Equal timestamp version, other bytes, and no descent: the remembered one is kept (specification 5.4.3).
fn forked(live: &Candidate, remembered: Option<&Candidate>) -> Result<bool, TufError> {
    let Some(old) = remembered else { return Ok(false) };
    let (a, b) = (live.trusted.timestamp(), old.trusted.timestamp());
    if a.version() != b.version() || a.bytes() == b.bytes() {
        return Ok(false);
    }
    Court::descends(live, old).map(|descends| !descends)
}

fn used(best: &Candidate) -> Option<Check> {
    let code = match best.evidence {
        Evidence::State => return None,
        Evidence::Memory => Code::MemoryUsed,
        Evidence::Seal => Code::SealUsed,
    };
    let timestamp = best.trusted.timestamp();
    let at = timestamp.extra().map_or_else(|| "an unknown time".to_owned(), |x| x.at.to_string());
    Some(Check::note(code, format!("judged by the {} of {at}", best.evidence.as_str())))
}
