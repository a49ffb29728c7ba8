//! The whole of verification as a step machine (docs/trust.md "The order"). The driver answers what is asked and saves what
//! must be remembered; it can forget nothing and change no order.

use std::collections::{BTreeSet, VecDeque};

use super::agreement::{self, OF_SOURCES};
use super::anchor::Anchor;
use super::bundle;
use super::candidate::{Candidate, Court, walk};
use super::code::{Code, Says};
use super::metadata;
use super::organisation;
use super::policy::Statement;
use super::report::{AnchorReport, Check, Evidence, Outcome, Report, Verdict};
use super::scope::Subject;
use super::source::Source;
use crate::oci::{Descriptor, Digest, Repository};
use crate::time::UnixTime;
use crate::tuf::{Fault, FileName, Files, Limits, Remembered, RoleName, RootChain, Top, TufError};

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
    /// The anchors that cover the subject.
    pub anchors: Vec<Anchor>,
    /// What is remembered of the chain of each of their sources, in order ([`sources`]); members of organisations are asked for
    /// once they are known.
    pub memories: Vec<Option<Remembered>>,
    /// The statement that counts for the subject.
    pub statement: Option<Statement>,
    /// Ids of the collections' advisories that were acknowledged here.
    pub acknowledged: BTreeSet<String>,
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
    /// Remember this for the source with this number before going on.
    Save {
        /// Its number; see [`Verification::source`].
        source: usize,
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
    /// The live state of a source's collection, from the places it may lie at.
    State {
        /// Its number; see [`Verification::source`].
        source: usize,
    },
    /// What is remembered of the chain of a source that an organisation named.
    Memory {
        /// Its number; see [`Verification::source`].
        source: usize,
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
    /// To [`Want::Memory`].
    Memory(Option<Remembered>),
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
    lines: Vec<Line>,
    bundle: Option<BundleAnswer>,
    seals: Option<SealsAnswer>,
    wanted: Vec<Want>,
    saves: VecDeque<(usize, Remembered)>,
    /// Of every line that was judged; none of a member whose organisation did not name it.
    reports: Vec<Option<AnchorReport>>,
    reread: bool,
}

/// A source under an anchor, and how it stands.
#[derive(Debug)]
struct Line {
    anchor: usize,
    part: Part,
    source: Source,
    state: Option<StateAnswer>,
    top: Option<Top>,
    memory: Option<Remembered>,
    needs_seals: bool,
}

/// What a line is for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// It judges the bundle.
    Bundle,
    /// It says which member speaks for the bundle, which it calls so.
    Organisation(Option<Repository>),
    /// It judges the bundle, once the line before it has said who it is.
    Member {
        /// Whether it has.
        named: bool,
    },
}

/// The sources of all anchors, in order, that are known before anything is fetched.
pub fn sources(anchors: &[Anchor]) -> Vec<Source> {
    anchors.iter().flat_map(Anchor::sources).collect()
}

/// How far one source got.
enum Flow {
    Seals,
    SaveRoots(Remembered),
    Reread,
    Finished(AnchorReport, Option<Remembered>),
    /// An organisation named its member.
    Named(AnchorReport, Option<Remembered>, Box<Source>),
}

/// What the candidates of one source come to.
enum Choice {
    Use(Box<Candidate>),
    /// No sound live state: seals must be read before anything is chosen.
    ReadSeals,
    /// Nothing serves; the checks say why.
    Nothing,
}

impl Line {
    fn new(anchor: usize, part: Part, source: Source, memory: Option<Remembered>) -> Self {
        let top = source.top();
        Self { anchor, part, source, state: None, top, memory, needs_seals: false }
    }
}

impl Verification {
    /// Start on a question.
    pub fn start(question: Question) -> Self {
        let mut memories = question.memories.iter().cloned();
        let mut lines = Vec::new();
        for (anchor, stated) in question.anchors.iter().enumerate() {
            for source in stated.sources() {
                let memory = memories.next().flatten();
                if stated.organisation {
                    let name = stated.mapped(&question.subject.repository);
                    lines.push(Line::new(anchor, Part::Organisation(name), source.clone(), memory));
                    lines.push(Line::new(anchor, Part::Member { named: false }, source, None));
                } else {
                    lines.push(Line::new(anchor, Part::Bundle, source, memory));
                }
            }
        }
        Self {
            question,
            lines,
            bundle: None,
            seals: None,
            wanted: Vec::new(),
            saves: VecDeque::new(),
            reports: Vec::new(),
            reread: false,
        }
    }

    /// The source with this number: what is fetched, remembered and saved is by it.
    pub fn source(&self, number: usize) -> Option<&Source> {
        self.lines.get(number).map(|line| &line.source)
    }

    /// What is wanted now.
    pub fn step(&mut self) -> Step {
        loop {
            if let Some((source, remembered)) = self.saves.front() {
                return Step::Save { source: *source, remembered: remembered.clone() };
            }
            if !self.wanted.is_empty() {
                return Step::Need(self.wanted.clone());
            }
            let Some(bundle) = self.bundle.clone() else {
                if self.lines.is_empty() {
                    return Step::Done(Box::new(self.report(Vec::new())));
                }
                self.wanted.push(Want::Bundle);
                let known = self
                    .lines
                    .iter()
                    .enumerate()
                    .filter(|(_, line)| !matches!(line.part, Part::Member { .. }));
                self.wanted.extend(known.map(|(source, _)| Want::State { source }));
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
            if i == self.lines.len() {
                return Step::Done(Box::new(self.report(Vec::new())));
            }
            if matches!(self.lines[i].part, Part::Member { .. }) && self.lines[i].state.is_none() {
                if self.lines[i].part == (Part::Member { named: true }) {
                    self.wanted.extend([Want::Memory { source: i }, Want::State { source: i }]);
                } else {
                    self.reports.push(None);
                }
                continue;
            }
            match self.line(i, &bundle, &parts) {
                Flow::Seals => {
                    self.lines[i].needs_seals = true;
                    if self.seals.is_none() {
                        self.wanted.push(Want::Seals { subject: bundle.clone() });
                    }
                }
                Flow::SaveRoots(remembered) => self.saves.push_back((i, remembered)),
                Flow::Reread => {
                    self.reread = true;
                    (self.bundle, self.seals) = (None, None);
                    for line in &mut self.lines {
                        (line.needs_seals, line.state) = (false, None);
                    }
                    self.reports.clear();
                }
                Flow::Finished(mut report, remembered) => {
                    report.checks.extend(not_reached(&report.checks, &self.question));
                    self.saves.extend(remembered.map(|r| (i, r)));
                    self.reports.push(Some(report));
                    if matches!(self.lines[i].part, Part::Organisation(_)) {
                        self.lines[i + 1].part = Part::Member { named: false };
                    }
                }
                Flow::Named(report, remembered, member) => {
                    self.saves.extend(remembered.map(|r| (i, r)));
                    self.reports.push(Some(report));
                    (self.lines[i + 1].source, self.lines[i + 1].part) =
                        (*member, Part::Member { named: true });
                }
            }
        }
    }

    /// Answers to [`Step::Need`], in the order asked.
    pub fn feed(&mut self, answers: Vec<Answer>) {
        let wanted = std::mem::take(&mut self.wanted);
        for (want, answer) in wanted.into_iter().zip(answers) {
            match (want, answer) {
                (Want::Bundle, Answer::Bundle(b)) => self.bundle = Some(b),
                (Want::State { source }, Answer::State(s)) => self.lines[source].state = Some(s),
                (Want::Memory { source }, Answer::Memory(m)) => self.lines[source].memory = m,
                (Want::Seals { .. }, Answer::Seals(s)) => self.seals = Some(s),
                // An answer to something else is none.
                (want, _) => self.wanted.push(want),
            }
        }
    }

    /// Answer to [`Step::Save`]: it is remembered, and counts from now on. Other sources of the chain are judged by what was
    /// remembered before: in which order they are asked makes no difference.
    pub fn saved(&mut self) {
        if let Some((source, remembered)) = self.saves.pop_front() {
            self.lines[source].memory = Some(remembered);
        }
    }

    fn line(&self, i: usize, subject: &Descriptor, parts: &[Digest]) -> Flow {
        let Line { anchor, source, top, memory, needs_seals, part, .. } = &self.lines[i];
        let anchor = &self.question.anchors[*anchor];
        let paths = match part {
            Part::Organisation(_) => Vec::new(),
            Part::Bundle | Part::Member { .. } => {
                bundle::paths(&source.collection, &self.question, &subject.digest)
            }
        };
        let court = Court {
            collection: &source.collection,
            role: &source.role,
            top: top.as_ref(),
            paths: &paths,
            parts,
            acknowledged: &self.question.acknowledged,
            now: self.question.now,
            limits: &self.question.limits,
        };
        let mut report = AnchorReport {
            anchor: anchor.id.as_str().to_owned(),
            collection: source.collection.clone(),
            role: source.role.clone(),
            own_keys: top.is_some(),
            at: source.at.as_ref().map(|at| at.at(None).to_string()),
            by: None,
            root: None,
            evidence: None,
            as_of: None,
            checks: Vec::new(),
            sources: Vec::new(),
        };
        let fingerprint = source.root.fingerprint();
        report.checks.push(
            Check::pass(Code::AnchorScope, format!("{}, root {fingerprint}", anchor.scope))
                .with("scope", anchor.scope.to_string())
                .with("root", fingerprint.to_string()),
        );
        // Whatever place of the same collection offers a root: it is one walk.
        let same =
            |line: &&Line| line.source.collection == source.collection && line.source.root == source.root;
        let live = self.lines.iter().filter(same).filter_map(|line| line.state.as_ref());
        let mut offering: Vec<&Files> = live.filter_map(StateAnswer::files).collect();
        if let Some(SealsAnswer::Read { seals, .. }) = self.seals.as_ref().filter(|_| *needs_seals) {
            offering.extend(seals.iter().flatten());
        }
        let known_roots = memory.as_ref().map(|m| &m.files);
        let chain = match walk(source.root.bytes(), known_roots, &offering, &court) {
            Ok((chain, failure)) => {
                report.root = Some(chain.last().digest());
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
        if let Some(StateAnswer::Unreadable(why)) = &self.lines[i].state {
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
        if let Part::Organisation(name) = part {
            let remembered = self.worth(i, sound, &court, &chain, &chosen);
            report.checks.extend(bundle::listed_as_revoked(subject, &chosen, &court));
            let none =
                || (vec![Check::fail(Code::OrganisationNone, "it has no name for the reference")], None);
            let named = name.as_ref().map(|name| organisation::member_for(name, &source.collection, &chosen));
            let (checks, member) = named.unwrap_or_else(none);
            report.checks.extend(checks);
            return match member.filter(|_| report.verdict() == Verdict::Trusted) {
                Some(member) => Flow::Named(report, remembered, Box::new(member)),
                None => Flow::Finished(report, remembered),
            };
        }
        let (checks, by) = bundle::checks(&self.question, subject, &chosen, &court);
        report.checks.extend(checks);
        report.by = by;
        if top.is_none() && court.carries_list(&chosen.trusted, &chosen.files).is_err() {
            // The list that is known still says what it said.
            report.checks.extend(self.known_revocation(i, subject, &court, &chain));
        }
        let (demanded, agreed) = agreement::demanded(&self.question, subject, &chosen, &court, &report);
        report.sources = demanded;
        report.checks.extend(agreed);
        let moved = report.checks.iter().any(|c| c.is_fail() && c.code == Code::BundleTagMoved);
        if moved && !self.reread {
            return Flow::Reread;
        }
        Flow::Finished(report, self.worth(i, sound, &court, &chain, &chosen))
    }

    /// What a source is remembered by: sound, and no less than before. A list of revocations that is known is not given up for a
    /// state that came without its own.
    fn worth(
        &self,
        i: usize,
        sound: bool,
        court: &Court<'_>,
        chain: &RootChain,
        chosen: &Candidate,
    ) -> Option<Remembered> {
        let memory = self.lines[i].memory.as_ref();
        let new = Remembered::of(chain, &chosen.trusted, &chosen.files, memory);
        if !sound || memory == Some(&new) {
            return None;
        }
        let known = memory.filter(|m| m.verified_under.is_some() && court.has_list(chain, m));
        let holds = match self.lines[i].top {
            Some(_) => court.is_whole(chain, &new, memory),
            None => known.is_none() || court.has_list(chain, &new),
        };
        holds.then_some(new)
    }

    fn roots_to_save(&self, i: usize, chain: &RootChain) -> Option<Flow> {
        let memory = self.lines[i].memory.as_ref();
        if memory.is_some_and(|m| m.files.newest_root() >= Some(chain.last().version())) {
            return None;
        }
        let mut remembered = memory.cloned().unwrap_or_default();
        add_roots(&mut remembered.files, chain);
        Some(Flow::SaveRoots(remembered))
    }

    /// Nothing vouches as this source. What is remembered may still say that the bundle was revoked, which whoever withholds
    /// the state must not be able to hide from the other anchors.
    fn without_vouching(
        &self,
        i: usize,
        subject: &Descriptor,
        court: &Court<'_>,
        chain: &RootChain,
        mut report: AnchorReport,
    ) -> Flow {
        report.checks.extend(self.known_revocation(i, subject, court, chain));
        Flow::Finished(report, None)
    }

    fn known_revocation(
        &self,
        i: usize,
        subject: &Descriptor,
        court: &Court<'_>,
        chain: &RootChain,
    ) -> Option<Check> {
        let memory = self.lines[i].memory.as_ref().filter(|m| m.verified_under.is_some());
        let known = memory.and_then(|m| court.remembered(chain, m, &[]).ok());
        known.and_then(|known| bundle::revoked(subject, &known, court))
    }

    /// The newest candidate that verifies under the final root and above the floor.
    fn choose(&self, i: usize, court: &Court<'_>, chain: &RootChain, checks: &mut Vec<Check>) -> Choice {
        let memory = self.lines[i].memory.as_ref().filter(|m| m.verified_under.is_some());
        let held = match memory.map(|m| court.held(chain, m)).transpose() {
            Ok(held) => held.flatten(),
            Err(e) => {
                checks.push(Check::fail(Code::MemoryInvalid, e.to_string()));
                return Choice::Nothing;
            }
        };
        let remembered = memory.and_then(|m| court.remembered(chain, m, &[]).ok());
        let state = self.lines[i].state.as_ref();
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
                    let detail = Fault::Fork(live.trusted.timestamp().version()).to_string();
                    let alone = self.lines[i].source.at.is_some();
                    let say = if alone { Check::fail } else { Check::note };
                    checks.push(say(Code::TufFork, detail));
                    let kept = remembered.filter(|_| self.lines[i].source.at.is_none());
                    return kept.map_or(Choice::Nothing, |c| Choice::Use(Box::new(c)));
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
        if self.lines[i].source.at.is_some() {
            // Where one place was asked for, nothing stands in for what it serves: whoever serves the seals may be another source.
            checks.extend(failure);
            let Some(live) = candidates.pop() else { return Choice::Nothing };
            return Choice::Use(Box::new(live));
        }
        let (seals, more) = match self.seals.as_ref().filter(|_| self.lines[i].needs_seals) {
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
                // A state past a bound may be sound: that no seal serves decides nothing then.
                let open = failure.as_ref().is_some_and(|f| f.code.says() == Says::Undecided);
                // Past the cap there may be one that serves.
                checks.extend(failure.map(|f| if more { as_note(f) } else { f }));
                checks.extend(reasons.into_iter().take(5).map(|why| Check::note(Code::SealInvalid, why)));
                checks.push(if more {
                    Check::fail(Code::SealCap, "more seals than are read, and none of those read serves")
                } else {
                    let none =
                        Check::fail(Code::SealNone, "no seal of the collection on the bundle verifies");
                    if open { as_note(none) } else { none }
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

impl StateAnswer {
    fn files(&self) -> Option<&Files> {
        match self {
            Self::Found(files) => Some(files),
            _ => None,
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
