//! `index.json`: the entry point of an OCI layout (image-spec `image-layout.md`). Entries of other tools are kept as
//! they are, also those that cannot be read.

use serde_json::{Map, Value, json};

use crate::oci::{Descriptor, Digest, Tag, media_type, sorted_json};
use crate::store::Failure;

/// Names an entry: the tag, or with some tools a full reference (image-spec `annotations.md`).
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// cosign's own annotation on what `cosign save` wrote.
const COSIGN_KIND: &str = "kind";
const COSIGN_KINDS: &str = "dev.cosignproject.cosign/";
/// What in an entry's annotations has a meaning of its own in an `index.json`: a manifest must not bring it along.
const RESERVED: [&str; 3] = [REF_NAME, COSIGN_KIND, "io.containerd.image.name"];
/// Annotations of an entry larger than this, in bytes, are left in the manifest.
const MAX_ANNOTATION_BYTES: usize = 16 * 1024;
/// Most entries that are read.
const MAX_ENTRIES: usize = 100_000;

/// A parsed `index.json`.
#[derive(Debug, Clone)]
pub(in crate::store) struct Index {
    rest: Map<String, Value>,
    entries: Vec<Entry>,
}

/// One entry, with its text.
#[derive(Debug, Clone)]
struct Entry {
    raw: Value,
    /// `None` when it is no descriptor that bulla can check.
    descriptor: Option<Descriptor>,
}

impl Index {
    /// An index without entries.
    pub(in crate::store) fn empty() -> Self {
        let mut rest = Map::new();
        rest.insert("schemaVersion".into(), json!(2));
        rest.insert("mediaType".into(), json!(media_type::OCI_INDEX));
        Self { rest, entries: Vec::new() }
    }

    /// Read an `index.json`.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Failure> {
        let bad = |reason: String| Failure::NotALayout(format!("index.json cannot be read: {reason}"));
        let mut rest: Map<String, Value> = serde_json::from_slice(bytes).map_err(|e| bad(e.to_string()))?;
        let entries = match rest.remove("manifests") {
            Some(Value::Array(entries)) => entries,
            None | Some(Value::Null) => Vec::new(),
            Some(_) => return Err(bad("\"manifests\" is no list".into())),
        };
        if entries.len() > MAX_ENTRIES {
            let limit = format!("{MAX_ENTRIES} entries");
            return Err(Failure::TooLarge { what: "index.json".into(), limit });
        }
        Ok(Self { rest, entries: entries.into_iter().map(Entry::read).collect() })
    }

    /// The file: sorted keys, tagged entries by name, then the others by digest. The same entries give the same bytes.
    pub(in crate::store) fn to_bytes(&self) -> Vec<u8> {
        let mut entries: Vec<&Entry> = self.entries.iter().collect();
        entries.sort_by_cached_key(|e| {
            let digest = e.raw.get("digest").and_then(Value::as_str).unwrap_or_default();
            (e.name().is_none(), e.name().map(str::to_owned), digest.to_owned(), sorted_json(&e.raw))
        });
        let mut doc = self.rest.clone();
        doc.insert("manifests".into(), entries.into_iter().map(|e| e.raw.clone()).collect());
        sorted_json(&Value::Object(doc))
    }

    /// The entries that name manifests, each with its tag if it has one.
    pub(super) fn manifests(&self) -> impl Iterator<Item = (Option<&str>, &Descriptor)> {
        let listed = self.entries.iter().filter_map(|e| Some((e.tag(), e.descriptor.as_ref()?)));
        listed.filter(|(_, d)| media_type::is_manifest(&d.media_type))
    }

    /// Whether an entry has this digest.
    pub(super) fn lists(&self, digest: &Digest) -> bool {
        self.entries.iter().any(|e| e.names(digest))
    }

    /// What `tag` names: the entry of exactly this name, else those with a full reference that ends in it, else what
    /// cosign saved as the signatures, attestations or SBOMs of the one image.
    ///
    /// # Errors
    /// Two entries that differ.
    pub(super) fn lookup(&self, tag: &str) -> Result<Option<Descriptor>, Failure> {
        let exact = self.entries.iter().filter(|e| !e.is_cosign_extra() && e.name() == Some(tag));
        let full = self.entries.iter().filter(|e| e.tag() == Some(tag));
        let exact = the_one(tag, exact.filter_map(|e| e.descriptor.clone()).collect())?;
        match exact {
            Some(d) => Ok(Some(d)),
            None => match the_one(tag, full.filter_map(|e| e.descriptor.clone()).collect())? {
                Some(d) => Ok(Some(d)),
                None => {
                    let saved = self.cosign_tags().into_iter().filter(|(t, _)| t == tag);
                    the_one(tag, saved.map(|(_, d)| d).collect())
                }
            },
        }
    }

    /// All tags, sorted. Names that are no legal tags are left out.
    pub(super) fn tags(&self) -> Vec<Tag> {
        let own = self.entries.iter().filter(|e| e.descriptor.is_some()).filter_map(Entry::tag);
        let mut tags: Vec<Tag> = own.filter_map(|t| t.parse().ok()).collect();
        tags.extend(self.cosign_tags().into_iter().filter_map(|(t, _)| t.parse().ok()));
        tags.sort();
        tags.dedup();
        tags
    }

    /// Let `tag` name `entry` (made by [`listing`]). What it named before stays listed without a name,
    /// as a registry keeps it, unless that was a derived list.
    pub(super) fn set_tag(&mut self, tag: &str, entry: &Descriptor, keep_old: bool) {
        let plain = json!(entry);
        let named = json!(entry.clone().annotated(REF_NAME, tag));
        let old: Vec<Entry> = self.take(|e| e.name() == Some(tag) && !e.is_cosign_extra());
        for mut was in old {
            if was.names(&entry.digest) || !keep_old {
                continue;
            }
            was.unname();
            if was.descriptor.as_ref().is_some_and(|d| !self.lists(&d.digest)) {
                self.entries.push(was);
            }
        }
        self.take(|e| e.raw == plain);
        self.entries.push(Entry::read(named));
    }

    /// List `entry` (made by [`listing`]) without a name, unless its digest is listed already.
    pub(super) fn add(&mut self, entry: &Descriptor) {
        if !self.lists(&entry.digest) {
            self.entries.push(Entry::read(json!(entry)));
        }
    }

    /// Let `tag` name nothing. An entry stays listed without a name when `keep` says so of its digest.
    pub(super) fn remove_tag(&mut self, tag: &str, keep: impl Fn(&Digest) -> bool) {
        for mut was in self.take(|e| e.tag() == Some(tag)) {
            was.unname();
            let stays = was.descriptor.as_ref().is_some_and(|d| keep(&d.digest) && !self.lists(&d.digest));
            if stays {
                self.entries.push(was);
            }
        }
    }

    /// Remove all entries of this digest.
    pub(super) fn remove(&mut self, digest: &Digest) {
        self.take(|e| e.names(digest));
    }

    fn take(&mut self, which: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let (out, stay) = std::mem::take(&mut self.entries).into_iter().partition(|e| which(e));
        self.entries = stay;
        out
    }

    /// `cosign save` writes an image or index and beside it, untagged, its signatures: as tags they are the
    /// `sha256-<hex>.sig` of that image.
    fn cosign_tags(&self) -> Vec<(String, Descriptor)> {
        let roots: Vec<&Entry> =
            self.entries.iter().filter(|e| matches!(e.kind(), Some("image" | "imageIndex"))).collect();
        let mut out = Vec::new();
        for entry in self.entries.iter().filter(|e| e.is_cosign_extra()) {
            let same: Vec<&&Entry> = roots.iter().filter(|r| r.name() == entry.name()).collect();
            let root = match (same.as_slice(), roots.as_slice()) {
                ([one], _) => one.descriptor.as_ref(),
                ([], [one]) => one.descriptor.as_ref(),
                _ => None,
            };
            let suffix = entry.kind().and_then(|k| k.strip_suffix('s')).unwrap_or_default();
            if let (Some(root), Some(d)) = (root, &entry.descriptor) {
                out.push((format!("{}.{suffix}", root.digest.referrers_tag()), d.clone()));
            }
        }
        out
    }
}

impl Entry {
    fn read(raw: Value) -> Self {
        let descriptor = serde_json::from_value(raw.clone()).ok();
        Self { raw, descriptor }
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.raw.get("annotations")?.get(key)?.as_str()
    }

    fn name(&self) -> Option<&str> {
        self.annotation(REF_NAME)
    }

    /// What cosign says it is, without the prefix.
    fn kind(&self) -> Option<&str> {
        self.annotation(COSIGN_KIND)?.strip_prefix(COSIGN_KINDS)
    }

    /// Whether the name, if any, is that of the image this belongs to.
    fn is_cosign_extra(&self) -> bool {
        matches!(self.kind(), Some("sigs" | "atts" | "sboms"))
    }

    /// The tag: the whole name, or what follows the last colon of a full reference.
    fn tag(&self) -> Option<&str> {
        let name = self.name().filter(|_| !self.is_cosign_extra())?;
        let name = name.split_once('@').map_or(name, |(n, _)| n);
        match name.rsplit_once(':') {
            Some((_, port_and_path)) if port_and_path.contains('/') => None,
            Some((_, tag)) => Some(tag),
            None => Some(name),
        }
    }

    fn names(&self, digest: &Digest) -> bool {
        self.descriptor.as_ref().is_some_and(|d| d.digest == *digest)
    }

    fn unname(&mut self) {
        if let Some(annotations) = self.raw.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove(REF_NAME);
            if annotations.is_empty() {
                self.raw.as_object_mut().map(|o| o.remove("annotations"));
            }
        }
        *self = Self::read(std::mem::take(&mut self.raw));
    }
}

/// What an `index.json` says of a manifest, from the descriptor under which a referrers list shows it: annotations that
/// would act as a name here stay behind (a hostile referrer could take over a tag with them), and so do huge ones.
pub(super) fn listing(referrer: &Descriptor) -> Descriptor {
    let mut entry = referrer.clone();
    entry.annotations = entry.annotations.map(|mut notes| {
        notes.retain(|k, _| !RESERVED.contains(&k.as_str()));
        notes
    });
    let bytes = entry.annotations.iter().flatten().map(|(k, v)| k.len() + v.len()).sum::<usize>();
    entry.annotations = entry.annotations.filter(|notes| !notes.is_empty() && bytes <= MAX_ANNOTATION_BYTES);
    entry
}

/// Whether `tag` is that of a referrers list (distribution-spec "Referrers Tag Schema").
pub(super) fn is_referrers_tag(tag: &str) -> bool {
    let hex = tag.strip_prefix("sha256-").or_else(|| tag.strip_prefix("sha512-"));
    hex.is_some_and(|h| h.len() == 64 && h.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)))
}

fn the_one(tag: &str, found: Vec<Descriptor>) -> Result<Option<Descriptor>, Failure> {
    let mut found = found.into_iter();
    let Some(first) = found.next() else { return Ok(None) };
    match found.find(|d| d.digest != first.digest || d.media_type != first.media_type) {
        None => Ok(Some(first)),
        Some(other) => Err(Failure::Ambiguous(format!(
            "index.json has two entries for \"{tag}\": {} and {}; name one by its digest",
            first.digest, other.digest
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn d(text: &str) -> Descriptor {
        Descriptor::of(media_type::OCI_MANIFEST, text.as_bytes())
    }

    fn index(entries: &[Descriptor]) -> Index {
        Index::parse(&sorted_json(&json!({"schemaVersion": 2, "x": 1, "manifests": entries}))).unwrap()
    }

    #[test]
    fn names_tags_and_full_references() {
        let i = index(&[
            d("a").annotated(REF_NAME, "v1"),
            d("b").annotated(REF_NAME, "docker.io/library/x:v2"),
            d("c").annotated(REF_NAME, "host:5000/x"),
            d("e").annotated(REF_NAME, "host:5000/x:v3@sha256:00"),
        ]);
        assert_eq!(i.lookup("v1").unwrap().unwrap().digest, d("a").digest);
        assert_eq!(i.lookup("v2").unwrap().unwrap().digest, d("b").digest);
        assert_eq!(i.lookup("v3").unwrap().unwrap().digest, d("e").digest);
        assert_eq!(i.lookup("x"), Ok(None));
        assert_eq!(i.tags().iter().map(Tag::as_str).collect::<Vec<_>>(), ["v1", "v2", "v3"]);
    }

    #[test]
    fn two_meanings_are_an_error_and_the_exact_name_wins() {
        let i = index(&[d("a").annotated(REF_NAME, "v1"), d("b").annotated(REF_NAME, "v1")]);
        assert!(matches!(i.lookup("v1"), Err(Failure::Ambiguous(_))));
        let i = index(&[d("a").annotated(REF_NAME, "x.org/a:v1"), d("b").annotated(REF_NAME, "x.org/b:v1")]);
        assert!(matches!(i.lookup("v1"), Err(Failure::Ambiguous(_))));
        let i = index(&[d("a").annotated(REF_NAME, "v1"), d("b").annotated(REF_NAME, "x.org/b:v1")]);
        assert_eq!(i.lookup("v1").unwrap().unwrap().digest, d("a").digest);
        let i = index(&[d("a").annotated(REF_NAME, "v1"), d("a").annotated(REF_NAME, "v1")]);
        assert_eq!(i.lookup("v1").unwrap().unwrap().digest, d("a").digest);
    }

    #[test]
    fn a_referrer_cannot_bring_a_name_along() {
        let hostile = d("r").annotated(REF_NAME, "v1").annotated("kind", "x").annotated("good", "1");
        let entry = listing(&hostile);
        assert_eq!(entry.annotations.unwrap().into_keys().collect::<Vec<_>>(), ["good"]);
        assert_eq!(listing(&d("r").annotated("k", "v".repeat(MAX_ANNOTATION_BYTES + 1))).annotations, None);
    }

    #[test]
    fn what_cosign_saved_reads_as_its_tags() {
        let i = index(&[
            d("image").annotated("kind", "dev.cosignproject.cosign/imageIndex"),
            d("sigs").annotated("kind", "dev.cosignproject.cosign/sigs"),
            d("atts").annotated("kind", "dev.cosignproject.cosign/atts"),
        ]);
        let tag = d("image").digest.referrers_tag();
        assert_eq!(i.lookup(&format!("{tag}.sig")).unwrap().unwrap().digest, d("sigs").digest);
        assert_eq!(i.lookup(&format!("{tag}.att")).unwrap().unwrap().digest, d("atts").digest);
        assert_eq!(i.tags().len(), 2);
    }

    #[test]
    fn unknown_things_survive_and_the_order_is_one() {
        let strange = json!({"mediaType": "a/b", "digest": "sha384:00", "size": 1, "new": [1]});
        let text = sorted_json(&json!({"schemaVersion": 2, "x": {"y": 1}, "manifests": [d("a"), strange]}));
        let mut one = Index::parse(&text).unwrap();
        let mut two = one.clone();
        one.set_tag("v1", &d("b"), true);
        one.set_tag("v2", &d("c"), true);
        two.set_tag("v2", &d("c"), true);
        two.set_tag("v1", &d("b"), true);
        assert_eq!(one.to_bytes(), two.to_bytes());
        let doc: Value = serde_json::from_slice(&one.to_bytes()).unwrap();
        assert_eq!(doc["x"], json!({"y": 1}));
        assert!(doc["manifests"].as_array().unwrap().contains(&strange));
    }

    #[test]
    fn a_moved_tag_leaves_the_old_one_listed_and_a_named_entry_is_not_doubled() {
        let mut i = Index::empty();
        i.add(&d("a"));
        i.set_tag("v1", &d("a"), true);
        assert_eq!(i.entries.len(), 1);
        i.set_tag("v1", &d("b"), true);
        assert_eq!((i.entries.len(), i.lists(&d("a").digest)), (2, true));
        assert_eq!(i.lookup("v1").unwrap().unwrap().digest, d("b").digest);
        i.remove_tag("v1", |_| false);
        assert_eq!((i.entries.len(), i.lookup("v1")), (1, Ok(None)));
    }
}
