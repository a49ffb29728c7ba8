//! Everything that hangs on a bundle, as a tree. Nothing is judged.

use std::collections::{BTreeMap, BTreeSet};

use futures::stream::{self, StreamExt, TryStreamExt};
use serde_json::Value;

use super::state::FILENAME;
use crate::oci::{Content, Descriptor, Digest, Manifest, ManifestKind, Platform, Selector, Tag, media_type};
use crate::store::{Store, StoreError};
use crate::time::UnixTime;

/// Most nodes that are looked at.
pub const MAX_NODES: usize = 100_000;
/// Deepest level below the bundle.
pub const MAX_DEPTH: usize = 32;
/// Nodes looked at side by side.
const CONCURRENCY: usize = 8;
/// The annotation that dates an artifact (image-spec `annotations.md`): a hint.
const CREATED: &str = "org.opencontainers.image.created";
/// Endings of the tags at which cosign keeps what belongs to a digest, without the referrers API.
const DIGEST_TAGS: [(&str, Kind); 3] =
    [("sig", Kind::CosignSignature), ("att", Kind::CosignAttestation), ("sbom", Kind::CosignSbom)];

/// A bundle and all that hangs on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// The bundle.
    pub root: Node,
    /// The states of collections that lie in the same repository.
    pub states: Vec<StateAt>,
    /// Whether everything is shown: `false` past [`MAX_NODES`] or [`MAX_DEPTH`].
    pub whole: bool,
}

/// One manifest in the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Type, digest and size of the manifest.
    pub descriptor: Descriptor,
    /// What it is.
    pub kind: Kind,
    /// Its artifact type (an image's config type if it has none).
    pub artifact_type: Option<String>,
    /// Bytes of config and layers.
    pub blob_bytes: u64,
    /// When it was made, as it says itself.
    pub created: Option<String>,
    /// The collection it speaks of, as it says itself.
    pub collection: Option<String>,
    /// Platform of an index entry.
    pub platform: Option<Platform>,
    /// Listed, and not there: a sparse copy.
    pub missing: bool,
    /// Why it could not be read as a manifest.
    pub problem: Option<String>,
    /// Manifests of an index.
    pub children: Vec<Self>,
    /// Manifests whose subject this one is.
    pub referrers: Vec<Self>,
    /// What lies at cosign's tags of this digest.
    pub digest_tags: Vec<(Tag, Self)>,
}

/// A state in the bundle's repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateAt {
    /// Its tag.
    pub tag: Tag,
    /// Its manifest.
    pub node: Node,
    /// Number of files in it.
    pub files: usize,
}

/// What a manifest is, by its type alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// An index or manifest list.
    Index,
    /// An image manifest.
    Manifest,
    /// A seal of bulla.
    Seal,
    /// A state of a collection.
    State,
    /// A submission to a collection.
    Submission,
    /// cosign's `.sig` tag.
    CosignSignature,
    /// cosign's `.att` tag.
    CosignAttestation,
    /// cosign's `.sbom` tag.
    CosignSbom,
    /// A sigstore bundle.
    SigstoreBundle,
    /// A Notary Project signature.
    NotarySignature,
    /// An in-toto link.
    InTotoLink,
    /// An in-toto layout.
    InTotoLayout,
    /// Anything else.
    Unknown,
}

impl Kind {
    /// The word for it in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Manifest => "manifest",
            Self::Seal => "seal",
            Self::State => "state",
            Self::Submission => "submission",
            Self::CosignSignature => "cosign-signature",
            Self::CosignAttestation => "cosign-attestation",
            Self::CosignSbom => "cosign-sbom",
            Self::SigstoreBundle => "sigstore-bundle",
            Self::NotarySignature => "notary-signature",
            Self::InTotoLink => "in-toto-link",
            Self::InTotoLayout => "in-toto-layout",
            Self::Unknown => "unknown",
        }
    }

    /// Whether this version of bulla can read what is in it.
    pub fn is_understood(self) -> bool {
        match self {
            Self::Index | Self::Manifest | Self::Seal | Self::State | Self::Submission => true,
            // Signatures, which `verify` judges.
            Self::CosignSignature | Self::SigstoreBundle | Self::NotarySignature => true,
            _ => false,
        }
    }

    /// By artifact type; `None` for types of no meaning to bulla.
    fn of_artifact(artifact_type: &str) -> Option<Self> {
        match artifact_type {
            media_type::BULLA_SEAL => Some(Self::Seal),
            media_type::BULLA_STATE => Some(Self::State),
            media_type::BULLA_SUBMISSION => Some(Self::Submission),
            "application/vnd.cncf.notary.signature" => Some(Self::NotarySignature),
            t if t.starts_with("application/vnd.dev.sigstore.bundle") => Some(Self::SigstoreBundle),
            t if t.starts_with("application/vnd.in-toto.link.") => Some(Self::InTotoLink),
            t if t.starts_with("application/vnd.in-toto.layout.") => Some(Self::InTotoLayout),
            _ => None,
        }
    }
}

/// Look at the bundle that `selector` names and at everything that hangs on it. `None` when the store says that it is
/// not there.
///
/// # Errors
/// Something could not be looked at: a list that cannot be read is never an empty branch.
pub async fn tree(store: &dyn Store, selector: &Selector) -> Result<Option<Tree>, StoreError> {
    let Some(root) = store.resolve(selector).await? else { return Ok(None) };
    let tags: BTreeSet<Tag> = store.tags(None).await?.into_iter().collect();
    let mut level = vec![Ask {
        parent: 0,
        link: Link::Child,
        descriptor: root.descriptor().clone(),
        content: Some(root.clone()),
    }];
    let (mut found, mut whole) = (Vec::new(), true);
    for depth in 0..=MAX_DEPTH {
        let room = MAX_NODES - found.len();
        whole &= level.len() <= room;
        level.truncate(room);
        let asked = level.into_iter().map(|ask| look(store, ask, &tags));
        let seen: Vec<_> = stream::iter(asked).buffered(CONCURRENCY).try_collect().await?;
        level = Vec::new();
        for (placed, below) in seen.into_iter().flatten() {
            let parent = found.len();
            found.push(placed);
            level.extend(below.into_iter().map(|ask| Ask { parent, ..ask }));
        }
        if level.is_empty() {
            break;
        }
        whole &= depth < MAX_DEPTH;
    }
    let states = states(store, &tags).await?;
    Ok(assemble(found).map(|root| Tree { root, states, whole }))
}

/// How a node hangs on its parent.
#[derive(Debug, Clone)]
enum Link {
    Child,
    Referrer { of: Digest },
    DigestTag(Tag, Kind),
}

/// A node to look at.
struct Ask {
    parent: usize,
    link: Link,
    descriptor: Descriptor,
    content: Option<Content>,
}

/// A node with its place.
struct Placed {
    parent: usize,
    link: Link,
    node: Node,
}

/// One node and what is to be looked at below it. `None` for a referrer that is none.
async fn look(
    store: &dyn Store,
    ask: Ask,
    tags: &BTreeSet<Tag>,
) -> Result<Option<(Placed, Vec<Ask>)>, StoreError> {
    let Ask { parent, link, descriptor, content } = ask;
    let digest = descriptor.digest.clone();
    let content = match content {
        Some(content) => Some(content),
        None => store.resolve(&Selector::Digest(digest.clone())).await?,
    };
    let platform = descriptor.platform.clone();
    let Some(content) = content else {
        let node = Node { missing: true, platform, ..Node::bare(&descriptor) };
        return Ok(Some((Placed { parent, link, node }, Vec::new())));
    };
    let mut node = Node { platform, ..Node::bare(content.descriptor()) };
    let mut below = Vec::new();
    let ask = |link, descriptor| Ask { parent: 0, link, descriptor, content: None };
    match Manifest::parse(&content) {
        Ok(manifest) => {
            if let Link::Referrer { of } = &link
                && manifest.subject.as_ref().is_none_or(|s| s.digest != *of)
            {
                return Ok(None);
            }
            node.describe(&manifest);
            let manifests = manifest.manifests.into_iter().filter(|d| media_type::is_manifest(&d.media_type));
            below.extend(manifests.map(|d| ask(Link::Child, d)));
        }
        Err(e) => node.problem = Some(e.to_string()),
    }
    if let Link::DigestTag(_, kind) = link {
        node.kind = kind;
    }
    for referrer in store.referrers(&digest, None).await? {
        below.push(ask(Link::Referrer { of: digest.clone() }, referrer));
    }
    for (ending, kind) in DIGEST_TAGS {
        let wanted = format!("{}.{ending}", digest.referrers_tag());
        let Some(tag) = tags.iter().find(|t| t.as_str() == wanted) else { continue };
        if let Some(there) = store.resolve(&Selector::Tag(tag.clone())).await? {
            let descriptor = there.descriptor().clone();
            let link = Link::DigestTag(tag.clone(), kind);
            below.push(Ask { parent: 0, link, descriptor, content: Some(there) });
        }
    }
    Ok(Some((Placed { parent, link, node }, below)))
}

/// Parents come before their children in `found`; the first is the root.
fn assemble(found: Vec<Placed>) -> Option<Node> {
    let mut below: BTreeMap<usize, Vec<Placed>> = BTreeMap::new();
    for (at, mut placed) in found.into_iter().enumerate().rev() {
        for child in below.remove(&at).into_iter().flatten().rev() {
            match child.link {
                Link::Child => placed.node.children.push(child.node),
                Link::Referrer { .. } => placed.node.referrers.push(child.node),
                Link::DigestTag(tag, _) => placed.node.digest_tags.push((tag, child.node)),
            }
        }
        if at == 0 {
            return Some(placed.node);
        }
        below.entry(placed.parent).or_default().push(placed);
    }
    None
}

/// Of the tags of a repository those at which the states of its collections lie: `bulla.<h>`, and where there is none the
/// highest `bulla.<h>.<version>`. Submissions are none.
pub fn state_tags(tags: &BTreeSet<Tag>) -> Vec<Tag> {
    let mut newest: BTreeMap<&str, (u64, &Tag)> = BTreeMap::new();
    for tag in tags {
        let Some(rest) = tag.as_str().strip_prefix("bulla.") else { continue };
        let (name, rank) = match rest.split_once('.') {
            None => (rest, u64::MAX),
            Some((name, version)) => match version.parse() {
                Ok(version) => (name, version),
                Err(_) => continue,
            },
        };
        let best = newest.entry(name).or_insert((rank, tag));
        *best = (*best).max((rank, tag));
    }
    newest.into_values().map(|(_, tag)| tag.clone()).collect()
}

/// The states in the repository.
async fn states(store: &dyn Store, tags: &BTreeSet<Tag>) -> Result<Vec<StateAt>, StoreError> {
    let mut out = Vec::new();
    for tag in state_tags(tags) {
        let Some(content) = store.resolve(&Selector::Tag(tag.clone())).await? else { continue };
        let mut node = Node::bare(content.descriptor());
        let mut files = 0;
        match Manifest::parse(&content) {
            Ok(manifest) => {
                files = manifest.layers.len();
                node.describe(&manifest);
            }
            Err(e) => node.problem = Some(e.to_string()),
        }
        out.push(StateAt { tag, node, files });
    }
    Ok(out)
}

impl Node {
    fn bare(descriptor: &Descriptor) -> Self {
        Self {
            descriptor: descriptor.bare(),
            kind: Kind::Unknown,
            artifact_type: None,
            blob_bytes: 0,
            created: None,
            collection: None,
            platform: None,
            missing: false,
            problem: None,
            children: Vec::new(),
            referrers: Vec::new(),
            digest_tags: Vec::new(),
        }
    }

    /// Bytes of the manifest with its blobs, as far as a number goes: sizes are only declared.
    pub fn all_bytes(&self) -> u64 {
        self.descriptor.size.saturating_add(self.blob_bytes)
    }

    /// What its manifest says.
    fn describe(&mut self, manifest: &Manifest) {
        let own = manifest.artifact_type.as_deref();
        self.kind = match (own.and_then(Kind::of_artifact), manifest.kind) {
            (Some(kind), _) => kind,
            (None, ManifestKind::Index) => Kind::Index,
            // An artifact type that says nothing to bulla; an image has none of its own.
            (None, ManifestKind::Image) if own.is_none() => Kind::Manifest,
            (None, _) => Kind::Unknown,
        };
        self.artifact_type = manifest.effective_artifact_type().map(str::to_owned);
        let blobs = manifest.config.iter().chain(&manifest.layers);
        self.blob_bytes = blobs.fold(0, |sum, d| sum.saturating_add(d.size));
        self.created = manifest.annotations.get(CREATED).cloned();
        if let Some((collection, at)) = manifest.layers.iter().find_map(heading) {
            self.collection = Some(collection);
            self.created = at.or_else(|| self.created.take());
        }
    }
}

/// What an embedded role file says in `x-bulla`: its collection, and when it was signed.
fn heading(layer: &Descriptor) -> Option<(String, Option<String>)> {
    layer.annotation(FILENAME)?;
    let doc: Value = serde_json::from_slice(&layer.inline()?).ok()?;
    let said = &doc["signed"]["x-bulla"];
    let at = said["at"].as_str().and_then(|t| t.parse::<UnixTime>().ok());
    Some((said["collection"].as_str()?.to_owned(), at.map(|t| t.to_string())))
}
