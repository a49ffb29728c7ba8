//! The only clock, and points in time in whole seconds.

use std::fmt;
use std::str::FromStr;

/// Seconds since 1970-01-01T00:00:00Z. Written and read as RFC 3339 `YYYY-MM-DDTHH:MM:SSZ` (TUF specification 4.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(i64);

/// A string that is not `YYYY-MM-DDTHH:MM:SSZ`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a time of the form YYYY-MM-DDTHH:MM:SSZ")]
pub struct TimeError(String);

/// Times after it are read as [`UnixTime::LAST`].
const LAST_DAY: jiff::civil::DateTime = jiff::civil::date(9999, 12, 30).at(21, 0, 0, 0);

impl UnixTime {
    /// The last time that is written and read: 9999-12-30T22:00:00Z.
    pub const LAST: Self = Self(253_402_207_200);

    /// From seconds since the epoch.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs)
    }

    /// Seconds since the epoch.
    pub const fn secs(self) -> i64 {
        self.0
    }

    /// Later by `secs` seconds (earlier when negative), and never after [`Self::LAST`]: what is written must be read again.
    #[must_use]
    pub const fn plus(self, secs: i64) -> Self {
        let sum = self.0.saturating_add(secs);
        Self(if sum > Self::LAST.0 { Self::LAST.0 } else { sum })
    }
}

impl UnixTime {
    /// From RFC 3339 with any offset, as other tools write times; a fraction of a second is cut off.
    ///
    /// # Errors
    /// Another form, or no time.
    pub fn from_rfc3339(s: &str) -> Result<Self, TimeError> {
        let bad = || TimeError(s.chars().take(40).collect());
        let shape = |text: &str, shape: &str| {
            let fits = |(c, p): (u8, u8)| if p == b'0' { c.is_ascii_digit() } else { c == p };
            text.len() == shape.len() && text.bytes().zip(shape.bytes()).all(fits)
        };
        let (date, rest) = s.split_at_checked(19).ok_or_else(bad)?;
        let digits = rest.strip_prefix('.').map_or(0, |f| f.bytes().take_while(u8::is_ascii_digit).count());
        let fraction = if rest.starts_with('.') { digits + 1 } else { 0 };
        let offset = &rest[fraction..];
        let offset_fits = offset == "Z" || shape(offset, "+00:00") || shape(offset, "-00:00");
        if !shape(date, "0000-00-00T00:00:00") || !offset_fits || fraction == 1 || fraction > 10 {
            return Err(bad());
        }
        let t: jiff::Timestamp = format!("{date}{offset}").parse().map_err(|_| bad())?;
        Ok(Self(t.as_second()))
    }
}

impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(self.0) {
            Ok(t) => write!(f, "{t}"),
            Err(_) => write!(f, "{} s after 1970", self.0),
        }
    }
}

impl FromStr for UnixTime {
    type Err = TimeError;

    fn from_str(s: &str) -> Result<Self, TimeError> {
        let bad = || TimeError(s.chars().take(40).collect());
        let shape = b"0000-00-00T00:00:00Z";
        let digits = |(c, p): (u8, &u8)| if *p == b'0' { c.is_ascii_digit() } else { c == *p };
        if s.len() != shape.len() || !s.bytes().zip(shape).all(digits) {
            return Err(bad());
        }
        match s.parse::<jiff::Timestamp>() {
            Ok(t) => Ok(Self(t.as_second())),
            // The last day and a bit of the year 9999, which others write for "never", lie past what jiff counts.
            Err(_) => match s.parse::<jiff::civil::DateTime>().or_else(|_| s[..19].parse()) {
                Ok(civil) if civil > LAST_DAY => Ok(Self(Self::LAST.0)),
                _ => Err(bad()),
            },
        }
    }
}

impl serde::Serialize for UnixTime {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for UnixTime {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A source of the present time. Read once per command, at the edge; everything inside takes `now`.
pub trait Clock: Send + Sync {
    /// The present.
    fn now(&self) -> UnixTime;
}

/// The system's clock.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixTime {
        UnixTime(jiff::Timestamp::now().as_second())
    }
}

/// A clock that stands still, for tests and `BULLA_DANGEROUS_NOW`.
#[derive(Debug, Clone, Copy)]
pub struct FixedClock(pub UnixTime);

impl Clock for FixedClock {
    fn now(&self) -> UnixTime {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_other_tools() {
        let t: UnixTime = "2026-11-20T23:00:00Z".parse().unwrap();
        for text in [
            "2026-11-20T23:00:00Z",
            "2026-11-21T07:00:00+08:00",
            "2026-11-20T18:30:00-04:30",
            "2026-11-20T23:00:00.999Z",
            "2026-11-20T23:00:00.123456789+00:00",
        ] {
            assert_eq!(UnixTime::from_rfc3339(text), Ok(t), "{text}");
        }
        for bad in [
            "2026-11-20T23:00:00",
            "2026-11-20 23:00:00Z",
            "2026-11-20T23:00:00.Z",
            "2026-11-20T23:00:00.1234567890Z",
            "2026-11-20T23:00:00+25:99",
            "2026-11-20T23:00:00+01",
            "2026-02-30T23:00:00Z",
            "2026-11-20T23:00:00Z[UTC]",
            "2026-11-20T23:00:0é",
            "",
        ] {
            assert!(UnixTime::from_rfc3339(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_end_of_the_calendar_is_never() {
        for text in ["9999-12-31T23:59:59Z", "9999-12-30T22:00:01Z"] {
            assert_eq!(text.parse(), Ok(UnixTime::LAST), "{text}");
        }
        assert_eq!("9999-12-30T22:00:00Z".parse(), Ok(UnixTime::LAST));
        assert_eq!(UnixTime::LAST.to_string(), "9999-12-30T22:00:00Z");
        for bad in ["9999-12-32T00:00:00Z", "9999-13-01T00:00:00Z", "9999-12-31T24:00:00Z"] {
            assert!(bad.parse::<UnixTime>().is_err(), "{bad}");
        }
    }

    #[test]
    fn nothing_comes_after_the_last_time() {
        assert_eq!(UnixTime::LAST.plus(1), UnixTime::LAST);
        assert_eq!(UnixTime::from_secs(0).plus(i64::MAX), UnixTime::LAST);
        assert_eq!(UnixTime::LAST.plus(-1).secs(), UnixTime::LAST.secs() - 1);
    }

    #[test]
    fn round_trip_and_refusals() {
        let t: UnixTime = "2026-11-20T23:00:00Z".parse().unwrap();
        assert_eq!(t.to_string(), "2026-11-20T23:00:00Z");
        for bad in [
            "",
            "2026-11-20",
            "2026-11-20T23:00:00",
            "2026-11-20T23:00:00.5Z",
            "2026-13-20T23:00:00Z",
            "2026-11-20T23:00:00+01:00",
            "2026-11-20t23:00:00z",
        ] {
            assert!(bad.parse::<UnixTime>().is_err(), "{bad}");
        }
    }
}
