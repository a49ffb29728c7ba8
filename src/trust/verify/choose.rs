//! Which of the live state, the seals and the memory is judged by.

use super::{SealsAnswer, StateAnswer, Verification};
use crate::trust::candidate::{Candidate, Court};
use crate::trust::code::{Code, Says};
use crate::trust::report::{Check, Evidence, Outcome};
use crate::tuf::{Fault, Files, RootChain, TufError};

/// What the candidates of one source come to.
pub(super) enum Choice {
    Use(Box<Candidate>),
    /// No sound live state: seals must be read before anything is chosen.
    ReadSeals,
    /// Nothing serves; the checks say why.
    Nothing,
}

impl Verification {
    /// The newest candidate that verifies under the final root and above the floor.
    pub(super) fn choose(
        &self,
        i: usize,
        court: &Court<'_>,
        chain: &RootChain,
        checks: &mut Vec<Check>,
    ) -> Choice {
        let memory = self.lines[i].memory.as_ref().filter(|m| m.verified_under.is_some());
        let held = match court.held(chain, self.lines[i].memory.as_ref(), &self.lines[i].others) {
            Ok(held) => held,
            Err(e) => {
                checks.push(Check::fail(Code::MemoryInvalid, e.to_string()));
                return Choice::Nothing;
            }
        };
        let state = self.lines[i].state.as_ref();
        let live = match state {
            Some(StateAnswer::Found(files)) => Some(court.judge(chain, files, Some(&held), Evidence::State)),
            _ => None,
        };
        let mut candidates = Vec::new();
        let mut failure = None;
        match live {
            Some(Ok(live)) => match court.forked(&live, &held) {
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
                    // Equal version, other bytes, and no descent: the remembered one is kept (specification 5.4.3).
                    let kept = memory.filter(|_| self.lines[i].source.at.is_none());
                    let kept = kept.map(|m| court.remembered(chain, m, &[&live.files]));
                    let say = if matches!(kept, Some(Ok(_))) { Check::note } else { Check::fail };
                    checks.push(say(Code::TufFork, detail));
                    return match kept {
                        Some(Ok(kept)) => Choice::Use(Box::new(kept)),
                        Some(Err(e)) => {
                            checks.push(not_judged(&e));
                            Choice::Nothing
                        }
                        None => Choice::Nothing,
                    };
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
                    court.judge(chain, files, Some(&held), Evidence::Seal).map_err(|e| e.to_string())
                }
                Err(why) => Err(why.clone()),
            };
            match judged {
                Ok(candidate) => candidates.push(candidate),
                Err(why) => reasons.push(why),
            }
        }
        let files: Vec<&Files> = seals.iter().flatten().collect();
        match memory.map(|m| court.remembered(chain, m, &files)) {
            Some(Ok(kept)) => candidates.push(kept),
            Some(Err(e)) => checks.push(not_judged(&e)),
            None => {}
        }
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
}

fn as_note(check: Check) -> Check {
    Check { outcome: Outcome::Note, ..check }
}

/// What is remembered has no say under the last root, and why.
pub(super) fn not_judged(e: &TufError) -> Check {
    Check::note(Code::MemoryInvalid, format!("what is remembered is not judged by: {e}"))
}

fn is_rollback(e: &TufError) -> bool {
    matches!(e.fault, Fault::Rollback { .. } | Fault::Dropped(_))
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
