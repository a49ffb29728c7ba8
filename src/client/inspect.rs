//! What lies there, decoded. Nothing is judged: all of it is what the artifacts say of themselves.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde_json::Value;

use super::state::{self, FILENAME, StateError};
use super::tree::state_tags;
use crate::oci::{
    Content, Descriptor, Digest, Manifest, ManifestError, Reference, Selector, Tag, media_type,
};
use crate::store::{Store, StoreError};
use crate::tuf::{CollectionName, FileName};

/// Most submissions of a repository that are read.
pub const MAX_SUBMISSIONS: usize = 256;

/// A state, submission or seal.
#[derive(Debug, Clone, PartialEq)]
pub struct Artifact {
    /// Which of the three.
    pub kind: state::Kind,
    /// Where it was found.
    pub reference: Reference,
    /// Type, digest and size of its manifest.
    pub descriptor: Descriptor,
    /// The bundle that a seal hangs on.
    pub subject: Option<Digest>,
    /// The collection that its files name.
    pub collection: Option<String>,
    /// Its files, by name.
    pub files: Vec<FileIn>,
    /// Its roles, decoded.
    pub roles: Vec<RoleIn>,
    /// Files that are no metadata: name and reason.
    pub problems: Vec<(String, String)>,
}

/// A file in an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileIn {
    /// Its name, or the path of a target file.
    pub name: String,
    /// Its bytes.
    pub bytes: Bytes,
    /// Whether it is embedded in the manifest.
    pub inline: bool,
}

/// A role file, as it says.
#[derive(Debug, Clone, PartialEq)]
pub struct RoleIn {
    /// The role, by the file's name.
    pub role: String,
    /// `version`.
    pub version: Option<u64>,
    /// `expires`.
    pub expires: Option<String>,
    /// `x-bulla.at`.
    pub at: Option<String>,
    /// The key ids that may sign it, as the root or the delegating role here says.
    pub keys: Vec<String>,
    /// How many of them must.
    pub threshold: Option<u64>,
    /// The key ids under which there is a signature. None was checked.
    pub signatures: Vec<String>,
    /// Roles that it delegates to, in order.
    pub delegates: Vec<String>,
    /// `targets`.
    pub targets: BTreeMap<String, Value>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub enum Inspected {
    /// A repository: its states and the submissions that wait.
    Repository {
        /// States.
        states: Vec<Artifact>,
        /// Submissions.
        submissions: Vec<Artifact>,
        /// Submissions beyond the limit, which were not read.
        more: usize,
    },
    /// A state, submission or seal.
    Artifact(Box<Artifact>),
    /// Any other manifest.
    Bundle(Box<Bundle>),
}

/// A manifest that is none of bulla's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// Type, digest and size.
    pub descriptor: Descriptor,
    /// Its content.
    pub manifest: Manifest,
    /// The manifest's bytes.
    pub bytes: Bytes,
}

/// Why nothing can be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InspectError {
    /// It is not there.
    #[error("{0} is not there")]
    Absent(Reference),
    /// It is no manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The files of an artifact cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// The place failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Decode what `reference` names: a manifest, or all states and submissions of a repository.
///
/// # Errors
/// Not there, not readable, or no manifest.
pub async fn inspect(store: &dyn Store, reference: &Reference) -> Result<Inspected, InspectError> {
    match reference.selector() {
        None => repository(store, reference).await,
        Some(selector) => {
            let content = store.resolve(selector).await?;
            let content = content.ok_or_else(|| InspectError::Absent(reference.clone()))?;
            let manifest = Manifest::parse(&content)?;
            Ok(match kind_of(&manifest) {
                Some(kind) => {
                    Inspected::Artifact(Box::new(artifact(store, reference.clone(), &content, kind).await?))
                }
                None => Inspected::Bundle(Box::new(Bundle {
                    descriptor: content.descriptor().bare(),
                    manifest,
                    bytes: content.bytes().clone(),
                })),
            })
        }
    }
}

async fn repository(store: &dyn Store, reference: &Reference) -> Result<Inspected, InspectError> {
    let tags: BTreeSet<Tag> = match store.tags(None).await {
        Err(e) if e.is_not_found() => BTreeSet::new(),
        tags => tags?.into_iter().collect(),
    };
    let is_submission =
        |t: &&Tag| t.as_str().strip_prefix("bulla.").is_some_and(|rest| rest.split('.').nth(1) == Some("s"));
    let waiting: Vec<&Tag> = tags.iter().filter(is_submission).collect();
    let (mut states, mut submissions) = (Vec::new(), Vec::new());
    for tag in state_tags(&tags) {
        states.extend(at_tag(store, reference, &tag, state::Kind::State).await?);
    }
    for tag in waiting.iter().take(MAX_SUBMISSIONS) {
        submissions.extend(at_tag(store, reference, tag, state::Kind::Submission).await?);
    }
    let more = waiting.len().saturating_sub(MAX_SUBMISSIONS);
    Ok(Inspected::Repository { states, submissions, more })
}

/// What lies at a tag; what is no artifact of this kind is shown as one without files.
async fn at_tag(
    store: &dyn Store,
    place: &Reference,
    tag: &Tag,
    kind: state::Kind,
) -> Result<Option<Artifact>, InspectError> {
    let selector = Selector::Tag(tag.clone());
    let Some(content) = store.resolve(&selector).await? else { return Ok(None) };
    let reference = place.at(Some(selector));
    match artifact(store, reference.clone(), &content, kind).await {
        Err(InspectError::State(e @ StateError::Invalid { .. })) => {
            let problems = vec![(tag.to_string(), e.to_string())];
            Ok(Some(Artifact { problems, ..Artifact::empty(kind, reference, &content) }))
        }
        other => other.map(Some),
    }
}

fn kind_of(manifest: &Manifest) -> Option<state::Kind> {
    match manifest.artifact_type.as_deref()? {
        media_type::BULLA_STATE => Some(state::Kind::State),
        media_type::BULLA_SEAL => Some(state::Kind::Seal),
        media_type::BULLA_SUBMISSION => Some(state::Kind::Submission),
        media_type::BULLA_CANDIDATE => Some(state::Kind::Candidate),
        _ => None,
    }
}

async fn artifact(
    store: &dyn Store,
    reference: Reference,
    content: &Content,
    kind: state::Kind,
) -> Result<Artifact, InspectError> {
    let read = state::read(store, content, kind).await?;
    let mut out = Artifact::empty(kind, reference, content);
    let manifest = Manifest::parse(content)?;
    out.subject = manifest.subject.as_ref().map(|s| s.digest.clone());
    let embedded: BTreeSet<&str> = manifest
        .layers
        .iter()
        .filter(|l| l.inline().is_some())
        .filter_map(|l| l.annotation(FILENAME))
        .collect();
    let mut decoded: Vec<(&FileName, Value)> = Vec::new();
    for (name, bytes) in read.files.metadata() {
        out.add(name.to_string(), bytes, &embedded);
        match serde_json::from_slice(bytes) {
            Ok(document) => decoded.push((name, document)),
            Err(e) => out.problems.push((name.to_string(), e.to_string())),
        }
    }
    for (path, bytes) in read.files.targets() {
        out.add(path.clone(), bytes, &embedded);
    }
    let authorised = authorised(&decoded);
    let said = |(_, d): &(&FileName, Value)| Some(d["signed"]["x-bulla"]["collection"].as_str()?.to_owned());
    out.collection = decoded.iter().find_map(said).or_else(|| {
        let name: Option<CollectionName> = match &out.reference {
            Reference::Registry(r) => Some(r.repository.clone().into()),
            Reference::Layout(_) | Reference::Archive(_) => None,
        };
        // Only where the tag says so itself.
        name.filter(|n| out.reference.selector().and_then(Selector::tag) == Some(&n.state_tag()))
            .map(|n| n.to_string())
    });
    out.roles = decoded.iter().map(|(name, document)| role(name, document, &authorised)).collect();
    Ok(out)
}

impl Artifact {
    fn empty(kind: state::Kind, reference: Reference, content: &Content) -> Self {
        Self {
            kind,
            reference,
            descriptor: content.descriptor().bare(),
            subject: None,
            collection: None,
            files: Vec::new(),
            roles: Vec::new(),
            problems: Vec::new(),
        }
    }

    fn add(&mut self, name: String, bytes: &Bytes, embedded: &BTreeSet<&str>) {
        let inline = embedded.contains(name.as_str());
        self.files.push(FileIn { name, bytes: bytes.clone(), inline });
    }

    /// The kind as a word.
    pub fn word(&self) -> &'static str {
        match self.kind {
            state::Kind::State => "state",
            state::Kind::Seal => "seal",
            state::Kind::Submission => "submission",
            state::Kind::Candidate => "candidate",
        }
    }
}

/// Who may sign which role, as the newest root and the delegations here say: key ids and threshold.
fn authorised(decoded: &[(&FileName, Value)]) -> BTreeMap<String, (Vec<String>, Option<u64>)> {
    let of = |role: &Value| (strings(&role["keyids"]), role["threshold"].as_u64());
    let mut out = BTreeMap::new();
    let root = decoded.iter().filter(|(n, _)| n.role().as_str() == "root").max_by_key(|(n, _)| n.version());
    if let Some((_, root)) = root
        && let Some(roles) = root["signed"]["roles"].as_object()
    {
        out.extend(roles.iter().map(|(name, role)| (name.clone(), of(role))));
    }
    for (_, document) in decoded {
        for role in document["signed"]["delegations"]["roles"].as_array().into_iter().flatten() {
            if let Some(name) = role["name"].as_str() {
                out.insert(name.to_owned(), of(role));
            }
        }
    }
    out
}

fn role(
    name: &FileName,
    document: &Value,
    authorised: &BTreeMap<String, (Vec<String>, Option<u64>)>,
) -> RoleIn {
    let signed = &document["signed"];
    let text = |v: &Value| v.as_str().map(str::to_owned);
    let role = name.role().to_string();
    let (keys, threshold) = authorised.get(&role).cloned().unwrap_or_default();
    let each = |list: &Value, member: &str| {
        list.as_array().into_iter().flatten().filter_map(|v| text(&v[member])).collect::<Vec<_>>()
    };
    let targets = signed["targets"].as_object().into_iter().flatten();
    RoleIn {
        version: signed["version"].as_u64(),
        expires: text(&signed["expires"]),
        at: text(&signed["x-bulla"]["at"]),
        keys,
        threshold,
        signatures: each(&document["signatures"], "keyid"),
        delegates: each(&signed["delegations"]["roles"], "name"),
        targets: targets.map(|(name, target)| (name.clone(), target.clone())).collect(),
        role,
    }
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}
