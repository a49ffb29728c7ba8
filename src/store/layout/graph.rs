//! Which manifests a layout lists, of which types, and what refers to what: a bounded walk from `index.json`.
//! Everything here blocks.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use serde_json::Value;

use super::index::{Index, is_referrers_tag};
use super::medium::{Medium, read_blob};
use crate::oci::{Content, ContentError, Descriptor, Digest, MAX_MANIFEST_BYTES, Manifest, media_type};
use crate::store::Failure;

/// Most manifests that a layout may list, with all children.
const MAX_MANIFESTS: usize = 100_000;
/// Deepest nesting of indexes.
const MAX_DEPTH: usize = 64;

/// What matters of a manifest; kept by digest, so it never goes stale.
#[derive(Debug)]
pub(super) struct Node {
    /// What it refers to.
    pub(super) subject: Option<Digest>,
    /// Entries that are manifests.
    pub(super) children: Vec<Descriptor>,
    /// As a referrers list shows it.
    pub(super) listed: Descriptor,
}

/// Manifests read so far.
pub(super) type Nodes = HashMap<Digest, Arc<Node>>;

/// What the listed manifests are.
#[derive(Debug, Default)]
pub(super) struct Graph {
    types: HashMap<Digest, String>,
    referrers: HashMap<Digest, BTreeMap<Digest, Descriptor>>,
    /// Entries of referrers lists whose manifests are not there: shown as they are, never hidden.
    dangling: HashMap<String, Vec<Descriptor>>,
    /// Listed manifests whose files are damaged. What they refer to is not known.
    damaged: BTreeMap<Digest, Failure>,
}

impl Graph {
    /// Walk all entries of `index`, except into `gone`.
    pub(super) fn of(
        medium: &dyn Medium,
        nodes: &mut Nodes,
        index: &Index,
        gone: &HashSet<Digest>,
    ) -> Result<Self, Failure> {
        let mut graph = Self::default();
        for (tag, entry) in index.manifests() {
            graph.walk(medium, nodes, entry, gone)?;
            if let Some(list) = tag.filter(|t| is_referrers_tag(t)) {
                let children = nodes.get(&entry.digest).map(|n| n.children.clone()).unwrap_or_default();
                let absent = children.into_iter().filter(|c| !graph.types.contains_key(&c.digest));
                let absent = absent.filter(|c| !gone.contains(&c.digest)).collect();
                graph.dangling.insert(list.to_owned(), absent);
            }
        }
        Ok(graph)
    }

    /// Add a manifest and everything below it that is there.
    pub(super) fn walk(
        &mut self,
        medium: &dyn Medium,
        nodes: &mut Nodes,
        from: &Descriptor,
        gone: &HashSet<Digest>,
    ) -> Result<(), Failure> {
        let mut queue = VecDeque::from([(from.clone(), 0)]);
        while let Some((d, depth)) = queue.pop_front() {
            if self.types.contains_key(&d.digest) || gone.contains(&d.digest) {
                continue;
            }
            if depth > MAX_DEPTH || self.types.len() >= MAX_MANIFESTS {
                let limit = format!("{MAX_MANIFESTS} manifests, indexes nested {MAX_DEPTH} deep");
                return Err(Failure::TooLarge { what: "the OCI layout".into(), limit });
            }
            let node = match sound(node(medium, nodes, &d))? {
                Ok(node) => node,
                Err(damage) => {
                    self.damaged.insert(d.digest, damage);
                    continue;
                }
            };
            let Some(node) = node else { continue };
            self.note(&d, &node);
            queue.extend(node.children.iter().map(|c| (c.clone(), depth + 1)));
        }
        Ok(())
    }

    /// Forget a manifest.
    pub(super) fn forget(&mut self, digest: &Digest) {
        self.types.remove(digest);
        self.damaged.remove(digest);
        self.referrers.values_mut().for_each(|r| {
            r.remove(digest);
        });
    }

    /// The media type under which a manifest is listed; `None` when it is not listed.
    pub(super) fn media_type(&self, digest: &Digest) -> Option<&str> {
        self.types.get(digest).map(String::as_str)
    }

    /// Why no list of referrers can be given: a damaged manifest might be one.
    pub(super) fn damage(&self) -> Option<&Failure> {
        self.damaged.values().next()
    }

    /// Manifests that are there and refer to `subject`, by digest.
    pub(super) fn referrers(&self, subject: &Digest) -> impl Iterator<Item = &Descriptor> {
        self.referrers.get(subject).into_iter().flat_map(BTreeMap::values)
    }

    /// Entries of the referrers list of `subject` whose manifests are not there.
    pub(super) fn dangling(&self, subject: &Digest) -> &[Descriptor] {
        self.dangling.get(&subject.referrers_tag()).map(Vec::as_slice).unwrap_or_default()
    }

    /// Forget entries of the referrers list of `subject` whose manifests are not there.
    pub(super) fn drop_dangling(&mut self, subject: &Digest) {
        self.dangling.remove(&subject.referrers_tag());
    }

    fn note(&mut self, descriptor: &Descriptor, node: &Node) {
        self.types.insert(descriptor.digest.clone(), descriptor.media_type.clone());
        self.damaged.remove(&descriptor.digest);
        if let Some(subject) = &node.subject {
            let listed = node.listed.clone();
            self.referrers.entry(subject.clone()).or_default().insert(listed.digest.clone(), listed);
        }
    }
}

impl Node {
    /// Read from the bytes. What is no manifest to [`Manifest::parse`] is still asked for its subject: a referrer that
    /// cannot be read must show, not vanish.
    pub(super) fn of(content: &Content) -> Self {
        match Manifest::parse(content) {
            Ok(m) => Self {
                listed: m.referrer_descriptor(content.descriptor()),
                subject: m.subject.map(|s| s.digest),
                children: m
                    .manifests
                    .into_iter()
                    .filter(|c| media_type::is_manifest(&c.media_type))
                    .collect(),
            },
            Err(_) => {
                let doc: Option<Value> = serde_json::from_slice(content.bytes()).ok();
                let subject = doc.as_ref().and_then(|d| d.get("subject")?.get("digest")?.as_str());
                Self {
                    subject: subject.and_then(|s| s.parse().ok()),
                    children: Vec::new(),
                    listed: content.descriptor().bare(),
                }
            }
        }
    }
}

/// The node of a manifest; `None` when its file is not there (a layout may be sparse).
pub(super) fn node(
    medium: &dyn Medium,
    nodes: &mut Nodes,
    d: &Descriptor,
) -> Result<Option<Arc<Node>>, Failure> {
    if let Some(node) = nodes.get(&d.digest) {
        return Ok(Some(node.clone()));
    }
    let Some(content) = read_manifest(medium, &d.digest, |_| Some(d.media_type.clone()))? else {
        return Ok(None);
    };
    let node = Arc::new(Node::of(&content));
    nodes.insert(d.digest.clone(), node.clone());
    Ok(Some(node))
}

/// Tells a damaged file, which can be written anew, from a failure to look.
pub(super) fn sound<T>(read: Result<T, Failure>) -> Result<Result<T, Failure>, Failure> {
    match read {
        Ok(read) => Ok(Ok(read)),
        Err(damage @ (Failure::Content(_) | Failure::TooLarge { .. })) => Ok(Err(damage)),
        Err(other) => Err(other),
    }
}

/// A manifest's file, checked against the digest, under the type that `listed` gives or the body says. `None` when it is
/// not there, or no manifest.
pub(super) fn read_manifest(
    medium: &dyn Medium,
    digest: &Digest,
    listed: impl Fn(&Digest) -> Option<String>,
) -> Result<Option<Content>, Failure> {
    let Some(bytes) = read_blob(medium, digest, MAX_MANIFEST_BYTES)? else { return Ok(None) };
    let got = Digest::of(digest.algorithm(), &bytes);
    if got != *digest {
        return Err(ContentError::Digest { expected: digest.clone(), got }.into());
    }
    // A blob that is no manifest: a registry has none under this digest either.
    let Some(media_type) = listed(digest).or_else(|| type_of_body(&bytes)) else { return Ok(None) };
    let descriptor = Descriptor::new(media_type, digest.clone(), bytes.len() as u64);
    Ok(Some(Content::check(descriptor, bytes)?))
}

/// The type of a manifest that no entry names: what the body says. An OCI manifest or index may leave it out (image-spec
/// 1.0); then only a document that can be nothing else counts.
fn type_of_body(bytes: &[u8]) -> Option<String> {
    let doc: Value = serde_json::from_slice(bytes).ok()?;
    if let Some(said) = doc.get("mediaType") {
        return said.as_str().filter(|t| media_type::is_manifest(t)).map(str::to_owned);
    }
    let has = |key: &str, is: fn(&Value) -> bool| doc.get(key).is_some_and(is);
    let image = has("config", Value::is_object) && doc.get("layers").is_some();
    let index = has("manifests", Value::is_array);
    let second = doc.get("schemaVersion").and_then(Value::as_u64) == Some(2);
    match (second, image, index) {
        (true, true, false) if doc.get("manifests").is_none() => Some(media_type::OCI_MANIFEST.to_owned()),
        (true, false, true) if doc.get("config").is_none() && doc.get("layers").is_none() => {
            Some(media_type::OCI_INDEX.to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn infers_a_type_only_where_nothing_else_is_possible() {
        let t = |s: &str| type_of_body(s.as_bytes());
        assert_eq!(
            t(r#"{"schemaVersion":2,"config":{},"layers":null}"#).as_deref(),
            Some(media_type::OCI_MANIFEST)
        );
        assert_eq!(t(r#"{"schemaVersion":2,"manifests":[]}"#).as_deref(), Some(media_type::OCI_INDEX));
        for no in [
            "",
            "[]",
            "{}",
            r#"{"schemaVersion":2}"#,
            r#"{"schemaVersion":1,"manifests":[]}"#,
            r#"{"schemaVersion":2,"manifests":[],"config":{},"layers":[]}"#,
            r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#,
            r#"{"schemaVersion":2,"mediaType":"application/json","manifests":[]}"#,
            r#"{"schemaVersion":2,"mediaType":5,"manifests":[]}"#,
        ] {
            assert_eq!(t(no), None, "{no}");
        }
    }

    #[test]
    fn an_unreadable_referrer_still_names_its_subject() {
        let subject = Digest::sha256(b"s");
        let body = format!(r#"{{"subject":{{"digest":"{subject}"}},"layers":[{{"digest":"blake3:00"}}]}}"#);
        let node = Node::of(&Content::new(media_type::OCI_MANIFEST, body.into_bytes()));
        assert_eq!(node.subject, Some(subject));
    }
}
