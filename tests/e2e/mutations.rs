//! No changed byte of a published state or seal leads to trust in another digest, collection or version. Every byte of the files,
//! of both manifests and of the bundle is changed in several ways; what still verifies must be the same bundle, of the same
//! collection, at the same versions, and stands in a place that docs/formats.md lists as signed by nobody. And whatever is listed
//! there makes no difference: the list is neither too short nor too long.

mod places;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use bulla::client::history::History;
use bulla::client::known::Known;
use bulla::client::state::{self, Kind};
use bulla::oci::{Content, Descriptor, Manifest, Repository, media_type};
use bulla::store::memory::MemoryStore;
use bulla::store::{Manage, Store};
use bulla::trust::{Anchor, Code, Report, Scope, StateAnswer, Verdict};
use bulla::tuf::{CollectionName, FileName, Files, Remembered};
use bytes::Bytes;

use super::judged::judge;
use super::soak;
use super::states::vectors::{self, BUNDLE, COLLECTION, LIST, ONLINE, TARGETS};
use super::states::world::{Changes, NOW, World, keys_object, role};
use places::places;

/// The changes of one byte: a bit, the letter's case, nothing, the next digit or letter.
const CHANGES: [fn(u8) -> u8; 4] = [|b| b ^ 1, |b| b ^ 0x20, |_| 0, |b| b.wrapping_add(1)];
/// More of them, for the long round: every other bit, the end of a string, of a name, of an object, white space, a digit.
const MORE: [fn(u8) -> u8; 12] = [
    |b| b ^ 2,
    |b| b ^ 4,
    |b| b ^ 8,
    |b| b ^ 0x10,
    |b| b ^ 0x40,
    |b| b ^ 0x80,
    |_| b'"',
    |_| b',',
    |_| b'}',
    |_| b' ',
    |_| b'9',
    |_| b'\\',
];

/// A collection, its honest state, and who looks.
struct Ground {
    anchor: Anchor,
    files: Files,
    bundle: Descriptor,
    evil: Descriptor,
    /// What a trusted report says.
    honest: String,
}

static GROUND: LazyLock<Ground> = LazyLock::new(Ground::new);

fn name() -> CollectionName {
    COLLECTION.parse().unwrap()
}

/// An honest state of few keys: the root has one, and so have timestamp and snapshot together.
fn small() -> World {
    let mut world = vectors::honest();
    for root in &mut world.roots {
        root.signed["keys"] = keys_object([0, ONLINE, TARGETS]);
        root.signed["roles"]["root"] = role(&[0], 1);
        root.signed["roles"]["snapshot"] = role(&[ONLINE], 1);
        root.by = vec![0];
    }
    world.snapshot.by = vec![ONLINE];
    world
}

impl Ground {
    fn new() -> Self {
        let served = small().serve(&Changes::default());
        let mut files = Files::new();
        for (file, bytes) in &served {
            if let Ok(file) = file.parse::<FileName>() {
                files.put(file, Bytes::copy_from_slice(bytes));
            }
        }
        let [.., list] = vectors::paths();
        files.put_target(list, Bytes::from_static(LIST));
        let scope = Scope::Repository(name().as_repository().clone());
        let mut ground = Self {
            anchor: Anchor::tuf(scope, name(), served["1.root.json"].clone().into(), vec![]),
            files,
            bundle: Descriptor::of(media_type::OCI_MANIFEST, BUNDLE),
            evil: Descriptor::of(media_type::OCI_MANIFEST, &[b'x'; BUNDLE.len()]),
            honest: String::new(),
        };
        let report = ground.verify(&ground.files, &ground.bundle, false, None).0;
        assert_eq!(report.verdict(), Verdict::Trusted, "{report:#?}");
        ground.honest = facts(&report);
        ground
    }

    /// Judge a bundle by its tag or digest under this live state.
    fn verify(
        &self,
        files: &Files,
        bundle: &Descriptor,
        by_digest: bool,
        memory: Option<&Remembered>,
    ) -> (Report, Option<Remembered>) {
        let state = StateAnswer::Found(files.clone());
        self.judge(&state, &Ok(Files::new()), bundle, by_digest, memory)
    }

    fn judge(
        &self,
        state: &StateAnswer,
        seal: &Result<Files, String>,
        bundle: &Descriptor,
        by_digest: bool,
        memory: Option<&Remembered>,
    ) -> (Report, Option<Remembered>) {
        judge(&self.anchor, state, seal, bundle, by_digest, memory, NOW)
    }
}

/// The version of the root under which it was judged.
fn root_version(report: &Report) -> u64 {
    let root = report.anchors[0].checks.iter().find(|c| c.code == Code::TufRoot);
    root.and_then(|c| c.data["version"].as_u64()).unwrap()
}

/// What must not change: digest, collection, time of signing, and the version of every role below the root that was checked.
fn facts(report: &Report) -> String {
    let anchor = &report.anchors[0];
    let versions: Vec<String> = anchor
        .checks
        .iter()
        .filter(|c| {
            matches!(c.code, Code::TufTimestamp | Code::TufSnapshot | Code::TufTargets | Code::TufDelegation)
        })
        .map(|c| format!("{} {}", c.code, c.detail))
        .collect();
    format!("{:?} {} {:?} {versions:?}", report.digest, anchor.collection, anchor.as_of)
}

/// How often each byte is changed.
#[derive(Clone, Copy, PartialEq)]
enum Ways {
    /// In every way.
    All,
    /// In one way, by turns; in the long round in every way.
    InTurn,
}

/// Every byte, changed.
fn changed(bytes: &[u8], ways: Ways) -> impl Iterator<Item = (usize, Vec<u8>)> {
    changed_by(bytes, move |_| ways)
}

/// Every byte, changed in the ways of its place.
fn changed_by(bytes: &[u8], ways: impl Fn(usize) -> Ways) -> impl Iterator<Item = (usize, Vec<u8>)> {
    (0..bytes.len()).flat_map(move |at| {
        let all = ways(at) == Ways::All || soak::long();
        let more = soak::of(&[][..], &MORE);
        let forms = CHANGES.iter().chain(more).map(|c| c(bytes[at])).filter(|b| *b != bytes[at]);
        let forms: BTreeSet<u8> = forms.collect();
        assert!(forms.len() >= 3);
        let only = (!all).then_some(at % forms.len());
        let forms = forms.into_iter().enumerate().filter(move |(i, _)| only.is_none_or(|o| o == *i));
        forms.map(move |(_, form)| {
            let mut out = bytes.to_vec();
            out[at] = form;
            (at, out)
        })
    })
}

/// What a run of changes came to.
#[derive(Default)]
struct Counted {
    changes: usize,
    trusted: usize,
    /// Places of changes that made no difference.
    unsigned: BTreeSet<String>,
    wrong: Vec<String>,
}

impl Counted {
    /// Judge one changed state or seal: the honest bundle, and one that nobody released.
    fn judge(&mut self, what: &str, place: &str, state: &StateAnswer, seal: &Result<Files, String>) {
        let g = &*GROUND;
        self.changes += 1;
        let (report, remembered) = g.judge(state, seal, &g.bundle, false, None);
        let trusted = report.verdict() == Verdict::Trusted;
        if trusted {
            self.trusted += 1;
            self.unsigned.insert(format!("{what}{place}"));
            // Whoever takes the last root away leaves the one before, by whose keys all of this must be signed too.
            let withheld = place.starts_with("/layers/2.root.json/");
            if root_version(&report) != if withheld { 1 } else { 2 } {
                self.wrong.push(format!("{what}{place}: root {}", root_version(&report)));
            }
            if facts(&report) != g.honest {
                self.wrong.push(format!("{what}{place}: {} and not {}", facts(&report), g.honest));
            }
        }
        // A change that fails in the metadata fails there for every bundle, and one that is never looked at shows every bundle what
        // it is; a few of them and the long round ask all the same.
        let code = report.because().map(|c| c.code.as_str()).unwrap_or_default();
        let early = ["tuf.", "state.", "seal.", "anchor."].iter().any(|stem| code.starts_with(stem));
        let unseen = what == "1.root.json";
        if !(early || unseen) || self.changes.is_multiple_of(64) || soak::long() {
            for by_digest in [false, true] {
                let (report, _) = g.judge(state, seal, &g.evil, by_digest, remembered.as_ref());
                if report.verdict() == Verdict::Trusted {
                    self.wrong.push(format!("{what}{place}: another bundle is trusted"));
                }
            }
        }
    }

    fn end(self, what: &str, listed: &BTreeSet<String>) {
        soak::report(&format!(
            "bytes   {what}: {} changes, {} make no difference, at {} places; wrong: {}",
            self.changes,
            self.trusted,
            self.unsigned.len(),
            self.wrong.len()
        ));
        assert!(self.wrong.is_empty(), "{} wrong\n{}", self.wrong.len(), self.wrong.join("\n"));
        let differs: Vec<_> = self.unsigned.symmetric_difference(listed).collect();
        assert!(
            differs.is_empty(),
            "docs/formats.md lists these and they are signed, or the reverse: {differs:#?}"
        );
    }
}

/// What docs/formats.md says is signed by nobody: the first column of the table, by kind.
fn listed(kind: &str) -> BTreeSet<String> {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/formats.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, section) = page.split_once("## What nobody signs").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|l| l.starts_with(&format!("| {kind} |")));
    rows.flat_map(|row| {
        let places: Vec<String> =
            row.split('|').nth(2).unwrap().split('`').skip(1).step_by(2).map(str::to_owned).collect();
        places
    })
    .collect()
}

/// The files of a state or seal, one by one: whoever serves one can make a manifest of whatever files.
fn every_byte_of(kind: Kind, ways: Ways, files: &[(String, Bytes)]) -> Counted {
    let mut counted = Counted::default();
    let g = &*GROUND;
    for (file, bytes) in files {
        // The anchor brings the first root: that of the state is not looked at.
        let first = file == "1.root.json";
        let places = if first { vec![String::new(); bytes.len()] } else { places(bytes) };
        for (at, bytes) in changed(bytes, ways) {
            let mut files = g.files.clone();
            match file.parse::<FileName>() {
                Ok(file) => files.put(file, bytes.into()),
                Err(_) => files.put_target(file.clone(), bytes.into()),
            }
            let (state, seal) = match kind {
                Kind::Seal => (StateAnswer::Absent, Ok(files)),
                _ => (StateAnswer::Found(files), Ok(Files::new())),
            };
            counted.judge(file, &places[at], &state, &seal);
        }
    }
    counted
}

fn files(which: impl Fn(&str) -> bool) -> Vec<(String, Bytes)> {
    let metadata = GROUND.files.metadata().iter().map(|(n, b)| (n.to_string(), b.clone()));
    let targets = GROUND.files.targets().iter().map(|(n, b)| (n.clone(), b.clone()));
    metadata.chain(targets).filter(|(name, _)| which(name)).collect()
}

fn listed_of(which: impl Fn(&str) -> bool) -> BTreeSet<String> {
    listed("file").into_iter().filter(|l| which(l)).collect()
}

#[test]
fn every_byte_of_the_first_root() {
    let of = |name: &str| name.starts_with("1.root");
    every_byte_of(Kind::State, Ways::InTurn, &files(of)).end("the first root", &listed_of(of));
}

#[test]
fn every_byte_of_the_last_root() {
    let of = |name: &str| name.starts_with("2.root");
    every_byte_of(Kind::State, Ways::All, &files(of)).end("the last root", &listed_of(of));
}

#[test]
fn every_byte_of_what_is_below_the_root() {
    let of = |name: &str| !name.contains("root");
    every_byte_of(Kind::State, Ways::All, &files(of)).end("files below the root", &listed_of(of));
}

/// A seal holds the same files. It is judged by the same rules, so one change a byte does here.
#[test]
fn every_byte_of_the_files_of_a_seal() {
    let of = |name: &str| name != "1.root.json";
    every_byte_of(Kind::Seal, Ways::InTurn, &files(of)).end("files of a seal", &listed_of(of));
}

/// An earlier version of a role file, as a committer leaves it among the layers of a state.
fn earlier() -> History {
    let mut earlier = small();
    earlier.roles.get_mut("targets/releases").unwrap().signed["version"] = 4.into();
    let served = earlier.serve(&Changes::default());
    let (name, bytes) = served.iter().find(|(name, _)| name.starts_with("4.targets%2Freleases")).unwrap();
    let mut history = History::default();
    history.add(name.parse().unwrap(), &Bytes::copy_from_slice(bytes));
    history
}

/// The manifest of a state or seal: what is read of the changed one is judged. Where that is what an honest one holds, the answer
/// is the honest one, because the verification sees nothing else.
async fn every_byte_of_a_manifest(kind: Kind) -> Counted {
    let g = &*GROUND;
    let repository: Repository = COLLECTION.parse().unwrap();
    let store = MemoryStore::new(repository);
    let subject = (kind == Kind::Seal).then_some(&g.bundle);
    let packed = match kind {
        Kind::State => state::pack_state(&g.files, &earlier()),
        _ => state::pack(kind, &g.files, subject),
    };
    let store: &dyn Manage = &store;
    Known::new(store).push_blobs(&packed).await.unwrap();
    let document = packed.manifest.bytes();
    let places = places(document);
    let mut counted = Counted::default();
    let (mut kept, mut unreadable) = (BTreeMap::<String, usize>::new(), BTreeSet::new());
    // Of what is embedded the digest decides: the ways in turn.
    let ways = |at: usize| if places[at].ends_with("/data") { Ways::InTurn } else { Ways::All };
    for (at, bytes) in changed_by(document, ways) {
        let manifest = Content::new(media_type::OCI_MANIFEST, bytes);
        let read = state::read(store as &dyn Store, &manifest, kind).await.map(|read| read.files);
        // As the driver of `verify` does it.
        let read = read.map_err(|e| e.to_string()).and_then(|files| {
            let refers = Manifest::parse(&manifest).ok().and_then(|m| m.subject).map(|s| s.digest);
            let right = kind != Kind::Seal || refers.as_ref() == Some(&g.bundle.digest);
            if right { Ok(files) } else { Err("it does not refer to this bundle".to_owned()) }
        });
        let place = match places[at].strip_suffix("/data").filter(|p| p.starts_with("/layers/")) {
            Some(_) => "/layers/*/data".to_owned(),
            None => places[at].clone(),
        };
        if read.as_ref() == Ok(&g.files) {
            counted.changes += 1;
            counted.trusted += 1;
            counted.unsigned.insert(place.clone());
            *kept.entry(place).or_default() += 1;
            continue;
        }
        let (state, seal) = match (kind, read) {
            (Kind::Seal, seal) => (StateAnswer::Absent, seal),
            (_, Ok(files)) => (StateAnswer::Found(files), Ok(Files::new())),
            (_, Err(why)) => (StateAnswer::Invalid(why), Err("none".to_owned())),
        };
        // What cannot be read is no file that could be judged, whatever the reason: once for each place will do.
        let unread = matches!(state, StateAnswer::Invalid(_)) || seal.is_err() && kind == Kind::Seal;
        if unread && !soak::long() && !unreadable.insert(place.clone()) {
            counted.changes += 1;
            continue;
        }
        counted.judge("", &place, &state, &seal);
    }
    assert!(!kept.is_empty());
    counted
}

#[tokio::test]
async fn every_byte_of_the_manifest_of_a_state() {
    every_byte_of_a_manifest(Kind::State).await.end("manifest of a state", &listed("state"));
}

#[tokio::test]
async fn every_byte_of_the_manifest_of_a_seal() {
    every_byte_of_a_manifest(Kind::Seal).await.end("manifest of a seal", &listed("seal"));
}

#[test]
fn every_byte_of_the_bundle() {
    let g = &*GROUND;
    let mut n = 0;
    for (at, bytes) in changed(BUNDLE, Ways::All) {
        let bundle = Descriptor::of(media_type::OCI_MANIFEST, &bytes);
        for by_digest in [false, true] {
            let (report, _) = g.verify(&g.files, &bundle, by_digest, None);
            assert_ne!(report.verdict(), Verdict::Trusted, "byte {at}");
            n += 1;
        }
    }
    soak::report(&format!("bytes   the bundle: {n} changed ones, none trusted"));
}

/// Who remembers the honest state stays there, whatever is served.
#[test]
fn with_a_memory_no_changed_byte_moves_it() {
    let g = &*GROUND;
    let memory = g.verify(&g.files, &g.bundle, false, None).1.unwrap();
    let mut n = 0;
    for (file, bytes) in files(|name| name.parse::<FileName>().is_ok()) {
        for (_, bytes) in changed(&bytes, Ways::All).step_by(soak::of(61, 1)) {
            let mut files = g.files.clone();
            files.put(file.parse().unwrap(), bytes.into());
            let (report, after) = g.verify(&files, &g.bundle, false, Some(&memory));
            n += 1;
            assert_eq!((report.verdict(), facts(&report)), (Verdict::Trusted, g.honest.clone()), "{file}");
            assert_eq!(after.unwrap().verified_under, memory.verified_under, "{file}");
        }
    }
    soak::report(&format!("bytes   {n} changed files for one who remembers the honest state"));
}
