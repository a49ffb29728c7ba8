//! No changed byte of a published state or seal leads to trust in another digest, collection or version. Every byte of the files,
//! of both manifests and of the bundle is changed in several ways; what still verifies must be the same bundle, of the same
//! collection, at the same versions, and stands in a place that docs/formats.md lists as signed by nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use bulla::client::known::Known;
use bulla::client::state::{self, Kind};
use bulla::oci::{Content, Descriptor, Manifest, Repository, media_type};
use bulla::store::memory::MemoryStore;
use bulla::store::{Manage, Store};
use bulla::trust::{Anchor, Code, Report, Scope, StateAnswer, Verdict};
use bulla::tuf::{CollectionName, FileName, Files, Remembered};
use bytes::Bytes;
use serde_json::Value;

use super::judged::judge;
use super::soak;
use super::states::vectors::{self, BUNDLE, COLLECTION, LIST};
use super::states::world::{Changes, NOW};

/// The changes of one byte: a bit, the letter's case, nothing, the next digit or letter.
const CHANGES: [fn(u8) -> u8; 4] = [|b| b ^ 1, |b| b ^ 0x20, |_| 0, |b| b.wrapping_add(1)];

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

impl Ground {
    fn new() -> Self {
        let served = vectors::honest().serve(&Changes::default());
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

/// Where each byte of a JSON document stands: a pointer (RFC 6901) with a file's name, or `*`, for the place in a list. A byte of a
/// member's name counts to the member.
fn places(document: &[u8]) -> Vec<String> {
    let value: Value = serde_json::from_slice(document).unwrap();
    let mut scanner = Scanner { bytes: document, at: 0, out: vec![String::new(); document.len()] };
    scanner.value("", &value);
    assert_eq!(scanner.at, document.len());
    scanner.out
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    out: Vec<String>,
}

impl Scanner<'_> {
    fn mark(&mut self, n: usize, path: &str) {
        for place in &mut self.out[self.at..self.at + n] {
            path.clone_into(place);
        }
        self.at += n;
    }

    /// A string, as it stands there.
    fn string(&mut self, path: &str) -> String {
        let start = self.at;
        let mut end = start + 1;
        while self.bytes[end] != b'"' {
            end += if self.bytes[end] == b'\\' { 2 } else { 1 };
        }
        let text: String = serde_json::from_slice(&self.bytes[start..=end]).unwrap();
        let path = if path.is_empty() { text.clone() } else { path.to_owned() };
        self.mark(end + 1 - start, &path);
        text
    }

    fn value(&mut self, path: &str, value: &Value) {
        match value {
            Value::Object(map) => {
                self.mark(1, path);
                for _ in 0..map.len() {
                    let start = self.at;
                    let name = self.string("?");
                    let inner = format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"));
                    let length = self.at + 1 - start;
                    self.at = start;
                    self.mark(length, &inner);
                    self.value(&inner, &map[&name]);
                    self.mark(1, path);
                }
                if map.is_empty() {
                    self.mark(1, path);
                }
            }
            Value::Array(list) => {
                self.mark(1, path);
                for element in list {
                    let named = element["annotations"][state::FILENAME].as_str();
                    let inner =
                        format!("{path}/{}", named.map_or("*", |n| n.rsplit('/').next().unwrap_or(n)));
                    self.value(&inner, element);
                    self.mark(1, path);
                }
                if list.is_empty() {
                    self.mark(1, path);
                }
            }
            Value::String(_) => drop(self.string(path)),
            other => self.mark(other.to_string().len(), path),
        }
    }
}

/// Changed forms of `bytes` with the place of the change. The long round changes every byte in every way. The short one takes each
/// `step`th byte, where `step` may depend on the place, and the ways in turn.
fn changed<'a>(
    bytes: &'a [u8],
    step: impl Fn(usize) -> usize + 'a,
) -> impl Iterator<Item = (usize, Vec<u8>)> + 'a {
    let long = soak::long();
    let wanted = move |at: &usize| long || at.is_multiple_of(step(*at));
    (0..bytes.len()).filter(wanted).enumerate().flat_map(move |(turn, at)| {
        let forms: BTreeSet<u8> = CHANGES.iter().map(|c| c(bytes[at])).filter(|b| *b != bytes[at]).collect();
        assert!(forms.len() >= 3);
        let only = (!long).then_some(turn % forms.len());
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
        // A change that fails in the metadata fails there for every bundle; the long round asks all the same.
        let code = report.because().map(|c| c.code.as_str()).unwrap_or_default();
        let early = ["tuf.", "state.", "seal.", "anchor."].iter().any(|stem| code.starts_with(stem));
        if trusted || !early || soak::long() {
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
        // One turn of changes does not meet every place where some change makes no difference.
        let differs: Vec<_> = match soak::long() {
            true => self.unsigned.symmetric_difference(listed).collect(),
            false => self.unsigned.difference(listed).collect(),
        };
        soak::report(&format!(
            "bytes   {what}: listed and not met {:?}",
            listed.difference(&self.unsigned).collect::<Vec<_>>()
        ));
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

/// The files of the state, one by one: whoever serves a state can make a manifest of whatever files.
fn every_byte_of(files: &[(String, Bytes)]) -> Counted {
    let mut counted = Counted::default();
    let g = &*GROUND;
    for (file, bytes) in files {
        // The anchor brings the first root: that of the state is not looked at.
        let first = file == "1.root.json";
        let places = if first { vec![String::new(); bytes.len()] } else { places(bytes) };
        for (at, bytes) in changed(bytes, |_| 8) {
            let mut files = g.files.clone();
            match file.parse::<FileName>() {
                Ok(file) => files.put(file, bytes.into()),
                Err(_) => files.put_target(file.clone(), bytes.into()),
            }
            counted.judge(file, &places[at], &StateAnswer::Found(files), &Ok(Files::new()));
        }
    }
    counted
}

fn files(which: impl Fn(&str) -> bool) -> Vec<(String, Bytes)> {
    let metadata = GROUND.files.metadata().iter().map(|(n, b)| (n.to_string(), b.clone()));
    let targets = GROUND.files.targets().iter().map(|(n, b)| (n.clone(), b.clone()));
    metadata.chain(targets).filter(|(name, _)| which(name)).collect()
}

#[test]
fn every_byte_of_roots() {
    let of = |name: &str| name.contains("root");
    let listed = listed("file").into_iter().filter(|l| of(l)).collect();
    every_byte_of(&files(of)).end("roots", &listed);
}

#[test]
fn every_byte_of_what_is_below_the_root() {
    let of = |name: &str| !name.contains("root");
    let listed = listed("file").into_iter().filter(|l| of(l)).collect();
    every_byte_of(&files(of)).end("files below the root", &listed);
}

/// The manifest of a state or seal: what is read of the changed one is judged. Where that is what an honest one holds, the answer
/// is the honest one, because the verification sees nothing else.
async fn every_byte_of_a_manifest(kind: Kind) -> Counted {
    let g = &*GROUND;
    let repository: Repository = COLLECTION.parse().unwrap();
    let store = MemoryStore::new(repository);
    let subject = (kind == Kind::Seal).then_some(&g.bundle);
    let packed = state::pack(kind, &g.files, subject);
    let store: &dyn Manage = &store;
    Known::new(store).push_blobs(&packed).await.unwrap();
    let document = packed.manifest.bytes();
    let places = places(document);
    let mut counted = Counted::default();
    let mut kept: BTreeMap<String, usize> = BTreeMap::new();
    // What is embedded is most of it, and no matter: the digest decides.
    let step = |at: usize| if places[at].ends_with("/data") { 97 } else { 5 };
    for (at, bytes) in changed(document, step) {
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
    for (at, bytes) in changed(BUNDLE, |_| 4) {
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
        for (_, bytes) in changed(&bytes, |_| 64) {
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
