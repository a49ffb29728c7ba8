//! Ten developers and one job: each has a key of his own, and the online key never leaves the job.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bulla::client::ceremony::Desk;
use bulla::client::delegation::{Edit, change};
use bulla::client::publish::{self, Published, Status, Wanted, publish};
use bulla::client::renew;
use bulla::oci::{Content, Selector};
use bulla::time::Clock as _;
use bulla::tuf::grant::{Grant, Terms};
use bulla::tuf::{RoleName, Signers};

use super::publishing::{Collection, Home, ONLINE, RELEASES, key};

const DEVELOPERS: u8 = 10;
const ROUNDS: usize = 6;

fn seed(who: u8) -> u8 {
    100 + who
}

async fn grant(c: &Collection, who: u8) {
    let store = c.store(&c.owner);
    let desk = Desk {
        collection: &c.name,
        anchor: &c.root,
        store: &store,
        memories: std::slice::from_ref(&c.owner.memory),
        without_memory: false,
        keys: &c.owner.keys,
        clock: &*c.time,
    };
    let grant = Grant {
        role: format!("targets/releases/dev{who}").parse().unwrap(),
        signers: Signers { keys: vec![key(seed(who)).public_key().clone()], threshold: 1 },
        paths: c.name.scope(&format!("d{who}-*")).unwrap(),
        terminating: false,
        terms: Terms { at: c.time.now(), lifetime: 90 * 86_400, delegates: false, vetting: None },
    };
    let done = change(&desk, &RoleName::releases(), Edit::Grant(grant)).await.unwrap();
    assert!(done.committed);
}

async fn publish_as(c: &Collection, home: &Home, image: &Content, tag: &str) -> Published {
    let store = c.store(home);
    publish(publish::Request {
        collection: c.name.clone(),
        anchor: c.root.clone(),
        state: &store,
        store: &store,
        bundles: vec![Wanted {
            selector: Selector::Digest(image.digest().clone()),
            tags: [tag.parse().unwrap()].into(),
        }],
        role: None,
        memories: std::slice::from_ref(&home.memory),
        without_memory: false,
        keys: &home.keys,
        clock: &*c.time,
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_delegates_and_one_job_lose_nothing() {
    let c = Arc::new(Collection::new(false).await);
    for who in 0..DEVELOPERS {
        grant(&c, who).await;
    }
    let homes: Arc<Vec<Home>> = Arc::new((0..DEVELOPERS).map(|who| c.home(&[seed(who)])).collect());
    let job = Arc::new(c.home(&[ONLINE]));
    let done = Arc::new(AtomicBool::new(false));
    // The job runs all the while, as a service would; it holds no other key.
    let working = tokio::spawn({
        let (c, job, done) = (c.clone(), job.clone(), done.clone());
        async move {
            let mut admitted = 0;
            while !done.load(Ordering::SeqCst) {
                let renewed = c.renew(&job).await;
                assert_eq!(renewed.pending, vec![]);
                admitted += renewed.admitted.len();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            admitted
        }
    });
    let mut all = Vec::new();
    for round in 0..ROUNDS {
        c.forward(60);
        let mut tasks = Vec::new();
        for who in 0..DEVELOPERS {
            let (image, tag) = (c.image(&format!("{round} {who}")), format!("d{who}-{round}"));
            all.push((image.clone(), tag.clone()));
            let (c, homes) = (c.clone(), homes.clone());
            tasks.push(tokio::spawn(async move {
                let published = publish_as(&c, &homes[usize::from(who)], &image, &tag).await;
                assert!(matches!(published.status, Status::Submitted | Status::Released));
                assert_eq!(published.role.as_str(), format!("targets/releases/dev{who}"));
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    }
    done.store(true, Ordering::SeqCst);
    let during = working.await.unwrap();
    let last = c.renew(&job).await;
    assert!(matches!(last.status, renew::Status::Renewed | renew::Status::Current), "{last:?}");
    for (image, tag) in &all {
        assert_eq!(c.tag_of(tag), Some(image.digest().to_string()), "{tag}");
        assert!(c.trusts(&format!(":{tag}")).await, "{tag} is not trusted");
        assert!(!c.trusts_digest(image).await, "{tag}: no delegate for tags makes a release");
    }
    assert!(during > 0, "nothing was admitted while they published");
    assert_eq!(c.renew(&job).await.status, renew::Status::Current);
    // What is promoted is a release.
    let releases = c.home(&[RELEASES]);
    c.publish(&releases, all[0].0.digest(), &["v1"]).await.unwrap();
    c.renew(&job).await;
    assert!(c.trusts_digest(&all[0].0).await && c.trusts(":v1").await);
}
