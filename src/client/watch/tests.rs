use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use super::*;
use crate::client::commit::WorkError;
use crate::client::fixture::{DAY, Home, NOW, TestClock, World, image, name};
use crate::oci::Reference;
use crate::store::memory::MemoryStore;
use crate::store::{Failure, StoreError};
use crate::trust::Verdict;
use crate::tuf::RoleName;

const HOUR: i64 = 3600;

/// Sleeps by moving the clock, until the end of the test's time.
struct Skip<'a> {
    clock: &'a TestClock,
    until: AtomicI64,
}

#[async_trait]
impl Sleeper for Skip<'_> {
    async fn rest(&self, secs: i64) -> Woken {
        self.clock.forward(secs);
        match self.clock.now().secs() < self.until.load(Ordering::SeqCst) {
            true => Woken::Rested,
            false => Woken::Stopped,
        }
    }
}

fn plan(every: i64) -> Plan<'static> {
    Plan { every, random: &|below| below / 2 }
}

async fn world() -> World {
    World::new(Arc::new(MemoryStore::new(name().as_repository().clone()))).await
}

fn unreachable() -> WorkError {
    let place: Reference = "ex.com/org/app".parse().unwrap();
    WorkError::Store(StoreError::new(place, "get manifest", Failure::Unreachable("no route".into())))
}

/// A job with the online key only, a publisher without it, a registry that is away for two days.
#[tokio::test]
async fn a_month() {
    let world = world().await;
    let (job, publisher) = (world.home(&[Home::ONLINE]), world.home(&[Home::RELEASES]));
    let down = |at: UnixTime| (NOW.plus(10 * DAY)..NOW.plus(12 * DAY)).contains(&at);
    let sleeper = Skip { clock: &world.clock, until: AtomicI64::new(NOW.plus(31 * DAY).secs()) };
    let published = AtomicUsize::new(0);
    let mut signed: Vec<(UnixTime, RoleName)> = Vec::new();
    let (mut failed, mut recovered, mut rounds, mut admitted) = (Vec::new(), Vec::new(), 0, 0);
    let mut refused: BTreeSet<String> = BTreeSet::new();
    let round = async || {
        let now = world.clock.now();
        if down(now) {
            return Err(unreachable());
        }
        // Whatever the job does, its users never see an expired timestamp.
        let day = usize::try_from((now.secs() - NOW.secs()) / (5 * DAY)).unwrap();
        if day >= published.load(Ordering::SeqCst) {
            published.store(day + 1, Ordering::SeqCst);
            let bundle = image(&*world.store, &format!("build {day}")).await;
            let tag = format!("v{day}");
            world.publish(&publisher, &[(&bundle.digest().to_string(), &[tag.as_str()])]).await.unwrap();
        }
        if published.load(Ordering::SeqCst) > 1 {
            let report = world.verify("ex.com/org/app:v0").await;
            assert_eq!(report.verdict(), Verdict::Trusted, "{now}: {:?}", report.because());
        }
        world.renew(&job, &[]).await
    };
    let end = watch(&plan(6 * HOUR), &world.clock, &sleeper, round, |told| {
        rounds = told.round;
        if let Ok(renewed) = told.result {
            admitted += renewed.admitted.len();
            signed.extend(renewed.signed.keys().map(|role| (told.at, role.clone())));
            refused.extend(by_hand(renewed, told.at).iter().map(|d| d.role.to_string()));
            if told.failed_before > 0 {
                recovered.push(told.failed_before);
            }
        } else {
            failed.push((told.failures, told.next.secs() - told.at.secs()));
        }
        ControlFlow::Continue(())
    })
    .await;
    assert_eq!(end, End::Stopped(rounds));
    assert_eq!((admitted, published.load(Ordering::SeqCst)), (7, 7));
    let of = |role: &str| signed.iter().filter(|(_, r)| r.as_str() == role).count();
    assert!((28..=40).contains(&of("timestamp")), "{} timestamps", of("timestamp"));
    assert_eq!(
        (of("root"), of("targets"), of("targets/releases")),
        (0, 0, 0),
        "not its keys, not its decision"
    );
    assert!(refused.is_empty(), "{refused:?}");
    // The waits double from a minute up to the interval, a twentieth longer each.
    assert_eq!(failed[..4], [(1, 63), (2, 126), (3, 252), (4, 504)]);
    assert_eq!(failed.last().unwrap().1, 6 * HOUR + 6 * HOUR / 20);
    assert_eq!(recovered, [failed.len() as u32]);
    assert!((120..160).contains(&rounds), "{rounds} rounds");
    let gaps = signed.iter().filter(|(_, r)| r.as_str() == "timestamp").map(|(at, _)| at.secs());
    let gaps: Vec<i64> = gaps.collect::<Vec<_>>().windows(2).map(|w| w[1] - w[0]).collect();
    assert!(gaps.iter().all(|gap| *gap < 4 * DAY), "{gaps:?}");
}

/// With every key at hand it signs what is due, and root and targets never: it says who must.
#[tokio::test]
async fn root_and_targets_are_left_to_their_holders() {
    let world = world().await;
    let job = world.home(&[Home::ROOT, Home::TARGETS, Home::RELEASES, Home::ONLINE]);
    let sleeper = Skip { clock: &world.clock, until: AtomicI64::new(NOW.plus(300 * DAY).secs()) };
    let mut signed: BTreeSet<String> = BTreeSet::new();
    let mut first_said: Option<i64> = None;
    let round = async || world.renew(&job, &[]).await;
    watch(&plan(4 * DAY), &world.clock, &sleeper, round, |told| {
        let renewed = told.result.as_ref().unwrap();
        signed.extend(renewed.signed.keys().map(ToString::to_string));
        let said: Vec<_> = by_hand(renewed, told.at).iter().map(|d| d.role.to_string()).collect();
        if !said.is_empty() {
            assert_eq!(said, ["root", "targets"]);
            first_said.get_or_insert_with(|| (told.at.secs() - NOW.secs()) / DAY);
        }
        ControlFlow::Continue(())
    })
    .await;
    assert_eq!(
        signed.iter().map(String::as_str).collect::<Vec<_>>(),
        ["snapshot", "targets/releases", "targets/revocations", "timestamp"]
    );
    assert!((243..=250).contains(&first_said.unwrap()), "{first_said:?}");
}

#[tokio::test]
async fn a_stop_ends_the_rest_and_a_break_ends_it_all() {
    let world = world().await;
    let sleeper = Skip { clock: &world.clock, until: AtomicI64::new(0) };
    let round = async || world.renew(&world.owner, &[]).await;
    let go_on = |_: &Told<'_, WorkError>| ControlFlow::Continue(());
    assert_eq!(watch(&plan(HOUR), &world.clock, &sleeper, round, go_on).await, End::Stopped(1));
    let round = async || Err(unreachable());
    let give_up = |_: &Told<'_, WorkError>| ControlFlow::Break(());
    let end = watch(&plan(HOUR), &world.clock, &sleeper, round, give_up).await;
    assert_eq!(end, End::GaveUp(unreachable()));
}
