//! Many processes at once into one place: nothing is lost, and what a registry loses is put right or said.

use std::collections::BTreeSet;
use std::time::Duration;

use bulla::oci::media_type;
use bulla::store::Manage as _;
use bulla::store::layout::OciDir;
use futures::stream::{self, StreamExt};
use serde_json::Value;

use super::bundles;
use super::publishing::{Collection, REPO as HERE};
use super::soak;
use super::walk::{AtLayout, AtRegistry, Place as _, left_behind};
use super::workshop::{REPO, Workshop, words};
use crate::registry::{Config, LostUpdate, Nth, Registry as Server};

/// Processes at a time.
const AT_ONCE: usize = 8;
const REFERRERS: usize = 32;
const SBOM: &str = "application/vnd.example.sbom";

/// Layouts `l0`, `l1`, …: the same bundle at `v1` in each, with another referrer.
async fn layouts(shop: &Workshop, round: usize) -> (String, BTreeSet<String>) {
    let (mut subject, mut referrers) = (String::new(), BTreeSet::new());
    for i in 0..REFERRERS {
        let store = OciDir::create(shop.path(&format!("l{round}-{i}"))).await.unwrap();
        let bundle =
            bundles::tagged(&store, "v1", "application/vnd.example.bundle", &round.to_string()).await;
        let referrer = bundles::refer(&store, &bundle, SBOM, &format!("{round} {i}")).await;
        store.flush().await.unwrap();
        subject = bundle.digest().to_string();
        referrers.insert(referrer.digest().to_string());
    }
    (subject, referrers)
}

/// Copy all layouts of a round to one place; how many processes did not exit with 0, and what they said.
async fn copied_at_once(shop: &Workshop, round: usize, to: &str) -> Vec<String> {
    let copies = (0..REFERRERS).map(|i| async move {
        let from = shop.path(&format!("l{round}-{i}"));
        let line = format!("copy oci:{}:v1 {to} --plain-http", from.display());
        let output = shop.run(&format!("home{i}"), &line).await;
        (output.status.code() != Some(0)).then(|| words(&output))
    });
    let ended: Vec<_> = stream::iter(copies).buffer_unordered(AT_ONCE).collect().await;
    ended.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn referrers_pushed_at_once_to_a_registry_without_the_api() {
    let shop = Workshop::new(true).await;
    let (mut lost, mut failed, rounds) = (Vec::new(), Vec::new(), soak::of(3, 20));
    for round in 0..rounds {
        let (subject, referrers) = layouts(&shop, round).await;
        let repo = format!("race/r{round}");
        let said = copied_at_once(&shop, round, &format!("{}/{repo}", shop.server.host())).await;
        failed.extend(said.into_iter().map(|w| format!("round {round}: {w}")));
        let listed = AtRegistry(&shop.server, &repo).listed(&subject);
        lost.extend(referrers.difference(&listed).map(|r| format!("round {round}: {r}")));
        assert_eq!(shop.server.broken(&repo), Vec::<String>::new());
    }
    soak::report(&format!(
        "races   {REFERRERS} referrers, {AT_ONCE} processes at once, no API: {rounds} rounds, {} lost, {} exits other than 0",
        lost.len(),
        failed.len()
    ));
    assert!(lost.is_empty() && failed.is_empty(), "{lost:#?}\n{failed:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn referrers_copied_at_once_into_one_layout() {
    let shop = Workshop::new(false).await;
    let rounds = soak::of(3, 20);
    let mut lost = 0;
    for round in 0..rounds {
        let (subject, referrers) = layouts(&shop, round).await;
        let dir = shop.path(&format!("to{round}"));
        let failed = copied_at_once(&shop, round, &format!("oci:{}", dir.display())).await;
        assert_eq!(failed, Vec::<String>::new(), "round {round}");
        let at = AtLayout(dir);
        assert_eq!(at.faults(), Vec::<String>::new(), "round {round}");
        lost += referrers.difference(&at.listed(&subject)).count();
        assert_eq!(at.tags().get("v1"), Some(&subject));
    }
    soak::report(&format!(
        "races   {REFERRERS} referrers, {AT_ONCE} processes at once, one OCI layout: {rounds} rounds, {lost} lost"
    ));
    assert_eq!(lost, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn publishers_at_once_lose_nothing() {
    let shop = Workshop::new(false).await;
    shop.trust(&[shop.at()]).await;
    let rounds = soak::of(3, 20);
    let tags: Vec<String> =
        (0..rounds).flat_map(|r| (0..AT_ONCE).map(move |i| format!("r{r}-p{i}"))).collect();
    let images = shop.builds(tags.iter().cloned()).await;
    for i in 0..AT_ONCE {
        shop.clone_home("publisher", &format!("publisher{i}"));
    }
    let state = shop.server.tags(REPO).into_iter().find(|(t, _)| t.starts_with("bulla.")).unwrap().0;
    let (mut conflicts, mut not_released) = (0, Vec::new());
    for round in tags.chunks(AT_ONCE) {
        // The first commit of the round is overwritten after its writer has read it back.
        shop.server.lose(LostUpdate::new(REPO, &state, Nth::Only(1), 1));
        let running = round.iter().enumerate().map(|(i, tag)| {
            let builds = shop.path("builds");
            let line = format!(
                "publish --from oci:{}:{tag} {} --tag {tag} --plain-http --format json",
                builds.display(),
                shop.at()
            );
            let shop = &shop;
            async move { shop.run(&format!("publisher{i}"), &line).await }
        });
        for output in futures::future::join_all(running).await {
            let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            let count = |field: &str| said["result"]["conflicts"][field].as_u64().unwrap_or(0);
            conflicts += count("commits").saturating_sub(1) + count("merged");
            if said["result"]["status"] != "released" {
                let code = said["error"]["code"].as_str().unwrap_or("none").to_owned();
                assert!(output.status.code() == Some(3), "{}", words(&output));
                not_released.push(code);
            }
        }
    }
    let overwrites = shop.server.overwrites();
    conflicts += overwrites;
    shop.ok("publisher", &format!("renew {} --plain-http", shop.at())).await;
    let by_tag = tags.iter().map(|t| format!("{}:{t}", shop.at()));
    let by_digest = images.iter().map(|i| format!("{}@{}", shop.at(), i.digest()));
    let references: Vec<String> = by_tag.chain(by_digest).collect();
    for some in references.chunks(20) {
        shop.ok("deployer", &format!("verify {} --plain-http", some.join(" "))).await;
    }
    soak::report(&format!(
        "races   {AT_ONCE} publishers at once: {rounds} rounds, {conflicts} conflicts, {overwrites} commits overwritten \
         after they were read back, {} processes that said that they were not done {not_released:?}, {} of {} bundles verify",
        not_released.len(),
        images.len(),
        tags.len()
    ));
    assert_eq!(overwrites, rounds as u64, "each forced overwrite took place");
    assert!(conflicts >= soak::of(6, 50), "only {conflicts} conflicts");
    assert_eq!(shop.server.broken(REPO), Vec::<String>::new());
}

/// How a registry loses what it said it took.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Loses {
    /// It never lists a referrer.
    Always,
    /// It lists a referrer that is pushed a second time.
    TheFirstPush,
    /// The list at the tag is overwritten twice by a slower writer.
    TheListTwice,
    /// The list at the tag is overwritten, always.
    TheList,
}

#[tokio::test(flavor = "multi_thread")]
async fn referrers_that_a_registry_loses_are_pushed_again_or_missed() {
    let shop = Workshop::new(false).await;
    shop.build().await;
    let referrers = 3;
    for loses in [Loses::Always, Loses::TheFirstPush, Loses::TheListTwice, Loses::TheList] {
        let server = Server::start(Config::default()).await;
        let repo = "lossy/app";
        match loses {
            Loses::Always => server.quirks(|q| q.subject_not_indexed = true),
            Loses::TheFirstPush => {
                let once = std::sync::Mutex::new(BTreeSet::new());
                server.hook(move |request, state| {
                    let digest = request.path.rsplit('/').next().unwrap_or_default().to_owned();
                    if request.is("PUT", "*/manifests/sha256:*") {
                        let first = once.lock().unwrap().insert(digest.clone());
                        let unlisted = &mut state.repo(repo).unlisted;
                        let _ = if first { unlisted.insert(digest) } else { unlisted.remove(&digest) };
                    }
                });
            }
            Loses::TheListTwice | Loses::TheList => {
                server.quirks(|q| q.no_referrers_api = true);
                let nth = if loses == Loses::TheList { Nth::Every } else { Nth::First(2) };
                server.lose(LostUpdate::new(repo, "sha256-*", nth, 0));
            }
        }
        let line =
            format!("copy oci:{}:v1 {}/{repo} --plain-http", shop.path("build").display(), server.host());
        let output =
            tokio::time::timeout(Duration::from_secs(120), shop.run("anybody", &line)).await.unwrap();
        let at = AtRegistry(&server, repo);
        let source = AtLayout(shop.path("build"));
        let listed: usize =
            source.manifests().iter().map(|d| source.listed(d).intersection(&at.listed(d)).count()).sum();
        let tagged = at.tags().contains_key("v1");
        soak::report(&format!(
            "losses  {loses:?}: exit {:?}, {listed} of {referrers} referrers listed, tag {}",
            output.status.code(),
            if tagged { "set" } else { "not set" }
        ));
        let repaired = matches!(loses, Loses::TheFirstPush | Loses::TheListTwice);
        match repaired {
            true => assert_eq!((output.status.code(), listed), (Some(0), referrers), "{}", words(&output)),
            false => {
                assert_eq!(output.status.code(), Some(3), "{loses:?}: {}", words(&output));
                assert!(!tagged, "{loses:?}: a tag that promises what is not listed");
                let said = words(&output);
                assert!(said.contains("sha256:") && said.contains("when read back"), "{loses:?}: {said}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn few_objects_are_left_behind() {
    let c = Collection::new(false).await;
    let behind = || left_behind(&c.server, HERE);
    for i in 0..3 {
        c.forward(60);
        c.publish(&c.owner, c.image(&format!("before {i}")).digest(), &["v1"]).await.unwrap();
    }
    // All that was left up to here is tidied.
    c.forward(86_500);
    c.renew(&c.owner).await;
    let renewing = |before: &BTreeSet<String>| behind().difference(before).count();
    let before = behind();
    c.forward(86_500);
    let renewed = c.renew(&c.owner).await;
    assert_eq!(renewed.commits, 1);
    let by_renew = renewing(&before);

    let image = c.image("counted");
    let before = behind();
    c.forward(60);
    c.publish(&c.owner, image.digest(), &["v1"]).await.unwrap();
    let at_once = renewing(&before);
    let submissions = c.submissions().len();
    assert_eq!(submissions, 1);
    // The submission goes when the state has held it for an hour; the renewal's own commit is counted above.
    c.forward(86_500);
    let renewed = c.renew(&c.owner).await;
    assert_eq!((renewed.deleted.len(), c.submissions().len()), (1, 0));
    let by_publish = renewing(&before) - by_renew;
    soak::report(&format!(
        "objects left behind: by a publication {at_once} at once and {by_publish} when its submission is gone, by a renewal {by_renew}"
    ));
    assert!(by_publish <= 5 && at_once <= 5, "{:#?}", behind().difference(&before));
    assert!(by_renew <= 3, "{by_renew}");
    let seals = c.server.referrers(HERE, &image.digest().to_string());
    assert_eq!(seals.len(), 1, "{}", media_type::BULLA_SEAL);
}
