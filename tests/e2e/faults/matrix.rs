//! Every kind of fault at the requests of a scene, and what came of it.

use std::fmt::Write as _;
use std::time::Duration;

use bulla::store::registry::{RegistryConfig, Timeouts};

use super::{Ended, Scene};
use crate::registry::{Action, Fault, Nth};
use crate::{servers, soak};

type Kind = (&'static str, fn() -> Fault);

/// What is done to a request.
fn kinds() -> Vec<Kind> {
    fn any() -> Fault {
        Fault::on("*", "*")
    }
    fn unavailable() -> Action {
        Action::Status { status: 503, code: "UNAVAILABLE".into(), retry_after: Some("1".into()) }
    }
    fn page() -> Action {
        let body = "<html><title>Sign in</title></html>".into();
        Action::Answer { status: 200, content_type: "text/html".into(), body }
    }
    fn empty() -> Action {
        Action::Answer { status: 200, content_type: "application/json".into(), body: "{}".into() }
    }
    vec![
        ("reset before", || any().action(Action::Reset(0))),
        ("reset after", || any().action(Action::Reset(0)).performed()),
        ("reset in the head", || any().action(Action::Reset(40))),
        ("reset in the body", || any().action(Action::Reset(400))),
        ("request cut", || any().action(Action::ResetRequest(9))),
        ("body cut", || any().action(Action::Truncate(20))),
        ("body shortened", || any().action(Action::Shorten(20))),
        (WRONG_BYTES, || any().action(Action::WrongBytes)),
        ("endless body", || any().action(Action::Endless)),
        ("html", || any().action(page())),
        ("empty document", || any().action(empty())),
        ("401", || any().status(401)),
        ("403", || any().status(403)),
        ("404", || any().status(404)),
        ("429", || any().too_many("1")),
        ("500", || any().status(500)),
        ("500 performed", || any().status(500).performed()),
        ("503", || any().action(unavailable())),
        (SLOW, || any().action(Action::Delay(Duration::from_millis(400)))),
    ]
}

const SLOW: &str = "too slow";
const WRONG_BYTES: &str = "wrong bytes";

fn config(kind: &str) -> RegistryConfig {
    let mut config = RegistryConfig { plain_http: true, concurrency: 1, ..servers::config() };
    if kind == SLOW {
        let limit = Duration::from_millis(120);
        config.timeouts = Timeouts { connect: limit, idle: limit, request: limit };
        config.retry.tries = 2;
    }
    config
}

/// What a matrix came to.
#[derive(Default)]
struct Tally {
    runs: usize,
    successes: usize,
    errors: usize,
    /// Successes that name what the registry said was not there.
    partly: usize,
    wrong: Vec<String>,
    undetectable: Vec<String>,
    half: Vec<String>,
    stuck: Vec<String>,
    nameless: Vec<String>,
}

/// Every kind, at once and from then on, at `picked` of the requests of every registry of the scene.
pub(super) async fn matrix(name: &str, scene: &mut dyn Scene, short: u64) {
    scene.reset().await;
    for server in scene.servers() {
        server.clear();
    }
    assert!(matches!(scene.run(config("")).await, Ended::Success), "{name}: fails without any fault");
    assert_eq!(scene.missing().await, Vec::<String>::new(), "{name}: without any fault");
    let requests: Vec<u64> = scene.servers().iter().map(|s| s.requests().len() as u64).collect();
    let mut tally = Tally::default();
    for (server, last) in requests.iter().enumerate() {
        for (i, (kind, fault)) in kinds().into_iter().enumerate() {
            // Each kind meets other requests, and all of them meet some.
            let stride = soak::of(last.div_ceil(short).max(1), 1);
            let first = 1 + i as u64 % stride;
            for k in (first..=*last).step_by(usize::try_from(stride).unwrap()) {
                let both = [Nth::Only(k), Nth::From(k)];
                // The short run takes turns.
                let turn = tally.runs % 2;
                for nth in if soak::long() { &both[..] } else { &both[turn..=turn] } {
                    let nth = *nth;
                    let what = format!("{name}: {kind} at {nth:?} of {last}, registry {server}");
                    scene.reset().await;
                    scene.servers().iter().for_each(|s| s.clear());
                    scene.servers()[server].fault(fault().nth(nth));
                    let wrong = tally.wrong.len();
                    one(&what, kind, scene, &mut tally).await;
                    let hit =
                        scene.servers()[server].requests().get(usize::try_from(k).unwrap() - 1).cloned();
                    let tags = hit.is_some_and(|r| r.is("GET", "*/tags/list*"));
                    if tally.wrong.len() > wrong && kind == WRONG_BYTES && tags {
                        // Tags have no digest: on a list with another tag in it nobody can see that it was damaged.
                        tally.undetectable.extend(tally.wrong.pop());
                        tally.half.retain(|half| !half.starts_with(&what));
                    }
                }
            }
        }
    }
    let Tally { runs, successes, errors, partly, .. } = tally;
    soak::report(&format!(
        "faults  {name}: {requests:?} requests, {runs} runs, {successes} successes, {errors} errors, \
         {partly} name what was not there, wrong exit 0: {}, {} damaged tag lists that nobody can see, \
         half done: {}, not finished by a rerun: {}",
        tally.wrong.len(),
        tally.undetectable.len(),
        tally.half.len(),
        tally.stuck.len()
    ));
    assert!(runs > 30 && successes > 0 && errors > 0, "{name}: {runs} {successes} {errors}");
    let list = |title: &str, all: &[String]| {
        all.iter().take(25).fold(String::new(), |mut text, one| {
            let _ = writeln!(text, "{title}: {one}");
            text
        })
    };
    let bad = [
        list("wrong exit 0", &tally.wrong),
        list("half done", &tally.half),
        list("not finished by a rerun", &tally.stuck),
        list("no words", &tally.nameless),
    ]
    .concat();
    assert!(bad.is_empty(), "{bad}");
}

async fn one(what: &str, kind: &str, scene: &dyn Scene, tally: &mut Tally) {
    let limit = Duration::from_secs(60);
    let ended = tokio::time::timeout(limit, scene.run(config(kind))).await;
    scene.servers().iter().for_each(|s| s.behave());
    tally.runs += 1;
    let half = scene.half().await;
    if !half.is_empty() && !matches!(ended, Ok(Ended::Partly(_))) {
        tally.half.push(format!("{what}: {half:?}"));
    }
    let words = match ended {
        Err(_) => return tally.stuck.push(format!("{what}: no end within {limit:?}")),
        Ok(Ended::Success) => {
            tally.successes += 1;
            let missing = scene.missing().await;
            if !missing.is_empty() {
                tally.wrong.push(format!("{what}: {missing:?}"));
            }
            return;
        }
        Ok(Ended::Partly(words)) => {
            tally.partly += 1;
            words
        }
        Ok(Ended::Error(words)) => {
            tally.errors += 1;
            words
        }
    };
    if words.trim().is_empty() {
        tally.nameless.push(what.to_owned());
    }
    match scene.run(config("")).await {
        Ended::Error(again) | Ended::Partly(again) => {
            tally.stuck.push(format!("{what}: first {words}; then {again}"))
        }
        Ended::Success => {
            let missing = scene.missing().await;
            if !missing.is_empty() {
                tally.stuck.push(format!("{what}: {words}; then {missing:?}"));
            }
        }
    }
}
