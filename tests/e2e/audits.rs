//! Audits on the in-process registry: who brought what, at mirrors too, with versions missing, and with what is installed.

use std::sync::Arc;

use bulla::client::audit::{AuditError, Audited, Request, audit};
use bulla::client::installed::{Done, Installed};
use bulla::client::revoke::list_under;
use bulla::oci::{Content, Reference, Selector};
use bulla::store::{Manage, Store as _};
use bulla::time::{Clock as _, UnixTime};
use bulla::tuf::RoleName;

use super::publishing::{Collection, ONLINE, RELEASES, REPO};
use crate::registry::Fault;

/// Other repositories of the same registry.
fn at(c: &Collection, repo: &str) -> Arc<dyn Manage> {
    let repository = format!("{}/{repo}", c.server.host()).parse().unwrap();
    Arc::new(c.owner.hosts.repository(&repository))
}

async fn look(
    c: &Collection,
    places: &[&str],
    since: Option<UnixTime>,
    installed: &[Installed],
) -> Result<Audited, AuditError> {
    let home = c.home(&[]);
    audit(Request {
        collection: c.name.clone(),
        anchor: c.root.clone(),
        places: places.iter().map(|p| at(c, p)).collect(),
        memory: &home.memory,
        key: None,
        since,
        installed,
        unread: 0,
        now: c.time.now(),
    })
    .await
}

/// The state's manifest with all that it names, and the bundles, at another place.
async fn mirror(c: &Collection, to: &str, bundles: &[&Content]) {
    let store = c.store(&c.owner);
    let manifest = store.resolve(&Selector::Tag(c.name.state_tag())).await.unwrap().unwrap();
    let doc: serde_json::Value = serde_json::from_slice(manifest.bytes()).unwrap();
    for layer in doc["layers"].as_array().unwrap().iter().chain([&doc["config"]]) {
        let digest = layer["digest"].as_str().unwrap();
        c.server.put_blob(to, c.server.blob(REPO, digest).unwrap());
    }
    let bytes = manifest.bytes().clone();
    c.server.put_manifest(to, Some(c.name.state_tag().as_str()), manifest.media_type(), bytes);
    for bundle in bundles {
        c.server.put_manifest(to, None, bundle.media_type(), bundle.bytes().clone());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bundle_is_traced_to_the_version_that_brought_it() {
    let c = Collection::new(false).await;
    let mut images = Vec::new();
    let mut times = Vec::new();
    for i in 0..5 {
        c.forward(3_600);
        times.push(c.time.now());
        images.push(c.image(&format!("{i}")));
        c.publish(&c.owner, images[i].digest(), &[&format!("v{i}")]).await.unwrap();
    }
    mirror(&c, "mirror/app", &[&images[3]]).await;
    c.forward(60);
    c.renew(&c.owner).await;
    let all = look(&c, &[REPO, "mirror/app"], None, &[]).await.unwrap();
    assert!(all.is_whole(), "{all:#?}");
    assert_eq!((all.introduced.len(), all.foreign), (5, 0));
    for (i, image) in images.iter().enumerate() {
        let one = all.introduced.iter().find(|o| o.digest == *image.digest()).unwrap();
        assert_eq!((one.version.get(), one.at, one.keys.len()), (i as u64 + 2, times[i], 1));
        assert!(one.certain && one.in_line && !one.revoked && one.paths.len() == 2);
        assert_eq!((one.listed_at.len(), one.present_at.len()), (2, if i == 3 { 2 } else { 1 }));
    }
    assert_eq!(all.from[&RoleName::releases()].get(), 1);

    let installed = [Installed {
        at: c.time.now(),
        done: Done::Verified,
        reference: "x".into(),
        digest: images[4].digest().clone(),
        collection: None,
    }];
    let late = look(&c, &[REPO], Some(times[3]), &installed).await.unwrap();
    let sure: Vec<_> = late.introduced.iter().filter(|i| !i.undated).map(|i| &i.digest).collect();
    assert_eq!(sure, [images[3].digest(), images[4].digest()]);
    assert_eq!(late.introduced.len(), 5, "of the others only their signer says when they came");
    assert_eq!(late.affected(true).map(|i| &i.digest).collect::<Vec<_>>(), [images[4].digest()]);
    assert_eq!(late.affected(false).count(), 0, "nothing is revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_out_of_the_history_is_a_gap_that_a_mirror_fills() {
    let c = Collection::new(false).await;
    for i in 0..4 {
        c.forward(60);
        c.publish(&c.owner, c.image(&format!("{i}")).digest(), &[]).await.unwrap();
        if i == 2 {
            mirror(&c, "mirror/app", &[]).await;
        }
    }
    // Somebody strips the history, and the next commit cannot bring it back.
    let store = c.store(&c.owner);
    let manifest = store.resolve(&Selector::Tag(c.name.state_tag())).await.unwrap().unwrap();
    let mut doc: serde_json::Value = serde_json::from_slice(manifest.bytes()).unwrap();
    let layers = doc["layers"].as_array_mut().unwrap();
    layers.retain(|l| l["mediaType"] != bulla::oci::media_type::BULLA_HISTORY);
    let stripped = serde_json::to_vec(&doc).unwrap();
    c.server.put_manifest(REPO, Some(c.name.state_tag().as_str()), manifest.media_type(), stripped);
    c.forward(60);
    c.publish(&c.owner, c.image("after").digest(), &[]).await.unwrap();
    let gapped = look(&c, &[REPO], None, &[]).await.unwrap();
    assert!(!gapped.is_whole() && gapped.gaps.len() == 4, "{:?}", gapped.gaps);
    let certain = gapped.introduced.iter().filter(|i| i.certain).count();
    assert_eq!((gapped.introduced.len(), certain), (5, 1), "only what came after the gap is certain");
    let filled = look(&c, &[REPO, "mirror/app"], None, &[]).await.unwrap();
    assert!(filled.is_whole(), "{:?}", filled.gaps);
    assert!(filled.introduced.iter().all(|i| i.certain));

    // A place that cannot be asked is not one without a state.
    c.server.fault(Fault::on("GET", "/v2/mirror/app/*").status(403));
    let blind = look(&c, &[REPO, "mirror/app"], None, &[]).await.unwrap();
    assert!(!blind.is_whole() && blind.places[1].unreadable.is_some(), "{:?}", blind.places);
    c.server.behave();
    let none = look(&c, &[REPO, "empty/app"], None, &[]).await.unwrap();
    assert!(none.places[1].state.is_none() && none.places[1].unreadable.is_none());
    let place: Reference = none.places[1].at.clone();
    assert!(place.to_string().ends_with("/empty/app"));
}

#[tokio::test(flavor = "multi_thread")]
async fn junk_in_the_history_is_not_named_again_and_drives_nothing_out() {
    let c = Collection::new(false).await;
    for i in 0..3 {
        c.forward(60);
        c.publish(&c.owner, c.image(&format!("{i}")).digest(), &[]).await.unwrap();
    }
    let store = c.store(&c.owner);
    let manifest = store.resolve(&Selector::Tag(c.name.state_tag())).await.unwrap().unwrap();
    let mut doc: serde_json::Value = serde_json::from_slice(manifest.bytes()).unwrap();
    let layers = doc["layers"].as_array_mut().unwrap();
    let names =
        (0..40).map(|_| "targets/releases".to_owned()).chain((0..900).map(|i| format!("targets/x{i}")));
    for (i, role) in names.enumerate() {
        let junk = Content::new(bulla::oci::media_type::BULLA_HISTORY, format!("{{\"junk\":{i}}}"));
        c.server.put_blob(REPO, junk.bytes().clone());
        let name = bulla::tuf::FileName::versioned(
            role.parse().unwrap(),
            bulla::tuf::Version::new((1 << 53) - 1).unwrap(),
        );
        layers.push(serde_json::json!({
            "mediaType": junk.media_type(), "digest": junk.digest().to_string(), "size": junk.bytes().len(),
            "annotations": {"tuf.io/filename": name.to_string()}
        }));
    }
    let poisoned = serde_json::to_vec(&doc).unwrap();
    c.server.put_manifest(REPO, Some(c.name.state_tag().as_str()), manifest.media_type(), poisoned);
    let junk = look(&c, &[REPO], None, &[]).await.unwrap();
    assert!(junk.foreign > 900, "{}", junk.foreign);
    c.forward(60);
    c.publish(&c.owner, c.image("after").digest(), &[]).await.unwrap();
    let clean = look(&c, &[REPO], None, &[]).await.unwrap();
    assert!(clean.is_whole() && clean.introduced.iter().all(|i| i.certain), "{:?}", clean.gaps);
    assert_eq!((clean.introduced.len(), clean.foreign, clean.places[0].history), (4, 0, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_list_that_is_withheld_is_no_empty_one() {
    let c = Collection::new(false).await;
    c.forward(60);
    c.publish(&c.owner, c.image("a").digest(), &[]).await.unwrap();
    let store = c.store(&c.owner);
    let manifest = store.resolve(&Selector::Tag(c.name.state_tag())).await.unwrap().unwrap();
    let nobody = super::publishing::Home::new(&c.name, &[]);
    let request = || Request {
        collection: c.name.clone(),
        anchor: c.root.clone(),
        places: vec![at(&c, REPO)],
        memory: &nobody.memory,
        key: None,
        since: None,
        installed: &[],
        unread: 0,
        now: c.time.now(),
    };
    assert!(audit(request()).await.unwrap().judged);
    let lists = || list_under(&store, &c.name, &c.root, &[], c.time.now());
    assert_eq!(lists().await.map(|l| l.live.len() + l.remembered.len()), Ok(1));
    let mut doc: serde_json::Value = serde_json::from_slice(manifest.bytes()).unwrap();
    doc["layers"].as_array_mut().unwrap().retain(|l| l["mediaType"] != "application/vnd.tuf.target");
    let stripped = serde_json::to_vec(&doc).unwrap();
    c.server.put_manifest(REPO, Some(c.name.state_tag().as_str()), manifest.media_type(), stripped);
    let audited = audit(request()).await.unwrap();
    assert!(!audited.judged && !audited.is_whole());
    assert!(lists().await.is_err_and(|why| why.contains("revocation list")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_shows_little_is_no_innocent_past() {
    let c = Collection::new(false).await;
    c.forward(60);
    c.publish(&c.owner, c.image("a").digest(), &[]).await.unwrap();
    c.forward(60);
    c.publish(&c.owner, c.image("b").digest(), &[]).await.unwrap();
    mirror(&c, "mirror/app", &[]).await;
    let store = c.store(&c.owner);
    let manifest = store.resolve(&Selector::Tag(c.name.state_tag())).await.unwrap().unwrap();
    let mut doc: serde_json::Value = serde_json::from_slice(manifest.bytes()).unwrap();
    let layers = doc["layers"].as_array_mut().unwrap();
    layers.retain(|l| l["annotations"]["tuf.io/filename"] == "1.root.json");
    assert_eq!(layers.len(), 1);
    let stripped = serde_json::to_vec(&doc).unwrap();
    c.server.put_manifest(REPO, Some(c.name.state_tag().as_str()), manifest.media_type(), stripped);
    let nobody = super::publishing::Home::new(&c.name, &[]);
    let request = |places: &[&str], unread| Request {
        collection: c.name.clone(),
        anchor: c.root.clone(),
        places: places.iter().map(|p| at(&c, p)).collect(),
        memory: &nobody.memory,
        key: None,
        since: None,
        installed: &[],
        unread,
        now: c.time.now(),
    };
    let alone = audit(request(&[REPO], 0)).await.unwrap();
    assert!(!alone.judged && !alone.is_whole() && alone.places[0].doubt().is_some(), "{:?}", alone.places);
    let beside = audit(request(&[REPO, "mirror/app"], 0)).await.unwrap();
    assert!(beside.judged && !beside.is_whole());
    let nothing = audit(request(&["mirror/app", "empty/app"], 0)).await.unwrap();
    assert!(!nothing.is_whole() && nothing.places[1].doubt().is_some());
    assert!(audit(request(&["mirror/app"], 0)).await.unwrap().is_whole());
    assert!(!audit(request(&["mirror/app"], 1)).await.unwrap().is_whole(), "a line of the log is unreadable");
}

/// Whoever holds the key dates two files in a row back; the owner goes on from them.
#[tokio::test(flavor = "multi_thread")]
async fn files_dated_back_in_a_row_are_not_hidden_from_an_audit_by_time() {
    let c = Collection::new(false).await;
    c.forward(3_600);
    let good = c.image("good");
    c.publish(&c.owner, good.digest(), &[]).await.unwrap();
    c.forward(3_600);
    c.renew(&c.owner).await;
    mirror(&c, "mirror/app", &[]).await;
    c.forward(3_600);
    let since = c.time.now();
    c.forward(86_400);
    // He sets his clock back to before `since` for two releases.
    let thief = c.home(&[RELEASES]);
    c.forward(-86_400 - 1_800);
    let evil = [c.image("evil"), c.image("worse")];
    for image in &evil {
        c.publish(&thief, image.digest(), &[]).await.unwrap();
        c.forward(60);
    }
    c.forward(2 * 86_400);
    c.renew(&c.owner).await;
    c.forward(60);
    c.publish(&c.owner, c.image("later").digest(), &[]).await.unwrap();
    let here = |image: &Content| Installed {
        at: c.time.now(),
        done: Done::Verified,
        reference: "x".into(),
        digest: image.digest().clone(),
        collection: Some(c.name.clone()),
    };
    let installed = [here(&good), here(&evil[0]), here(&evil[1])];
    let alone = look(&c, &[REPO], Some(since), &installed).await.unwrap();
    for image in &evil {
        let one = alone.introduced.iter().find(|i| i.digest == *image.digest()).expect("hidden");
        assert!(one.at < since && one.undated, "{one:?}");
    }
    assert_eq!(alone.undated().count(), 3, "nobody else bears out when the good one came, either");
    // A mirror from before says which one was there.
    let with = look(&c, &[REPO, "mirror/app"], Some(since), &installed).await.unwrap();
    let named: Vec<_> = with.undated().map(|i| &i.digest).collect();
    assert!(named.len() == 2 && evil.iter().all(|e| named.contains(&e.digest())), "{named:?}");
    // So does the log of this installation.
    let mut before = installed.clone();
    before[0].at = since.plus(-60);
    let logged = look(&c, &[REPO], Some(since), &before).await.unwrap();
    assert!(logged.introduced.iter().all(|i| i.digest != *good.digest()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_by_a_key_that_nobody_ever_had_is_no_clean_answer() {
    let c = Collection::new(false).await;
    c.publish(&c.owner, c.image("a").digest(), &[]).await.unwrap();
    let home = c.home(&[]);
    let by = |id: String| {
        let (c, home) = (&c, &home);
        async move {
            audit(Request {
                collection: c.name.clone(),
                anchor: c.root.clone(),
                places: vec![at(c, REPO)],
                memory: &home.memory,
                key: Some(id),
                since: None,
                installed: &[],
                unread: 0,
                now: c.time.now(),
            })
            .await
        }
    };
    let id = |seed| super::publishing::key(seed).public_key().key_id().to_string();
    assert_eq!(by(id(RELEASES)).await.unwrap().introduced.len(), 1);
    assert_eq!(by(id(1)).await.unwrap().introduced.len(), 0, "the root key signed no release");
    assert!(matches!(by(id(77)).await, Err(AuditError::NoKey { .. })));
}

/// What a delegate brought stays named after the delegation was taken back.
#[tokio::test(flavor = "multi_thread")]
async fn the_history_of_a_role_that_is_no_longer_delegated_to_is_kept() {
    use bulla::client::ceremony::Desk;
    use bulla::client::publish;
    use bulla::tuf::proposal::{About, Edit, Place};
    use bulla::tuf::{Paths, Signers};
    let c = Collection::new(false).await;
    let (anna, role): (u8, RoleName) = (31, "targets/releases/anna".parse().unwrap());
    let owner = c.home(&[2, RELEASES, ONLINE]);
    let store = c.store(&owner);
    let desk = Desk {
        collection: &c.name,
        anchor: &c.root,
        store: &store,
        memories: std::slice::from_ref(&owner.memory),
        without_memory: false,
        keys: &owner.keys,
        clock: &*c.time,
    };
    let about = About { description: "x".into(), by: String::new(), at: c.time.now() };
    let delegate = Edit::Delegate {
        by: RoleName::releases(),
        role: role.clone(),
        signers: Signers { keys: vec![super::publishing::key(anna).public_key().clone()], threshold: 1 },
        paths: Paths::Patterns(vec![bulla::tuf::PathPattern::parse(&format!("{}:dev-*", c.name)).unwrap()]),
        terminating: false,
        place: Place::Last,
        note: None,
    };
    desk.at_once(|_| Ok(vec![delegate.clone()]), &about).await.unwrap();
    let home = c.home(&[anna, ONLINE]);
    let store_of = c.store(&home);
    let images = [c.image("one"), c.image("two"), c.image("three")];
    for (i, image) in images.iter().enumerate() {
        c.forward(60);
        publish::publish(publish::Request {
            collection: c.name.clone(),
            anchor: c.root.clone(),
            state: &store_of,
            store: &store_of,
            bundles: vec![publish::Wanted {
                selector: Selector::Digest(image.digest().clone()),
                tags: std::iter::once(format!("dev-{i}").parse().unwrap()).collect(),
            }],
            role: Some(role.clone()),
            memories: std::slice::from_ref(&home.memory),
            without_memory: false,
            keys: &home.keys,
            clock: &*c.time,
        })
        .await
        .unwrap();
    }
    c.forward(60);
    let back = Edit::Undelegate { by: RoleName::releases(), role: role.clone() };
    desk.at_once(|_| Ok(vec![back.clone()]), &about).await.unwrap();
    for i in 0..2 {
        c.forward(60);
        c.publish(&c.owner, c.image(&format!("after {i}")).digest(), &[]).await.unwrap();
    }
    let all = look(&c, &[REPO], None, &[]).await.unwrap();
    for image in &images {
        assert!(all.introduced.iter().any(|i| i.digest == *image.digest() && i.role == role), "{all:#?}");
    }
}
