//! A walk over what lies somewhere that shares no code with bulla: raw JSON, and files or the registry's own store.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::registry::{Registry as Server, sha256};

/// Somewhere bundles lie.
pub(crate) trait Place {
    /// The bytes under a digest.
    fn bytes(&self, digest: &str) -> Option<Vec<u8>>;
    /// Tags with what they name; lists of referrers are no tags.
    fn tags(&self) -> BTreeMap<String, String>;
    /// What is listed as referring to `subject`, in every form in which readers of this place look for it.
    fn listed(&self, subject: &str) -> BTreeSet<String>;
    /// The digests of all manifests.
    fn manifests(&self) -> Vec<String>;
}

/// A repository of the test registry.
pub(crate) struct AtRegistry<'a>(pub(crate) &'a Server, pub(crate) &'a str);

/// An OCI layout.
pub(crate) struct AtLayout(pub(crate) PathBuf);

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_default()
}

fn digests(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|d| d["digest"].as_str()).map(str::to_owned).collect()
}

fn list_tag(subject: &str) -> String {
    subject.replace(':', "-")
}

fn is_list(tag: &str) -> bool {
    tag.strip_prefix("sha256-").is_some_and(|hex| hex.len() == 64)
}

impl Place for AtRegistry<'_> {
    fn bytes(&self, digest: &str) -> Option<Vec<u8>> {
        let manifest = self.0.manifest(self.1, digest).map(|(_, _, bytes)| bytes.to_vec());
        manifest.or_else(|| self.0.blob(self.1, digest).map(|b| b.to_vec()))
    }

    fn tags(&self) -> BTreeMap<String, String> {
        self.0.tags(self.1).into_iter().filter(|(tag, _)| !is_list(tag)).collect()
    }

    fn listed(&self, subject: &str) -> BTreeSet<String> {
        let mut no_api = false;
        self.0.quirks(|q| no_api = q.no_referrers_api);
        match no_api {
            false => self.0.referrers(self.1, subject).into_iter().collect(),
            true => {
                let list = self.0.manifest(self.1, &list_tag(subject));
                list.map(|(_, _, bytes)| digests(&json(&bytes)["manifests"])).into_iter().flatten().collect()
            }
        }
    }

    fn manifests(&self) -> Vec<String> {
        self.0.store(|s| s.repo(self.1).order.clone())
    }
}

impl AtLayout {
    fn index(&self) -> Value {
        fs::read(self.0.join("index.json")).map(|b| json(&b)).unwrap_or_default()
    }

    fn entries(&self) -> Vec<(Option<String>, String)> {
        let index = self.index();
        let entry = |d: &Value| {
            let tag = d["annotations"]["org.opencontainers.image.ref.name"].as_str().map(str::to_owned);
            Some((tag, d["digest"].as_str()?.to_owned()))
        };
        index["manifests"].as_array().into_iter().flatten().filter_map(entry).collect()
    }

    /// What a reader would trip over: no marker, no readable index, an entry whose closure is not whole, a file that has
    /// not the digest of its name.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut found = Vec::new();
        match fs::read(self.0.join("oci-layout")) {
            Ok(bytes) if json(&bytes)["imageLayoutVersion"].is_string() => {}
            other => found.push(format!("oci-layout: {other:?}")),
        }
        if !self.index()["manifests"].is_array() {
            found.push("index.json cannot be read".into());
        }
        for (tag, digest) in self.entries() {
            let missing = closure(self, &digest).1;
            found.extend(missing.into_iter().map(|m| format!("entry {digest} ({tag:?}): {m}")));
        }
        for file in fs::read_dir(self.0.join("blobs/sha256")).into_iter().flatten().flatten() {
            let name = file.file_name().into_string().unwrap_or_default();
            if name.starts_with('.') {
                continue;
            }
            if fs::read(file.path()).is_ok_and(|b| sha256(&b) != format!("sha256:{name}")) {
                found.push(format!("blobs/sha256/{name} holds something else"));
            }
        }
        found
    }
}

/// The files of a tar archive, which bulla writes with short names and no extensions of the format, into a folder.
pub(crate) fn unpack(archive: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let bytes = fs::read(archive).unwrap_or_default();
    let text = |field: &[u8]| String::from_utf8_lossy(field).trim_matches(['\0', ' ']).to_owned();
    let mut at = 0;
    while let Some(header) = bytes.get(at..at + 512).filter(|h| h.iter().any(|b| *b != 0)) {
        let size = usize::from_str_radix(&text(&header[124..136]), 8).unwrap();
        let path = to.join(text(&header[..100]));
        if matches!(header[156], b'0' | 0) {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &bytes[at + 512..at + 512 + size]).unwrap();
        }
        at += 512 + size.div_ceil(512) * 512;
    }
}

impl Place for AtLayout {
    fn bytes(&self, digest: &str) -> Option<Vec<u8>> {
        fs::read(self.0.join("blobs").join(digest.replace(':', "/"))).ok()
    }

    fn tags(&self) -> BTreeMap<String, String> {
        let tagged = self.entries().into_iter().filter_map(|(tag, digest)| Some((tag?, digest)));
        tagged.filter(|(tag, _)| !is_list(tag)).collect()
    }

    /// As oras looks (an entry of its own) and as regctl looks (the list at the referrers tag): both must show it.
    fn listed(&self, subject: &str) -> BTreeSet<String> {
        let entries = self.entries();
        let refers = |d: &String| {
            self.bytes(d).is_some_and(|b| json(&b)["subject"]["digest"].as_str() == Some(subject))
        };
        let own: BTreeSet<String> = entries.iter().map(|(_, d)| d.clone()).filter(refers).collect();
        let list = entries.iter().find(|(tag, _)| tag.as_deref() == Some(&list_tag(subject)));
        let list = list.and_then(|(_, digest)| self.bytes(digest)).unwrap_or_default();
        let list: BTreeSet<String> = digests(&json(&list)["manifests"]).into_iter().collect();
        own.intersection(&list).cloned().collect()
    }

    fn manifests(&self) -> Vec<String> {
        self.entries().into_iter().map(|(_, d)| d).collect()
    }
}

/// The digests that a manifest needs, itself included, and what of that is not there or is something else.
fn closure(place: &impl Place, digest: &str) -> (BTreeSet<String>, Vec<String>) {
    let (mut seen, mut missing) = (BTreeSet::new(), Vec::new());
    let mut open = vec![(digest.to_owned(), true)];
    while let Some((digest, manifest)) = open.pop() {
        if !seen.insert(digest.clone()) {
            continue;
        }
        match place.bytes(&digest) {
            None => missing.push(format!("{digest} is not there")),
            Some(bytes) if sha256(&bytes) != digest => missing.push(format!("{digest} holds something else")),
            Some(bytes) if manifest => {
                let doc = json(&bytes);
                open.extend(digests(&doc["manifests"]).into_iter().map(|d| (d, true)));
                open.extend(digests(&doc["layers"]).into_iter().map(|d| (d, false)));
                open.extend(doc["config"]["digest"].as_str().map(|d| (d.to_owned(), false)));
            }
            Some(_) => {}
        }
    }
    (seen, missing)
}

/// What no tag and no bundle leads to, over children, blobs and referrers: what a garbage collection would take. A bundle is
/// whatever is not of bulla's own making, whether a tag names it or not.
pub(crate) fn left_behind(server: &Server, repo: &str) -> BTreeSet<String> {
    let at = AtRegistry(server, repo);
    let mut reached = BTreeSet::new();
    let mut open: Vec<String> = server.tags(repo).into_iter().map(|(_, digest)| digest).collect();
    let bundle = |d: &String| {
        let doc = json(&at.bytes(d).unwrap_or_default());
        !doc["artifactType"].as_str().is_some_and(|t| t.starts_with("application/vnd.bulla."))
    };
    open.extend(at.manifests().into_iter().filter(bundle));
    while let Some(digest) = open.pop() {
        let (content, _) = closure(&at, &digest);
        for at_digest in content {
            if reached.insert(at_digest.clone()) {
                open.extend(at.listed(&at_digest));
            }
        }
    }
    let blobs: Vec<String> = server.store(|s| s.repo(repo).blobs.keys().cloned().collect());
    at.manifests().into_iter().chain(blobs).filter(|d| !reached.contains(d)).collect()
}

/// What must be wherever a bundle was copied to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Whole {
    /// Manifests and blobs.
    pub(crate) content: BTreeSet<String>,
    /// Referrers by subject.
    pub(crate) referrers: BTreeMap<String, BTreeSet<String>>,
    /// The bundle's tags: they appear when all is there.
    pub(crate) tags: BTreeMap<String, String>,
    /// Further tags: a state, cosign's signatures.
    pub(crate) beside: BTreeMap<String, String>,
}

impl Whole {
    /// What hangs on the bundle at `tag`, and what is tagged beside it.
    pub(crate) fn of(place: &impl Place, tag: &str, beside: &[&str]) -> Self {
        let tags = place.tags();
        let pick = |tag: &str| (tag.to_owned(), tags[tag].clone());
        let mut whole = Self {
            tags: BTreeMap::from([pick(tag)]),
            beside: beside.iter().map(|t| pick(t)).collect(),
            ..Self::default()
        };
        let referring: Vec<(String, String)> = place
            .manifests()
            .into_iter()
            .filter_map(|d| Some((json(&place.bytes(&d)?)["subject"]["digest"].as_str()?.to_owned(), d)))
            .collect();
        let mut open: Vec<String> = whole.tags.values().chain(whole.beside.values()).cloned().collect();
        while let Some(digest) = open.pop() {
            let (content, missing) = closure(place, &digest);
            assert!(missing.is_empty(), "the source itself is not whole: {missing:?}");
            for at in &content {
                for (_, referrer) in referring.iter().filter(|(subject, _)| subject == at) {
                    if whole.referrers.entry(at.clone()).or_default().insert(referrer.clone()) {
                        open.push(referrer.clone());
                    }
                }
            }
            whole.content.extend(content);
        }
        whole
    }

    /// The same bundle under another tag.
    pub(crate) fn tagged(mut self, tag: &str) -> Self {
        self.tags = self.tags.into_values().map(|digest| (tag.to_owned(), digest)).collect();
        self
    }

    /// What of it is not at `place`. Nothing: the copy is complete.
    pub(crate) fn missing(&self, place: &impl Place) -> Vec<String> {
        let tags = place.tags();
        let wanted = self.tags.iter().chain(&self.beside);
        let tags = wanted
            .filter(|(tag, digest)| tags.get(*tag) != Some(digest))
            .map(|(tag, _)| format!("tag {tag}"));
        tags.chain(self.missing_content(place)).collect()
    }

    /// What a reader of a tag at `place` does not find: the bundle's tags promise everything, the others themselves.
    pub(crate) fn half(&self, place: &impl Place) -> Vec<String> {
        let tags = place.tags();
        let shown = |(tag, digest): &(&String, &String)| tags.get(*tag) == Some(*digest);
        let mut found = Vec::new();
        if self.tags.iter().any(|t| shown(&t)) {
            found.extend(self.missing(place));
        }
        for (tag, digest) in self.beside.iter().filter(shown) {
            found.extend(closure(place, digest).1.into_iter().map(|m| format!("tag {tag}: {m}")));
        }
        found
    }

    fn missing_content(&self, place: &impl Place) -> Vec<String> {
        let holds = |d: &String| place.bytes(d).is_some_and(|b| sha256(&b) == *d);
        let mut found: Vec<String> = self.content.iter().filter(|d| !holds(d)).cloned().collect();
        for (subject, referrers) in &self.referrers {
            let listed = place.listed(subject);
            found.extend(referrers.difference(&listed).map(|r| format!("{r} is not listed under {subject}")));
        }
        found
    }
}
