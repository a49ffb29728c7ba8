//! Delegates who sign more than they may.

use super::*;

#[tokio::test]
async fn out_of_scope_is_refused_at_publishing_at_admission_and_at_verification() {
    let world = world().await;
    world.grant("dev", &[DEV], &["dev-*"]).await;
    let dev = world.home(&[DEV]);
    let a = image(&*world.store, "a").await;
    let refused = |e: PublishError| match e {
        PublishError::Work(WorkError::Refused(refusal)) => refusal,
        other => panic!("{other}"),
    };
    let e = refused(world.publish_as(&dev, None, &a, &["v1"]).await.unwrap_err());
    assert!(matches!(&e, Refusal::OutOfScope { roles, .. } if roles[0].0 == role("dev")), "{e}");
    let e = refused(world.publish_as(&dev, None, &a, &["dev-1", "v1"]).await.unwrap_err());
    assert!(matches!(e, Refusal::OutOfScope { .. }));
    assert_eq!(
        refused(world.publish_as(&dev, None, &a, &[]).await.unwrap_err()),
        Refusal::TagsOnly(role("dev"))
    );
    let e = refused(world.publish_as(&dev, Some(&role("ops")), &a, &["dev-1"]).await.unwrap_err());
    assert_eq!(e, Refusal::NoRole(role("ops")));
    assert_eq!(world.submissions().await, 1, "only the grant");
    // Signed all the same, past the program.
    for path in [name().tag_path(&"v1".parse().unwrap()), name().release_path(a.digest())] {
        let tag = world.smuggle("dev", &[DEV], |s| s["targets"][&path] = entry(&a)).await;
        let renewed = world.renew(&world.owner, &[]).await.unwrap();
        assert!(renewed.admitted.is_empty());
        assert!(invalid(&renewed.pending, &tag).contains("may not speak"), "{:?}", renewed.pending);
        // The delegate sees the same reason, without a key.
        assert!(invalid(&world.overview().await.pending, &tag).contains("may not speak"));
        world.store.delete(&Selector::Tag(tag)).await.unwrap();
    }
    // Even where the online key let it in, readers do not look there.
    let path = name().tag_path(&"v1".parse().unwrap());
    let live = world.live().await;
    let start = genesis(&name().to_string(), &role("dev")).unwrap();
    let now = world.clock.now();
    let mut signed = next(
        &View::of(&RoleFile::of(&start).unwrap()),
        None,
        &[],
        &name().to_string(),
        now,
        now.plus(30 * DAY),
    )
    .signed()
    .clone();
    signed["targets"][&path] = entry(&a);
    let keys = live.vacant()[&role("dev")].keys.clone();
    let file = crate::client::signing::sign(&dev.keys, &role("dev"), &keys, &Draft::from_signed(signed))
        .await
        .unwrap();
    force(&world, &role("dev"), file).await;
    world.store.push_manifest(&a, Some(&"v1".parse().unwrap())).await.unwrap();
    assert_eq!(world.because(":v1").await, "bundle.tag.unlisted");
}

/// A state over the live one, made with the online key alone, that holds `file` for `role`.
async fn force(world: &World, role: &RoleName, file: Bytes) {
    use crate::client::state::{Kind, pack};
    use crate::tuf::{FileName, FilePin};
    let live = world.live().await;
    let version = Version::new(2).unwrap();
    let mut pins = live.trusted().snapshot().role().pins().clone();
    pins.insert(role.clone(), FilePin::of(version, &file));
    let online = key(Home::ONLINE);
    let (now, at) = (world.clock.now(), live.trusted().timestamp().version().next());
    let heading = Heading { version: at, expires: now.plus(DAY), extra: Extra::new(name().to_string(), now) };
    let sign = async |draft: Draft| {
        let signature = online.sign(&draft.message()).await.unwrap();
        draft.assemble(&[(online.public_key().key_id(), signature)].into())
    };
    let snapshot = sign(Draft::snapshot(&heading, &pins)).await;
    let timestamp = sign(Draft::timestamp(&heading, &FilePin::of(at, &snapshot))).await;
    let mut files = live.files().clone();
    files.retain(|n| n.role() != role && !matches!(n.role().as_str(), "snapshot" | "timestamp"));
    files.put(FileName::versioned(role.clone(), version), file);
    files.put(FileName::versioned(RoleName::snapshot(), at), snapshot);
    files.put(FileName::timestamp(), timestamp);
    let packed = pack(Kind::State, &files, None);
    Known::new(&*world.store).push(&packed, Some(&name().state_tag())).await.unwrap();
}

#[tokio::test]
async fn a_hostile_delegate_harms_nobody_else() {
    let world = world().await;
    world.grant("dev", &[DEV], &["dev-*"]).await;
    world.grant("rc", &[RC], &["rc-*"]).await;
    let a = image(&*world.store, "a").await;
    let path = name().tag_path(&"dev-1".parse().unwrap());
    let mine = json!({public(DEV).key_id().as_str(): public(DEV).to_tuf()});
    let to = |role: &str| {
        json!({"keys": mine, "roles": [{
            "name": role, "keyids": [public(DEV).key_id()], "threshold": 1, "terminating": false, "paths": ["*"],
        }]})
    };
    type Edited = Box<dyn FnOnce(&mut Value)>;
    let (p, e) = (path.clone(), entry(&a));
    let many: Map<String, Value> = (0..6_000).map(|n| (format!("{}:dev-{n}", name()), entry(&a))).collect();
    let cases: Vec<(&str, Edited)> = vec![
        // Under these, no state would verify any more.
        ("delegates", {
            let d = to("targets/releases");
            Box::new(move |s| s["delegations"] = d)
        }),
        ("delegates", {
            let d = to("targets/releases/rc");
            Box::new(move |s| s["delegations"] = d)
        }),
        ("expires at", Box::new(|s| s["expires"] = json!("2127-01-01T00:00:00Z"))),
        (
            "custom.bulla",
            Box::new(move |s| {
                let mut e = e;
                e["custom"] = json!({});
                s["targets"][p] = e
            }),
        ),
        ("bytes", Box::new(move |s| s["targets"] = Value::Object(many))),
        ("collection", Box::new(|s| s["x-bulla"]["collection"] = json!("ex.com/other"))),
    ];
    for (why, edit) in cases {
        let tag = world.smuggle("dev", &[DEV], edit).await;
        world.publish_as(&world.home(&[RC]), None, &a, &["rc-1"]).await.unwrap();
        let renewed = world.renew(&world.owner, &[]).await.unwrap();
        let said = invalid(&renewed.pending, &tag);
        assert!(said.contains(why), "{why}: {said}");
        assert!(renewed.admitted.iter().all(|a| a.role != role("dev")));
        world.store.delete(&Selector::Tag(tag)).await.unwrap();
    }
    assert!(world.trusts(":rc-1").await);
    // Signed by somebody else, for a version nobody waits for.
    let tag = world.smuggle("dev", &[RC], |_| {}).await;
    assert!(invalid(&world.renew(&world.owner, &[]).await.unwrap().pending, &tag).contains("signature"));
}
