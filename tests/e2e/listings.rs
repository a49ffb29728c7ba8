//! The three listings of CNAB-301 as a TUF client reads them: completed (types, versions, expiry, real keys, a list of signatures
//! instead of an object, whole delegations) and with the names of files that exist, under `testdata/cnab-301/`.
//! `BULLA_BLESS=1 cargo test --test e2e listings` writes them anew.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bulla::oci::Digest;
use bulla::trust::Code;
use bulla::tuf::{
    Draft, Expiry, FileName, FilePin, Files, Found, Limits, RoleName, RootWalk, Trusted, TufError, Version,
};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::attacks::sim::{NOW, SimKey, signed};
use super::states::vectors::BUNDLE;

/// 301's name for the collection.
const NAME: &str = "example.com/example-org/example-bundle";

fn digest(bytes: &[u8]) -> String {
    Digest::sha256(bytes).hex().to_owned()
}

fn target(bytes: &[u8]) -> Value {
    json!({"length": bytes.len(), "hashes": {"sha256": digest(bytes)}})
}

fn head(kind: &str) -> Value {
    json!({"_type": kind, "spec_version": "1.0.34", "version": 1, "expires": NOW.plus(31_536_000)})
}

fn keys(seeds: &[u8]) -> Vec<SimKey> {
    seeds.iter().map(|s| SimKey::new(*s)).collect()
}

fn role(seeds: &[u8], threshold: u32) -> Value {
    let ids: Vec<_> = keys(seeds).iter().map(|k| k.public().key_id()).collect();
    json!({"keyids": ids, "threshold": threshold})
}

fn keys_object(seeds: &[u8]) -> Value {
    let keys = keys(seeds).into_iter().map(|k| (k.public().key_id().to_string(), k.public().to_tuf()));
    keys.collect::<Map<String, Value>>().into()
}

fn sign(value: Value, seeds: &[u8]) -> Bytes {
    let keys = keys(seeds);
    signed(&Draft::from_signed(value), &keys.iter().collect::<Vec<_>>())
}

/// Three developers of whom two sign root and targets, one online key, one key of releases.
const ROOT: [u8; 3] = [31, 32, 33];
const TARGETS: [u8; 3] = [34, 35, 36];
const ONLINE: [u8; 1] = [37];
const RELEASES: [u8; 1] = [38];
/// Who signs layout and links.
const OWNERS: [u8; 3] = [41, 42, 43];

/// The files of in-toto, by their names in the collection.
fn provenance() -> BTreeMap<String, Bytes> {
    let mut files = BTreeMap::new();
    for key in keys(&OWNERS) {
        let id = key.public().key_id();
        files.insert(format!("{NAME}/in-toto-pubkeys/{id}.pub"), key.public().to_tuf().to_string().into());
    }
    let layout = json!({
        "_type": "layout", "expires": NOW.plus(31_536_000), "readme": "", "keys": keys_object(&OWNERS), "inspect": [],
        "steps": [],
    });
    files.insert(format!("{NAME}/in-toto-metadata/root.layout"), sign(layout, &OWNERS));
    for (step, seed) in [("step1", 41), ("step2", 42)] {
        let id = SimKey::new(seed).public().key_id().to_string();
        let link = json!({
            "_type": "link", "name": step, "command": [], "materials": {}, "products": {}, "byproducts": {}, "environment": {},
        });
        let path = format!("{NAME}/in-toto-metadata/{}/{step}.{}.link", digest(BUNDLE), &id[..8]);
        files.insert(path, sign(link, &[seed]));
    }
    files
}

fn is_link(path: &str) -> bool {
    path.ends_with(".link")
}

/// A repository of these targets files.
fn repository(targets: &Value, releases: Option<&Value>) -> Files {
    let mut root = head("root");
    root["consistent_snapshot"] = json!(true);
    root["keys"] = keys_object(&[&ROOT[..], &TARGETS, &ONLINE].concat());
    root["roles"] = json!({
        "root": role(&ROOT, 2), "targets": role(&TARGETS, 2), "snapshot": role(&ONLINE, 1), "timestamp": role(&ONLINE, 1),
    });
    let mut files = Files::new();
    let put = |files: &mut Files, name: &str, bytes: &Bytes| {
        files.put(FileName::versioned(name.parse().unwrap(), Version::ONE), bytes.clone());
    };
    put(&mut files, "root", &sign(root, &ROOT[..2]));
    let mut meta = Map::new();
    let signed = [("targets", Some(sign(targets.clone(), &TARGETS[..2])))];
    let releases = releases.map(|r| sign(r.clone(), &RELEASES));
    for (name, bytes) in signed.into_iter().chain([("targets/releases", releases)]) {
        let Some(bytes) = bytes else { continue };
        meta.insert(format!("{name}.json"), FilePin::of(Version::ONE, &bytes).to_json());
        put(&mut files, name, &bytes);
    }
    let mut snapshot = head("snapshot");
    snapshot["meta"] = Value::Object(meta);
    let snapshot = sign(snapshot, &ONLINE);
    let mut timestamp = head("timestamp");
    timestamp["meta"] = json!({"snapshot.json": FilePin::of(Version::ONE, &snapshot).to_json()});
    put(&mut files, "snapshot", &snapshot);
    files.put(FileName::timestamp(), sign(timestamp, &ONLINE));
    files
}

/// The first listing: targets alone.
fn minimal() -> Value {
    let mut targets = head("targets");
    targets["delegations"] = json!({"keys": {}, "roles": []});
    targets["targets"] = json!({format!("{NAME}:latest"): target(BUNDLE)});
    targets
}

/// 301's two patterns, to the letter.
fn literal_paths() -> Vec<String> {
    vec![format!("{NAME}:*"), format!("{NAME}/in-toto-metadata/*/*.link")]
}

/// The second listing: targets signs layout and keys, and delegates these paths.
fn with_layout(paths: &[String]) -> Value {
    let files = provenance();
    let keys: Vec<&String> = files.keys().filter(|p| p.ends_with(".pub")).collect();
    let mut targets = head("targets");
    let mut delegation = role(&RELEASES, 1);
    delegation["name"] = json!("targets/releases");
    delegation["paths"] = json!(paths);
    delegation["terminating"] = json!(false);
    targets["delegations"] = json!({"keys": keys_object(&RELEASES), "roles": [delegation]});
    let listed = files.iter().filter(|(p, _)| !is_link(p)).map(|(path, bytes)| {
        let mut entry = target(bytes);
        if path.ends_with(".layout") {
            entry["custom"] = json!({"in-toto": keys});
        }
        (path.clone(), entry)
    });
    targets["targets"] = listed.collect::<Map<String, Value>>().into();
    targets
}

/// The third listing: releases signs the bundle and its links.
fn releases() -> Value {
    let files = provenance();
    let mut bundle = target(BUNDLE);
    let needed: Vec<&String> = files.keys().filter(|p| is_link(p) || p.ends_with(".layout")).collect();
    bundle["custom"] = json!({"in-toto": needed});
    let mut releases = head("targets");
    releases["delegations"] = json!({"keys": {}, "roles": []});
    let links = files.iter().filter(|(p, _)| is_link(p)).map(|(path, bytes)| (path.clone(), target(bytes)));
    let entries = links.chain([(format!("{NAME}:latest"), bundle)]);
    releases["targets"] = entries.collect::<Map<String, Value>>().into();
    releases
}

fn judge(files: &Files, collection: Option<&str>) -> Result<Trusted, TufError> {
    let root = files.root(Version::ONE).unwrap();
    let root = RootWalk::start(root, collection, &Limits::default())?.finish().last().clone();
    Trusted::judge(&root, files, collection, None, Expiry::Enforce, NOW, &Limits::default())
}

fn find(files: &Files, path: &str) -> Option<(String, Value)> {
    let Found { target, .. } = judge(files, None).unwrap().find(path, files).unwrap();
    target.map(|(role, t)| (role.to_string(), t.custom))
}

fn folder(listing: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/cnab-301").join(listing)
}

/// The vector as it lies in `testdata/`, which is what the generator makes.
fn vector(listing: &str, files: &Files) -> Files {
    let dir = folder(listing);
    if std::env::var_os("BULLA_BLESS").is_some() {
        std::fs::create_dir_all(&dir).unwrap();
        for (name, bytes) in files.metadata() {
            std::fs::write(dir.join(name.to_string()), bytes).unwrap();
        }
    }
    let mut read = Files::new();
    for entry in std::fs::read_dir(&dir).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap().parse().unwrap();
        read.put(name, std::fs::read(entry.path()).unwrap().into());
    }
    assert_eq!(read, *files, "{listing}: BULLA_BLESS=1 writes it anew");
    read
}

#[test]
fn the_first_listing_names_the_bundle() {
    let files = vector("minimal", &repository(&minimal(), None));
    let (role, _) = find(&files, &format!("{NAME}:latest")).unwrap();
    assert_eq!(role, "targets");
    assert_eq!(find(&files, &format!("{NAME}:v2")), None);
}

#[test]
fn the_second_and_third_listing_lead_to_every_file_of_the_bundle() {
    let files = vector("provenance", &repository(&with_layout(&literal_paths()), Some(&releases())));
    let (role, custom) = find(&files, &format!("{NAME}:latest")).unwrap();
    assert_eq!(role, "targets/releases");
    let on_disk = provenance();
    let mut reached = 0;
    for path in custom["in-toto"].as_array().unwrap().iter().map(|p| p.as_str().unwrap()) {
        let (role, custom) = find(&files, path).unwrap();
        assert_eq!(role, if is_link(path) { "targets/releases" } else { "targets" }, "{path}");
        assert!(on_disk.contains_key(path));
        reached += 1;
        for key in custom["in-toto"].as_array().into_iter().flatten() {
            let (role, _) = find(&files, key.as_str().unwrap()).unwrap();
            assert_eq!(role, "targets", "a key counts only where offline keys vouch for it");
            reached += 1;
        }
    }
    assert_eq!(reached, on_disk.len());
    // Who holds the key of releases cannot vouch for a layout or a key of his own.
    let mut thief = releases();
    let own = format!("{NAME}/in-toto-pubkeys/{}.pub", SimKey::new(99).public().key_id());
    thief["targets"][&own] = target(b"key");
    thief["targets"][format!("{NAME}/in-toto-metadata/other.layout")] = target(b"layout");
    let files = repository(&with_layout(&literal_paths()), Some(&thief));
    assert_eq!(find(&files, &own), None);
    assert_eq!(find(&files, &format!("{NAME}/in-toto-metadata/other.layout")), None);
}

/// A digest is no tag: `*` stays within a segment, and neither of 301's patterns has an `@`. bulla delegates a third one.
#[test]
fn the_literal_paths_do_not_reach_a_digest() {
    let by_digest = format!("{NAME}@{}", Digest::sha256(BUNDLE));
    let mut listed = releases();
    listed["targets"][&by_digest] = target(BUNDLE);
    let files = vector("digest", &repository(&with_layout(&literal_paths()), Some(&listed)));
    assert!(find(&files, &format!("{NAME}:latest")).is_some());
    assert_eq!(find(&files, &by_digest), None);
    let collection: bulla::tuf::CollectionName = NAME.parse().unwrap();
    let three = collection.release_patterns();
    assert!(literal_paths().iter().all(|p| three.contains(p)), "{three:?}");
    let files = repository(&with_layout(&three), Some(&listed));
    assert_eq!(find(&files, &by_digest).map(|(role, _)| role).as_deref(), Some("targets/releases"));
    // The delegation of earlier drafts was for another name, and reached nothing.
    let draft = ["example.com/example/example-image:*".to_owned()];
    let files = repository(&with_layout(&draft), Some(&releases()));
    assert_eq!(find(&files, &format!("{NAME}:latest")), None);
}

/// What the listings leave out is needed: each alone makes the file no TUF metadata.
#[test]
fn the_listings_as_they_stand_are_no_metadata() {
    let code = |files: &Files| judge(files, None).map(|_| ()).map_err(|e| Code::from(&e));
    let with = |change: fn(&mut Value)| {
        let mut targets = with_layout(&literal_paths());
        change(&mut targets);
        code(&repository(&targets, Some(&releases())))
    };
    assert_eq!(with(|_| ()), Ok(()));
    assert_eq!(with(|t| t["delegations"] = json!({})), Err(Code::TufFormat));
    let terminating = |t: &mut Value| {
        drop(t["delegations"]["roles"][0].as_object_mut().unwrap().remove("terminating"));
    };
    assert_eq!(with(terminating), Err(Code::TufFormat));
    // Signatures are a list, not an object.
    let files = repository(&minimal(), None);
    let name = FileName::versioned(RoleName::targets(), Version::ONE);
    let mut document: Value = serde_json::from_slice(files.get(&name).unwrap()).unwrap();
    document["signatures"] = json!({});
    let bytes = Bytes::from(document.to_string());
    let read = bulla::tuf::Unverified::<bulla::tuf::Targets>::parse(
        &RoleName::targets(),
        &bytes,
        &Limits::default(),
    );
    assert_eq!(read.map(|_| ()).map_err(|e| Code::from(&e)), Err(Code::TufFormat));
    // A collection of bulla's is more than that: its files say whose they are.
    assert_eq!(judge(&files, Some(NAME)).map(|_| ()).map_err(|e| Code::from(&e)), Err(Code::TufCollection));
}
