//! One source under one anchor: its roots, what is chosen, what that says of the bundle, and what is remembered.

use super::choose::{Choice, not_judged};
use super::{Flow, Line, Part, SealsAnswer, StateAnswer, Verification};
use crate::oci::{Descriptor, Digest};
use crate::trust::agreement;
use crate::trust::bundle;
use crate::trust::candidate::{Candidate, Court, Offer, Walked, walk};
use crate::trust::code::Code;
use crate::trust::metadata;
use crate::trust::organisation;
use crate::trust::report::{AnchorReport, Check, Verdict};
use crate::trust::revocation::RevocationList;
use crate::tuf::{Fault, FileName, Files, Remembered, RoleName, RootChain, Told, TufError};

impl Verification {
    /// The files that offer roots to a source.
    fn offering(&self, i: usize) -> Vec<&Files> {
        let Line { source, needs_seals, .. } = &self.lines[i];
        // Whatever place of the same collection offers a root: it is one walk.
        let same =
            |line: &&Line| line.source.collection == source.collection && line.source.root == source.root;
        let live = self.lines.iter().filter(same).filter_map(|line| line.state.as_ref());
        let mut offering: Vec<&Files> = live.filter_map(StateAnswer::files).collect();
        if let Some(SealsAnswer::Read { seals, .. }) = self.seals.as_ref().filter(|_| *needs_seals) {
            offering.extend(seals.iter().flatten());
        }
        offering
    }

    /// Take what is remembered of the source's chain together: every chain that holds its root, or that a walk joins to it.
    pub(super) fn recall(&mut self, i: usize) {
        let Line { source, memory, others, .. } = &self.lines[i];
        if others.is_empty() {
            return;
        }
        let (limits, offering) = (&self.question.limits, self.offering(i));
        // One that is damaged is said to be when it is judged.
        let (chains, root) = (memory.iter().chain(others).cloned(), source.root.bytes());
        let told = Told::apart(chains, root, &offering, &source.collection, limits, bundle::understood);
        (self.lines[i].memory, self.lines[i].others) = (told.own, told.others);
    }

    /// The walk over the roots of a source, as far as anything offers them.
    pub(super) fn walk(&mut self, i: usize) -> Result<Walked, TufError> {
        let before = self.lines[i].walked.take();
        let Line { source, memory, .. } = &self.lines[i];
        let offering = self.offering(i);
        let offer = Offer { memory: memory.as_ref().map(|m| &m.files), sources: &offering };
        match before.filter(|walked| walked.is_of(&offer)) {
            Some(walked) => Ok(walked),
            None => walk(source.root.bytes(), &offer, &source.collection, &self.question.limits),
        }
    }

    /// Judge a source whose roots were walked over.
    pub(super) fn line(
        &self,
        i: usize,
        walked: &Result<Walked, TufError>,
        subject: &Descriptor,
        parts: &[Digest],
    ) -> Flow {
        let Line { anchor, source, top, memory, part, .. } = &self.lines[i];
        let anchor = match part {
            Part::Rescissions => &self.question.rescinders[*anchor],
            _ => &self.question.rule.tuf[*anchor],
        };
        let paths = match part {
            Part::Organisation(_) | Part::Rescissions => Vec::new(),
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
            inside: self.inside.as_ref().and_then(|(_, whole)| whole.as_ref()),
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
        let known_roots = memory.as_ref().map(|m| &m.files);
        let chain = match walked {
            Ok(Walked { chain, failure, .. }) => {
                report.root = Some(chain.last().digest());
                if let Some(flow) = self.roots_to_save(i, chain) {
                    return flow;
                }
                if let Some(e) = failure {
                    report.checks.push(Check::failed(e));
                    return self.without_vouching(i, subject, &court, chain, report);
                }
                if known_roots.and_then(Files::newest_root).is_some_and(|v| v > chain.last().version()) {
                    report.checks.push(Check::fail(Code::MemoryInvalid, "a remembered root does not verify"));
                    return self.without_vouching(i, subject, &court, chain, report);
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
            return self.without_vouching(i, subject, &court, chain, report);
        }
        report.checks.extend(metadata::repeated_keys(chain));
        let contradicts =
            |m: &Remembered| m.contradicts(source.root.bytes(), &source.collection, &self.question.limits);
        if self.lines[i].others.iter().any(contradicts) {
            let what = "another root of this version follows from the same one and is remembered; what was remembered under it has no say";
            report.checks.push(Check::note(Code::MemoryInvalid, what));
        }
        let chosen = match self.choose(i, &court, chain, &mut report.checks) {
            Choice::Use(chosen) => *chosen,
            Choice::ReadSeals => return Flow::Seals,
            Choice::Nothing => return self.without_vouching(i, subject, &court, chain, report),
        };
        report.evidence = Some(chosen.evidence);
        report.as_of = chosen.trusted.timestamp().extra().map(|x| x.at);
        let metadata = metadata::checks(&chosen, &court, self.question.rule.statement.as_ref());
        let sound = !metadata.iter().any(Check::is_fail);
        report.checks.extend(metadata);
        if *part == Part::Rescissions {
            let remembered = self.worth(i, sound, &court, chain, &chosen);
            if !report.checks.iter().any(Check::is_fail) {
                match bundle::list(&chosen, &court) {
                    Ok(list) => return Flow::List(list, remembered),
                    Err(why) => report.checks.push(Check::fail(Code::RevocationMissing, why)),
                }
            }
            return Flow::Finished(report, remembered);
        }
        if let Part::Organisation(name) = part {
            let remembered = self.worth(i, sound, &court, chain, &chosen);
            report.checks.extend(bundle::listed_as_revoked(subject, &chosen, &court));
            if !court.says_what_is_revoked(&chosen) {
                self.known_revocation(i, subject, &court, chain, &mut report);
            }
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
        if !court.says_what_is_revoked(&chosen) {
            // The list that is known still says what it said.
            self.known_revocation(i, subject, &court, chain, &mut report);
        }
        let (demanded, agreed) = agreement::demanded(&self.question, subject, &chosen, &court, &report);
        report.sources = demanded;
        report.checks.extend(agreed);
        let moved = report.checks.iter().any(|c| c.is_fail() && c.code == Code::BundleTagMoved);
        if moved && !self.reread {
            return Flow::Reread;
        }
        Flow::Finished(report, self.worth(i, sound, &court, chain, &chosen))
    }

    /// What a source is remembered by: what was chosen, where it is sound, joined with what was remembered before.
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
        if self.lines[i].top.is_some() && !court.is_whole(chain, &new, memory) {
            return None;
        }
        let Some(old) = memory else { return Some(new) };
        // A memory with which nothing can be joined is damaged: nothing is chosen beside it, and it is not written over.
        let joined = old.joined(&new, court.collection, court.limits, bundle::understood).ok()?;
        (joined != *old).then_some(joined)
    }

    /// The revocation lists of a source that are remembered, whatever was rotated since.
    pub(super) fn lists_before(&self, i: usize, chain: &RootChain) -> Vec<RevocationList> {
        let Line { source, top, memory, others, .. } = &self.lines[i];
        let court = Court {
            collection: &source.collection,
            role: &source.role,
            top: top.as_ref(),
            paths: &[],
            parts: &[],
            inside: None,
            acknowledged: &self.question.acknowledged,
            now: self.question.now,
            limits: &self.question.limits,
        };
        let held = court.held(chain, memory.as_ref(), others);
        let known = held.iter().flat_map(|held| &held.said);
        known.filter_map(|known| bundle::said(known, &court)).collect()
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
        self.known_revocation(i, subject, court, chain, &mut report);
        Flow::Finished(report, None)
    }

    /// What is remembered may know of a revocation, whatever was rotated since; where it vouches for nothing under the last root,
    /// that is said.
    fn known_revocation(
        &self,
        i: usize,
        subject: &Descriptor,
        court: &Court<'_>,
        chain: &RootChain,
        report: &mut AnchorReport,
    ) {
        let Line { memory, others, .. } = &self.lines[i];
        let said = match court.held(chain, memory.as_ref(), others) {
            Ok(held) => held.said.iter().find_map(|known| bundle::revoked(subject, known, court)),
            Err(e) => Some(Check::fail(Code::MemoryInvalid, e.to_string())),
        };
        let said = said.or_else(|| {
            let memory = memory.as_ref().filter(|m| m.verified_under.is_some())?;
            court.remembered(chain, memory, &[]).err().map(|e| not_judged(&e))
        });
        report.checks.extend(said.filter(|check| !report.checks.contains(check)));
    }
}

fn add_roots(files: &mut Files, chain: &RootChain) {
    for root in chain.roots() {
        files.put(FileName::versioned(RoleName::root(), root.version()), root.bytes().clone());
    }
}
