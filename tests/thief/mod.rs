//! A thief who holds keys of a collection: he publishes the greatest versions there are, so that nobody can follow.
#![allow(dead_code, reason = "compiled into several test binaries that each use a part of it")]

use std::collections::BTreeMap;

use bulla::client::known::Known;
use bulla::client::signing::{KeyRing, sign};
use bulla::client::state::{self, Kind};
use bulla::client::whole::{Whole, walk};
use bulla::oci::Descriptor;
use bulla::sig::{KeyId, PublicKey};
use bulla::store::Manage;
use bulla::time::UnixTime;
use bulla::tuf::proposal::{Edit, Proposal};
use bulla::tuf::{
    About, Bundle, Claim, CollectionName, Draft, Extra, FileName, FilePin, Files, Heading, Limits, RoleKeys,
    RoleName, Version,
};

/// The greatest version that a file can have.
pub(crate) fn greatest() -> Version {
    Version::new((1 << 53) - 1).unwrap()
}

/// What a thief does with the online key, and with others that he holds.
#[derive(Default)]
pub(crate) struct Deed<'a> {
    /// With the releases key: he releases this.
    pub(crate) release: Option<&'a Descriptor>,
    /// With the targets key: he lets this key sign releases.
    pub(crate) own_key: Option<PublicKey>,
}

/// Publish in the place of what lies at `store`.
pub(crate) async fn steal(
    store: &dyn Manage,
    name: &CollectionName,
    keys: &dyn KeyRing,
    now: UnixTime,
    deed: &Deed<'_>,
) {
    let read = state::fetch_state(store, name).await.unwrap().unwrap();
    let limits = Limits::default();
    let chain = walk(read.files.root(Version::ONE).unwrap(), name, &[&read.files], &limits).unwrap();
    let whole = Whole::judge(&chain, &read.files, name, now, &limits).unwrap();
    let heading = |days: i64| Heading {
        version: greatest(),
        expires: now.plus(days * 86_400),
        extra: Extra::new(name.to_string(), now),
    };
    let root = whole.trusted().root().role();
    let mut files: Files = whole.files().clone();
    let mut pins: BTreeMap<RoleName, FilePin> = whole.trusted().snapshot().role().pins().clone();
    let mut put = |role: &RoleName, bytes: bytes::Bytes| {
        pins.insert(role.clone(), FilePin::of(greatest(), &bytes));
        files.retain(|name| name.role() != role);
        files.put(FileName::versioned(role.clone(), greatest()), bytes);
    };
    let (targets, releases) = (RoleName::targets(), RoleName::releases());
    let mut releasing: RoleKeys = whole.keys(&releases).unwrap().clone();
    if let Some(own) = &deed.own_key {
        let edit = Edit::AddKey { role: releases.clone(), key: own.clone() };
        let words = bulla::tuf::proposal::About { description: String::new(), by: String::new(), at: now };
        let drafted = Proposal::new(&whole.base(name), &[edit], words).unwrap();
        let mut signed = drafted.drafts()[&targets].signed().clone();
        signed["version"] = greatest().get().into();
        let draft = Draft::from_signed(signed);
        let bytes = sign(keys, &targets, whole.keys(&targets).unwrap(), &draft).await.unwrap();
        put(&targets, bytes);
        releasing.keys.insert(own.key_id(), Some(own.clone()));
    }
    if let Some(image) = deed.release {
        let mut draft = Draft::next_of(&**whole.role(&releases).unwrap(), &heading(90));
        // He names another key than his, and an old date.
        let nobody: KeyId = "ab".repeat(32).try_into().unwrap();
        let mut about = About::new(now.plus(-86_400 * 300), nobody, image.media_type.as_str());
        about.claim = Some(Claim::Release);
        let entry = Bundle {
            digest: image.digest.clone(),
            length: image.size,
            about,
            custom: serde_json::Map::new(),
        };
        draft.edit_targets(|t| t.insert(name.release_path(&image.digest), entry.to_json()));
        let bytes = sign(keys, &releases, &releasing, &draft).await.unwrap();
        put(&releases, bytes);
    }
    let (snapshot, timestamp) = (RoleName::snapshot(), RoleName::timestamp());
    let draft = Draft::snapshot(&heading(30), &pins);
    let bytes = sign(keys, &snapshot, root.snapshot_keys(), &draft).await.unwrap();
    let pin = FilePin::of(greatest(), &bytes);
    files.retain(|name| ![&snapshot, &timestamp].contains(&name.role()));
    files.put(FileName::versioned(snapshot, greatest()), bytes);
    let draft = Draft::timestamp(&heading(7), &pin);
    let bytes = sign(keys, &timestamp, root.timestamp_keys(), &draft).await.unwrap();
    files.put(FileName::timestamp(), bytes);
    let packed = state::pack(Kind::State, &files, None);
    Known::new(store).push(&packed, Some(&name.state_tag())).await.unwrap();
}
