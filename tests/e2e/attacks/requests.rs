//! How many requests a verification costs, and how many of them wait for one another.

use std::time::Duration;

use bulla::client::stores::Stores;
use bulla::trust::Verdict;
use zeroize::Zeroizing;

use super::scene::{Scene, image, list};
use super::sim::NOW;
use crate::registry::{Auth, Config, Quirks};

/// Answers take a while, so that what did not wait is seen not to have waited.
fn slow() -> Quirks {
    Quirks { latency_ms: 40, ..Quirks::default() }
}

fn bearer() -> Config {
    let auth = Auth { ttl: Duration::from_secs(300), ..Auth::bearer("alice", "s3cret") };
    Config { quirks: slow(), auth, ..Config::default() }
}

fn login(s: &mut Scene) {
    s.config.login = Some(bulla::store::registry::Login {
        host: None,
        user: "alice".into(),
        secret: Zeroizing::new("s3cret".into()),
    });
}

/// Requests and round trips of one verification.
async fn cost(s: &Scene, stores: &Stores) -> (usize, usize) {
    s.registry.clear();
    let report = s.verify_over(stores).await;
    assert_eq!(report.verdict(), Verdict::Trusted, "{report:#?}");
    (s.registry.count("*", "*"), s.registry.round_trips())
}

#[tokio::test]
async fn warm_by_tag_two_in_one() {
    let mut s = Scene::on(bearer()).await;
    login(&mut s);
    let stores = Stores::new(s.config.clone());
    cost(&s, &stores).await;
    assert_eq!(cost(&s, &stores).await, (2, 1), "{}", s.registry.log());
    s.selector = format!("@{}", s.bundle.digest());
    assert_eq!(cost(&s, &stores).await, (2, 1), "{}", s.registry.log());
}

#[tokio::test]
async fn new_process_with_bearer_four_in_three() {
    let mut s = Scene::on(bearer()).await;
    login(&mut s);
    // Cold, and again by another process.
    for _ in 0..2 {
        let (requests, trips) = cost(&s, &Stores::new(s.config.clone())).await;
        assert!(requests <= 4 && trips <= 3, "{requests} in {trips}\n{}", s.registry.log());
    }
}

#[tokio::test]
async fn new_process_without_login_two_in_two() {
    // The first answer of a host says whether it wants proof; only then the second request goes out.
    let s = Scene::with(slow()).await;
    assert_eq!(cost(&s, &Stores::new(s.config.clone())).await, (2, 2), "{}", s.registry.log());
}

#[tokio::test]
async fn files_that_are_not_embedded_one_trip_more() {
    let mut s = Scene::with(slow()).await;
    for i in 0..400 {
        list(&mut s.sim, &image(&format!("{i}")), &format!("x{i}"));
    }
    list(&mut s.sim, &s.bundle, "v1");
    s.sim.at_version(6, NOW);
    s.serve();
    let stores = Stores::new(s.config.clone());
    cost(&s, &stores).await;
    assert_eq!(cost(&s, &stores).await, (3, 2), "{}", s.registry.log());
}
