//! How far a copy is: a bar on a terminal, elsewhere a line every 30 seconds.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::render::size;
use crate::store::copy::{Event, Observer, Phase};

/// Without a terminal, how often a line is written.
const EVERY: Duration = Duration::from_secs(30);

/// Draws or writes what it is told.
pub(super) struct Progress<'a> {
    bar: Option<ProgressBar>,
    lines: Mutex<Lines<'a>>,
    total: AtomicU64,
    done: AtomicU64,
    blobs: AtomicU64,
}

struct Lines<'a> {
    out: &'a mut (dyn Write + Send),
    phase: &'static str,
    /// Which of several copies, for the front of the line.
    which: String,
    every: Duration,
    last: Instant,
}

impl<'a> Progress<'a> {
    /// On standard error, which may be a terminal.
    pub(super) fn new(stderr: &'a mut (dyn Write + Send), terminal: bool) -> Self {
        Self::with(stderr, terminal.then(bar), EVERY)
    }

    fn with(out: &'a mut (dyn Write + Send), bar: Option<ProgressBar>, every: Duration) -> Self {
        let lines = Lines { out, phase: "", which: String::new(), every, last: Instant::now() };
        Self {
            bar,
            lines: Mutex::new(lines),
            total: AtomicU64::new(0),
            done: AtomicU64::new(0),
            blobs: AtomicU64::new(0),
        }
    }

    /// Of several copies so many are begun; one bar counts the bytes of all.
    pub(super) fn count(&self, begun: usize, of: usize) {
        if of > 1 {
            self.lines.lock().unwrap_or_else(PoisonError::into_inner).which = format!("{begun} of {of}, ");
        }
    }

    fn advance(&self, bytes: u64) {
        let done = added(&self.done, bytes);
        match &self.bar {
            Some(bar) => bar.set_position(done),
            None => self.line(done),
        }
    }

    /// A line, when the last one is long ago. Losing one to a broken pipe is no reason to stop.
    fn line(&self, done: u64) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.last.elapsed() < lines.every {
            return;
        }
        lines.last = Instant::now();
        let (which, phase) = (lines.which.clone(), lines.phase);
        let (total, blobs) = (self.total.load(Ordering::Relaxed), self.blobs.load(Ordering::Relaxed));
        let _ = writeln!(lines.out, "{which}{phase}: {} of {}, {}", size(done), size(total), counted(blobs));
    }
}

impl Observer for Progress<'_> {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Phase(phase) => {
                let word = word(phase);
                let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
                lines.phase = word;
                if let Some(bar) = &self.bar {
                    bar.set_message(format!("{}{word}", lines.which));
                }
            }
            Event::Expect(bytes) => {
                let total = added(&self.total, bytes);
                if let Some(bar) = &self.bar {
                    bar.set_length(total);
                }
            }
            Event::Bytes(bytes) => self.advance(bytes),
            Event::Blob(_, bytes, outcome) => {
                let blobs = self.blobs.fetch_add(1, Ordering::Relaxed) + 1;
                if let Some(bar) = &self.bar {
                    bar.set_prefix(counted(blobs));
                }
                if outcome != crate::store::copy::BlobOutcome::Moved {
                    self.advance(bytes);
                }
            }
            Event::Manifest(_) | Event::Arrived(_) => self.advance(0),
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The sum: sizes are declared by manifests, which may say anything.
fn added(to: &AtomicU64, bytes: u64) -> u64 {
    let add = |before: u64| Some(before.saturating_add(bytes));
    let before = to.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).unwrap_or_else(|now| now);
    before.saturating_add(bytes)
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template(
        "{msg:<11} {bar:24} {decimal_bytes} of {decimal_total_bytes}  {decimal_bytes_per_sec}  {prefix}",
    );
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn counted(blobs: u64) -> String {
    format!("{blobs} blob{}", if blobs == 1 { "" } else { "s" })
}

fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Discover => "looking",
        Phase::Blobs => "blobs",
        Phase::Manifests => "manifests",
        Phase::Referrers => "referrers",
        Phase::Check => "checking",
        Phase::Tags => "tags",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Digest;
    use crate::store::copy::BlobOutcome;

    #[test]
    fn lines_without_a_terminal_come_rarely() {
        let digest = Digest::sha256(b"x");
        let events = [
            Event::Phase(Phase::Blobs),
            Event::Expect(3000),
            Event::Bytes(1000),
            Event::Blob(&digest, 1000, BlobOutcome::Moved),
            Event::Blob(&digest, 2000, BlobOutcome::Present),
        ];
        let lines = |every| {
            let mut out = Vec::new();
            let progress = Progress::with(&mut out, None, every);
            events.iter().for_each(|e| progress.event(*e));
            drop(progress);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(lines(EVERY), "");
        assert_eq!(
            lines(Duration::ZERO),
            "blobs: 1.0 kB of 3.0 kB, 0 blobs\nblobs: 3.0 kB of 3.0 kB, 2 blobs\n"
        );
    }

    #[test]
    fn several_copies_are_counted_and_one_is_not() {
        let lines = |begun, of| {
            let mut out = Vec::new();
            let progress = Progress::with(&mut out, None, Duration::ZERO);
            progress.count(begun, of);
            [Event::Phase(Phase::Tags), Event::Bytes(0)].iter().for_each(|e| progress.event(*e));
            drop(progress);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(lines(2, 5), "2 of 5, tags: 0 B of 0 B, 0 blobs\n");
        assert_eq!(lines(1, 1), "tags: 0 B of 0 B, 0 blobs\n");
    }

    #[test]
    fn declared_sizes_may_be_absurd() {
        let mut out = Vec::new();
        let progress = Progress::with(&mut out, None, Duration::ZERO);
        for bytes in [u64::MAX, u64::MAX, 1] {
            progress.event(Event::Expect(bytes));
            progress.event(Event::Blob(&Digest::sha256(b"x"), bytes, BlobOutcome::Present));
        }
        assert_eq!(progress.total.load(Ordering::Relaxed), u64::MAX);
    }

    #[test]
    fn the_bar_counts_what_passed_and_what_was_there() {
        let mut out = Vec::new();
        let hidden = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden());
        let progress = Progress::with(&mut out, Some(hidden.clone()), EVERY);
        let digest = Digest::sha256(b"x");
        progress.event(Event::Expect(3000));
        progress.event(Event::Bytes(1000));
        progress.event(Event::Blob(&digest, 2000, BlobOutcome::Mounted));
        assert_eq!((hidden.position(), hidden.length()), (3000, Some(3000)));
        drop(progress);
        assert!(hidden.is_finished() && out.is_empty());
    }
}
