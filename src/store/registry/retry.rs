//! When to ask again, and how long to wait before (distribution-spec "Error Codes", RFC 9110 10.2.3 `Retry-After`).

use std::hash::{BuildHasher, Hasher as _, RandomState};
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

use crate::time::{Clock, SystemClock, UnixTime};

/// How often and how patiently a request is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries in all, at least 1.
    pub tries: u32,
    /// Wait before the second try; doubled for each further one, with jitter.
    pub base: Duration,
    /// Longest single wait, also when the registry asks for more.
    pub longest: Duration,
    /// Longest sum of waits for one request.
    pub total: Duration,
    /// How long slower writers of a list that registries let anybody overwrite are waited for, at least.
    pub settle: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            tries: 4,
            base: Duration::from_millis(200),
            longest: Duration::from_secs(30),
            total: Duration::from_secs(90),
            settle: Duration::from_millis(250),
        }
    }
}

impl RetryPolicy {
    /// The default number of tries without any wait, for tests.
    pub fn without_delay() -> Self {
        let none = Duration::ZERO;
        Self { base: none, longest: none, total: none, settle: none, ..Self::default() }
    }

    /// A run of tries of one request.
    pub(super) fn start(self) -> Tries {
        Tries { policy: self, done: 0, waited: Duration::ZERO }
    }

    /// The jittered wait before try number `done + 1`: between half and all of the doubled base.
    pub(super) fn backoff(&self, done: u32) -> Duration {
        jittered(self.base.saturating_mul(1 << done.saturating_sub(1).min(16)).min(self.longest))
    }
}

/// The tries of one request so far.
pub(super) struct Tries {
    policy: RetryPolicy,
    done: u32,
    waited: Duration,
}

impl Tries {
    /// Note a failed try: how long to wait before the next, or `None` when it was the last.
    pub(super) fn next(&mut self, asked: Option<Duration>) -> Option<Duration> {
        self.done += 1;
        if self.done >= self.policy.tries {
            return None;
        }
        let wait = match asked {
            Some(asked) => asked.min(self.policy.longest),
            None => self.policy.backoff(self.done),
        };
        self.waited += wait;
        (self.waited <= self.policy.total).then_some(wait)
    }
}

/// Whether a status is worth another try. 499 is docker-registry's and nginx's word for a client that went away: the line
/// between broke.
pub(super) fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 499 | 500 | 502 | 503 | 504)
}

/// The wait that the registry asks for, in seconds or as a date; the date is measured against the answer's own `Date`.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(secs) = text.parse::<u64>() {
        return Some(Duration::from_secs(secs));
    }
    let until = http_date(text)?;
    let now = headers.get(DATE).and_then(|d| http_date(d.to_str().ok()?));
    let now = now.unwrap_or_else(|| SystemClock.now());
    Some(Duration::from_secs(u64::try_from(until.secs() - now.secs()).unwrap_or(0)))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`: the fixed form of RFC 9110 5.6.7 is one of RFC 2822's.
fn http_date(text: &str) -> Option<UnixTime> {
    let zoned = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(UnixTime::from_secs(zoned.timestamp().as_second()))
}

/// Between half and all of `wait`. Jitter needs no secret randomness: the standard library's hash seed will do.
pub(super) fn jittered(wait: Duration) -> Duration {
    let seed = RandomState::new().build_hasher().finish() % 1024;
    wait / 2 + wait.mul_f64(seed as f64 / 2048.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(reqwest::header::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (k.clone(), v.parse().unwrap())).collect()
    }

    #[test]
    fn retry_after_reads_seconds_and_dates() {
        assert_eq!(retry_after(&headers(&[(RETRY_AFTER, "7")])), Some(Duration::from_secs(7)));
        let date = headers(&[
            (DATE, "Sun, 06 Nov 1994 08:49:30 GMT"),
            (RETRY_AFTER, "Sun, 06 Nov 1994 08:49:37 GMT"),
        ]);
        assert_eq!(retry_after(&date), Some(Duration::from_secs(7)));
        let past = headers(&[(RETRY_AFTER, "Sun, 06 Nov 1994 08:49:37 GMT")]);
        assert_eq!(retry_after(&past), Some(Duration::ZERO));
        for bad in ["", "soon", "-1", "1.5"] {
            assert_eq!(retry_after(&headers(&[(RETRY_AFTER, bad)])), None, "{bad}");
        }
    }

    #[test]
    fn tries_and_waits_are_bounded() {
        let mut t = RetryPolicy::default().start();
        assert_eq!(t.next(Some(Duration::from_secs(3600))), Some(Duration::from_secs(30)));
        assert!(t.next(None).is_some_and(|w| w <= Duration::from_millis(400)));
        assert!(t.next(None).is_some_and(|w| w <= Duration::from_millis(800)));
        assert_eq!(t.next(None), None);
        let mut short = RetryPolicy { total: Duration::from_secs(10), ..RetryPolicy::default() }.start();
        assert_eq!(short.next(Some(Duration::from_secs(11))), None);
        let mut none = RetryPolicy::without_delay().start();
        assert_eq!(none.next(Some(Duration::from_secs(9))), Some(Duration::ZERO));
    }
}
