//! `renew --loop`: renewals one after the other until somebody says stop. Time comes from a clock and rest from a sleeper, so
//! that a month of it is a test of a second.

use std::ops::ControlFlow;

use async_trait::async_trait;

use super::renew::{Due, Renewed, Status};
use crate::time::{Clock, UnixTime};

/// Seconds: the first wait after a failure, and the shortest between two rounds.
const SHORT: i64 = 60;
/// Times that the wait after failures is doubled.
const DOUBLINGS: u32 = 12;

/// How rounds are spaced.
pub struct Plan<'a> {
    /// Seconds between two rounds when nothing is due sooner.
    pub every: i64,
    /// A number below its argument, at random: rounds of many services shall not meet at a registry.
    pub random: &'a (dyn Fn(u64) -> u64 + Send + Sync),
}

/// Rests between rounds.
#[async_trait]
pub trait Sleeper: Send + Sync {
    /// Rest for this many seconds, or until somebody says stop.
    async fn rest(&self, secs: i64) -> Woken;
}

/// Why a rest ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// The time is over.
    Rested,
    /// Somebody said stop.
    Stopped,
}

/// What a round comes to, as far as the next one depends on it.
pub trait Round {
    /// Whether nothing was left open: what was is tried again as soon as a round that failed.
    fn is_done(&self) -> bool;

    /// When which role must be signed again.
    fn due(&self) -> Vec<&Due>;
}

impl Round for Renewed {
    fn is_done(&self) -> bool {
        self.status != Status::Incomplete
    }

    fn due(&self) -> Vec<&Due> {
        self.due.iter().collect()
    }
}

/// What is to be said after a round.
#[derive(Debug)]
pub struct Told<'a, E, R = Renewed> {
    /// Its number, from 1.
    pub round: u64,
    /// When it ended.
    pub at: UnixTime,
    /// What it came to.
    pub result: &'a Result<R, E>,
    /// How many rounds in a row have failed, this one included.
    pub failures: u32,
    /// How many had failed in a row before this one.
    pub failed_before: u32,
    /// When the next one begins.
    pub next: UnixTime,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End<E> {
    /// Somebody said stop, after this many rounds.
    Stopped(u64),
    /// Whoever was told gave up.
    GaveUp(E),
}

/// Renew for ever. A round is never broken off from here; `tell` hears of each, and may end it all with `Break`.
pub async fn watch<R: Round, E>(
    plan: &Plan<'_>,
    clock: &dyn Clock,
    sleeper: &dyn Sleeper,
    mut round: impl AsyncFnMut() -> Result<R, E>,
    mut tell: impl FnMut(&Told<'_, E, R>) -> ControlFlow<()>,
) -> End<E> {
    let (mut rounds, mut failures) = (0, 0_u32);
    loop {
        let result = round().await;
        rounds += 1;
        let failed_before = failures;
        failures = if result.as_ref().is_ok_and(R::is_done) { 0 } else { failures.saturating_add(1) };
        let at = clock.now();
        let wait = spread(wait(plan.every, at, &result, failures), plan);
        let told = Told { round: rounds, at, result: &result, failures, failed_before, next: at.plus(wait) };
        if tell(&told).is_break() {
            return match result {
                Err(e) => End::GaveUp(e),
                Ok(_) => End::Stopped(rounds),
            };
        }
        if sleeper.rest(wait).await == Woken::Stopped {
            return End::Stopped(rounds);
        }
    }
}

/// Roles that `renew` never signs by itself and of which less than a third of the life remains: their holders must act.
pub fn by_hand(renewed: &Renewed, now: UnixTime) -> Vec<&Due> {
    let mine = |d: &&Due| matches!(d.role.as_str(), "root" | "targets") && d.ages_from <= now;
    renewed.due.iter().filter(mine).collect()
}

/// Seconds until the next round: until the next role is due whose key is here, after failures ever longer.
fn wait<R: Round, E>(every: i64, now: UnixTime, result: &Result<R, E>, failures: u32) -> i64 {
    let short = SHORT.min(every);
    if failures > 0 {
        return short.saturating_mul(1 << (failures - 1).min(DOUBLINGS)).min(every);
    }
    let mine = |d: &&Due| d.key_here && !matches!(d.role.as_str(), "root" | "targets");
    let due = result.as_ref().ok().and_then(|r| r.due().into_iter().filter(mine).map(|d| d.from).min());
    due.map_or(every, |due| (due.secs() - now.secs()).clamp(short, every))
}

/// Up to a tenth more.
fn spread(secs: i64, plan: &Plan<'_>) -> i64 {
    let tenth = u64::try_from(secs / 10).unwrap_or(0);
    secs + i64::try_from((plan.random)(tenth + 1)).unwrap_or(0)
}

#[cfg(test)]
mod tests;
