//! How many requests go to one host at a time: fewer when it says that they are too many, and slowly more again.

use std::sync::{Mutex, MutexGuard, PoisonError};

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Answers in a row without complaint before one more at a time is allowed.
const RAISE_AFTER: u32 = 8;

/// Which line a request waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Any request, until its head is there.
    Requests,
    /// A whole upload; its requests wait in the other lane.
    Uploads,
}

/// The widths of both lanes of one host: halved at each complaint, one wider after some answers without.
pub(super) struct Pace {
    width: usize,
    lanes: [Semaphore; 2],
    now: Mutex<Now>,
}

struct Now {
    allowed: usize,
    /// Counts the complaints that were acted on: what was sent before the last one says nothing new.
    epoch: u64,
    good: u32,
    /// Permits that are still out, and go when they come back.
    owed: [usize; 2],
}

/// A place in a lane.
pub(super) struct Permit<'a> {
    pace: &'a Pace,
    lane: Lane,
    permit: Option<SemaphorePermit<'a>>,
}

impl Pace {
    /// At most `width` at a time in each lane, at least 1.
    pub(super) fn new(width: usize) -> Self {
        let width = width.clamp(1, Semaphore::MAX_PERMITS);
        let now = Now { allowed: width, epoch: 0, good: 0, owed: [0; 2] };
        Self { width, lanes: [Semaphore::new(width), Semaphore::new(width)], now: Mutex::new(now) }
    }

    /// Wait for a place.
    pub(super) async fn permit(&self, lane: Lane) -> Permit<'_> {
        // It is never closed, so that there always is a permit in the end.
        Permit { pace: self, lane, permit: self.lanes[lane as usize].acquire().await.ok() }
    }

    /// What to hand to [`Pace::told`] with the answer to a request that is sent now.
    pub(super) fn epoch(&self) -> u64 {
        self.now().epoch
    }

    /// What an answer says about the pace: 429, and 503 with `Retry-After`, that it is too fast.
    pub(super) fn told(&self, epoch: u64, status: StatusCode, headers: &HeaderMap) {
        let status = status.as_u16();
        if status == 429 || (status == 503 && headers.contains_key(RETRY_AFTER)) {
            self.slower(epoch);
        } else {
            self.well();
        }
    }

    fn slower(&self, epoch: u64) {
        let mut now = self.now();
        if now.epoch != epoch {
            return;
        }
        let allowed = (now.allowed / 2).max(1);
        let cut = now.allowed - allowed;
        (now.allowed, now.epoch, now.good) = (allowed, epoch + 1, 0);
        for (lane, owed) in self.lanes.iter().zip(&mut now.owed) {
            *owed += cut - lane.forget_permits(cut);
        }
    }

    fn well(&self) {
        let mut now = self.now();
        now.good += 1;
        if now.allowed >= self.width {
            now.good = 0;
        } else if now.good >= RAISE_AFTER {
            (now.allowed, now.good) = (now.allowed + 1, 0);
            for (lane, owed) in self.lanes.iter().zip(&mut now.owed) {
                match owed.checked_sub(1) {
                    Some(less) => *owed = less,
                    None => lane.add_permits(1),
                }
            }
        }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut now = self.pace.now();
        let owed = &mut now.owed[self.lane as usize];
        if let (Some(less), Some(permit)) = (owed.checked_sub(1), self.permit.take()) {
            *owed = less;
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(pace: &Pace) -> [usize; 2] {
        [pace.lanes[0].available_permits(), pace.lanes[1].available_permits()]
    }

    #[tokio::test]
    async fn complaints_halve_and_answers_raise_up_to_the_width() {
        let pace = Pace::new(8);
        let held = [pace.permit(Lane::Requests).await, pace.permit(Lane::Requests).await];
        let epoch = pace.epoch();
        pace.told(epoch, StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new());
        assert_eq!(free(&pace), [2, 4]);
        pace.told(epoch, StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new());
        assert_eq!(free(&pace), [2, 4], "sent before the first complaint");
        for _ in 0..3 {
            pace.told(pace.epoch(), StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new());
        }
        assert_eq!(free(&pace), [0, 1]);
        drop(held);
        assert_eq!(free(&pace), [1, 1]);
        for _ in 0..RAISE_AFTER * 20 {
            pace.told(pace.epoch(), StatusCode::OK, &HeaderMap::new());
        }
        assert_eq!(free(&pace), [8, 8]);
    }

    #[tokio::test]
    async fn only_a_503_that_asks_for_patience_is_a_complaint() {
        let pace = Pace::new(4);
        pace.told(pace.epoch(), StatusCode::SERVICE_UNAVAILABLE, &HeaderMap::new());
        assert_eq!(free(&pace), [4, 4]);
        let headers = [(RETRY_AFTER, "1".parse().unwrap())].into_iter().collect();
        pace.told(pace.epoch(), StatusCode::SERVICE_UNAVAILABLE, &headers);
        assert_eq!(free(&pace), [2, 2]);
    }

    #[tokio::test]
    async fn what_is_owed_goes_before_more_is_allowed() {
        let pace = Pace::new(2);
        let held = [pace.permit(Lane::Uploads).await, pace.permit(Lane::Uploads).await];
        pace.told(pace.epoch(), StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new());
        for _ in 0..RAISE_AFTER {
            pace.told(pace.epoch(), StatusCode::OK, &HeaderMap::new());
        }
        drop(held);
        assert_eq!(free(&pace), [2, 2]);
    }
}
