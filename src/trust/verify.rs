//! The whole of verification as a step machine (docs/trust.md "The order"). The driver answers what is asked and saves what
//! must be remembered; it can forget nothing and change no order.

mod asked;
mod attested;
mod choose;
mod inside;
mod line;
mod signed;
mod summary;

use std::collections::{BTreeMap, VecDeque};

use super::anchor::Anchor;
use super::candidate::Walked;
use super::cnab::{CnabReport, Whole};
use super::report::AnchorReport;
use super::revocation::RevocationList;
use super::scope::Scope;
use super::signatures::{Attested, Heard, Tally};
use super::source::{Source, SourceSpec};
use crate::oci::{Reference, RegistryRef, Repository};
use crate::tuf::{CollectionName, Remembered, Top};

pub use asked::{Answer, BundleAnswer, MAX_SEALS, Question, SealsAnswer, StateAnswer, Step, Want};
use summary::{not_reached, unresolved};

/// A verification under way.
#[derive(Debug)]
pub struct Verification {
    question: Question,
    lines: Vec<Line>,
    bundle: Option<BundleAnswer>,
    seals: Option<SealsAnswer>,
    /// What came of looking into a CNAB bundle, and, where it is whole, what a collection may list of it.
    inside: Option<(CnabReport, Option<Whole>)>,
    /// What the collections that rescind have taken back, or why that is not known.
    lists: BTreeMap<CollectionName, Heard>,
    /// The signatures that were judged so far.
    tally: Option<Tally>,
    /// The attestations that were.
    attested: Option<Attested>,
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
    /// What is remembered of its chain.
    memory: Option<Remembered>,
    /// What is remembered of the collection besides: other chains, as far as can be seen yet.
    others: Vec<Remembered>,
    needs_seals: bool,
    /// The last walk over its roots, for as long as the same is offered.
    walked: Option<Walked>,
}

/// What a line is for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// It judges the bundle.
    Bundle,
    /// It says which signatures were taken back.
    Rescissions,
    /// It says which member speaks for the bundle, which it calls so.
    Organisation(Option<Repository>),
    /// It judges the bundle, once the line before it has said who it is.
    Member {
        /// Whether it has.
        named: bool,
    },
}

/// Who is asked for the revocation list that signatures are judged by: a collection, at its own repository, wherever the bundle lies.
pub fn rescinding(anchor: &Anchor) -> Source {
    let mut source = match anchor.organisation {
        true => return anchor.sources().remove(0),
        false => SourceSpec::default().of(anchor),
    };
    if let Scope::Repository(repository) = &anchor.scope {
        let own = RegistryRef { repository: repository.clone(), selector: None };
        source.state_at.insert(0, Reference::Registry(own));
    }
    source.own_place_last = true;
    source
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
    /// A collection's list, by which signatures are judged.
    List(RevocationList, Option<Remembered>),
    /// An organisation named its member.
    Named(AnchorReport, Option<Remembered>, Box<Source>),
}

impl Line {
    fn new(anchor: usize, part: Part, source: Source, others: Vec<Remembered>) -> Self {
        let (top, memory) = (source.top(), None);
        Self { anchor, part, source, state: None, top, memory, others, needs_seals: false, walked: None }
    }
}

impl Verification {
    /// Start on a question. `recall` says what is remembered of the collection of a source, each chain by itself; it is asked of
    /// every one that is known beforehand.
    ///
    /// # Errors
    /// Those of `recall`.
    pub fn start<E>(
        question: Question,
        mut recall: impl FnMut(&Source) -> Result<Vec<Remembered>, E>,
    ) -> Result<Self, E> {
        let mut lines: Vec<Line> = Vec::new();
        for (anchor, stated) in question.rule.tuf.iter().enumerate() {
            for source in stated.sources() {
                let memory = recall(&source)?;
                if stated.organisation {
                    let name = stated.mapped(&question.rule.subject.repository);
                    lines.push(Line::new(anchor, Part::Organisation(name), source.clone(), memory));
                    lines.push(Line::new(anchor, Part::Member { named: false }, source, Vec::new()));
                } else {
                    lines.push(Line::new(anchor, Part::Bundle, source, memory));
                }
            }
        }
        // These come first: what they take back counts for nothing from the start.
        let rescinders = question.rescinders.iter().enumerate();
        let first = rescinders.map(|(anchor, rescinder)| {
            let source = rescinding(rescinder);
            let memory = recall(&source)?;
            Ok(Line::new(anchor, Part::Rescissions, source, memory))
        });
        let first: Vec<Line> = first.collect::<Result<_, E>>()?;
        lines.splice(..0, first);
        Ok(Self {
            question,
            lines,
            lists: BTreeMap::new(),
            bundle: None,
            seals: None,
            inside: None,
            tally: None,
            attested: None,
            wanted: Vec::new(),
            saves: VecDeque::new(),
            reports: Vec::new(),
            reread: false,
        })
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
                if self.is_settled_beforehand() {
                    return Step::Done(Box::new(self.report(Vec::new())));
                }
                let typed = self.question.digest.clone();
                if self.lines.is_empty()
                    && !self.asks_inside()
                    && let Some(digest) = &typed
                {
                    // Where nothing but signatures is asked for, they say all of a bundle that is named by its digest.
                    let (signatures, attestations) =
                        (self.next_signatures(digest), self.next_attestations(digest));
                    if signatures.is_some() || attestations.is_some() {
                        self.wanted.extend(signatures.into_iter().chain(attestations));
                        continue;
                    }
                    if self.needs_no_bundle(digest) {
                        return Step::Done(Box::new(self.report(Vec::new())));
                    }
                }
                self.wanted.push(Want::Bundle);
                let known = self
                    .lines
                    .iter()
                    .enumerate()
                    .filter(|(_, line)| !matches!(line.part, Part::Member { .. }));
                self.wanted.extend(known.map(|(source, _)| Want::State { source }));
                // The digest is known already: nothing need be waited for.
                if let Some(digest) = typed {
                    let signatures = self.next_signatures(&digest);
                    self.wanted.extend(signatures);
                    let attestations = self.next_attestations(&digest);
                    self.wanted.extend(attestations);
                }
                continue;
            };
            let BundleAnswer::Found { bundle, parts, unreadable: None, cnab } = bundle else {
                return Step::Done(Box::new(self.report(vec![unresolved(&bundle)])));
            };
            if let Some(asked) = self.question.digest.as_ref().filter(|d| **d != bundle.digest) {
                let why = format!("{asked} was asked for, and {} came", bundle.digest);
                let answer = BundleAnswer::WrongContent(why);
                self.bundle = Some(answer.clone());
                return Step::Done(Box::new(self.report(vec![unresolved(&answer)])));
            }
            let inside = self.next_inside(&bundle.digest, cnab);
            let signatures = self.next_signatures(&bundle.digest);
            let attestations = self.next_attestations(&bundle.digest);
            if inside.is_some() || signatures.is_some() || attestations.is_some() {
                self.wanted.extend(inside.into_iter().chain(signatures).chain(attestations));
                continue;
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
            self.recall(i);
            let walked = self.walk(i);
            let flow = self.line(i, &walked, &bundle, &parts);
            let before = match (&flow, &walked) {
                (Flow::Finished(..), Ok(walked)) if self.lines[i].part == Part::Rescissions => {
                    self.lists_before(i, &walked.chain)
                }
                _ => Vec::new(),
            };
            self.lines[i].walked = walked.ok();
            match flow {
                Flow::Seals => {
                    self.lines[i].needs_seals = true;
                    if self.seals.is_none() {
                        self.wanted.push(Want::Seals { subject: bundle.clone() });
                    }
                }
                Flow::SaveRoots(remembered) => self.saves.push_back((i, remembered)),
                Flow::Reread => {
                    self.reread = true;
                    (self.bundle, self.seals, self.inside) = (None, None, None);
                    (self.tally, self.attested) = (None, None);
                    for line in &mut self.lines {
                        (line.needs_seals, line.state) = (false, None);
                    }
                    self.reports.clear();
                    self.lists.clear();
                }
                Flow::List(list, remembered) => {
                    self.saves.extend(remembered.map(|r| (i, r)));
                    let heard = Heard { now: Ok(list), before };
                    self.lists.insert(self.lines[i].source.collection.clone(), heard);
                    self.reports.push(None);
                }
                Flow::Finished(report, remembered) if self.lines[i].part == Part::Rescissions => {
                    self.saves.extend(remembered.map(|r| (i, r)));
                    let failed = report.checks.iter().find(|check| check.is_fail());
                    let why =
                        failed.map_or_else(|| "it cannot be relied on".to_owned(), |c| c.detail.clone());
                    self.lists.insert(report.collection, Heard { now: Err(why), before });
                    self.reports.push(None);
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
                    let line = &mut self.lines[i + 1];
                    (line.source, line.part, line.walked) = (*member, Part::Member { named: true }, None);
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
                (Want::Memory { source }, Answer::Memory(m)) => {
                    let line = &mut self.lines[source];
                    (line.memory, line.others) = (None, m);
                }
                (Want::Seals { .. }, Answer::Seals(s)) => self.seals = Some(s),
                (Want::Cnab { index, .. }, Answer::Cnab(read)) => self.judge_inside(&Ok(*index), Some(&read)),
                (Want::Signatures { digest, .. }, Answer::Signatures(s)) => {
                    self.judge_signatures(&digest, &s)
                }
                (Want::Attestations { digest, .. }, Answer::Attestations(s)) => {
                    self.judge_attestations(&digest, &s)
                }
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
}
