//! SIGKILL at random times while a layout or an archive is written: what is there can be read and is whole, and the same command
//! run again converges. (A kill does not test what the disk has: the page cache survives it.)

use std::path::Path;
use std::time::{Duration, Instant};

use super::crashes::Trip;
use super::soak;

/// Bytes a second of each connection: a copy takes some half a second, most of it while it writes.
const RATE: u64 = 1_500_000;
const LATENCY_MS: u64 = 8;

/// xorshift64: the same times in every run, as far as the machine allows.
struct Random(u64);

impl Random {
    fn share(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % 10_000) as f64 / 10_000.0
    }
}

fn written(dir: &Path) -> bool {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|e| e.path()).any(|p| p.is_file() || written(&p))
}

/// How long after the start the first file is there, and how long from then to the exit.
async fn pace(trip: &Trip) -> (Duration, Duration) {
    trip.reset();
    let begun = Instant::now();
    let mut child = trip.spawn();
    while !written(&trip.folder()) {
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing is ever written");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let first = begun.elapsed();
    assert!(child.wait().await.unwrap().success());
    (first, begun.elapsed() - first)
}

async fn killed(name: &str, trip: Trip, kills: usize) -> usize {
    let slow = |slow: bool| {
        let (rate, latency) = if slow { (RATE, LATENCY_MS) } else { (0, 0) };
        trip.shop.server.quirks(|q| (q.rate, q.latency_ms) = (rate, latency));
    };
    slow(true);
    let (mut first, mut writing) = pace(&trip).await;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut between = Vec::new();
    let (mut before, mut after) = (0, 0);
    for i in 0..kills {
        slow(true);
        if i % 10 == 9 {
            // The machine has other things to do now and then.
            (first, writing) = pace(&trip).await;
        }
        trip.reset();
        let begun = Instant::now();
        let mut child = trip.spawn();
        let share = random.share();
        if i % 12 == 11 {
            // A few before anything is there.
            tokio::time::sleep(first.mul_f64(share)).await;
        } else {
            while !written(&trip.folder()) && begun.elapsed() < Duration::from_secs(60) {
                tokio::time::sleep(Duration::from_micros(500)).await;
            }
            let seen = Instant::now();
            tokio::select! {
                () = tokio::time::sleep(writing.mul_f64(share)) => {}
                _ = child.wait() => writing = seen.elapsed(),
            }
        }
        let ended = child.try_wait().unwrap().is_some();
        child.kill().await.unwrap();
        match (ended, written(&trip.folder())) {
            (true, _) => after += 1,
            (false, false) => before += 1,
            (false, true) => between.push(share),
        }
        let what = format!("{name}: kill {i} at {:?}", begun.elapsed());
        assert_eq!(trip.half(), Vec::<String>::new(), "{what}");
        slow(false);
        trip.finish(&what).await;
    }
    let title = format!(
        "kills   {name}: {kills} SIGKILLs, {before} before the first write, {} between it and the exit, {after} after; \
         at last the first write came after {first:?} and the exit {writing:?} later; share of the time from the first write to the exit:",
        between.len()
    );
    soak::report(&soak::histogram(&title, &between));
    between.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn layouts_and_archives_survive_sigkill_at_any_time() {
    let kills = soak::of(10, 100);
    let between = killed("layout", Trip::to_layout().await, kills).await
        + killed("archive", Trip::to_archive().await, kills).await;
    let all = 2 * kills;
    soak::report(&format!("kills   {between} of {all} SIGKILLs landed between the first write and the exit"));
    assert!(between * 4 >= all * soak::of(2, 3), "only {between} of {all}");
}
