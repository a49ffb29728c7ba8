//! Submissions: signed next versions of a role, each at a tag of its own beside the state, waiting to be admitted.

pub(super) mod terms;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;

use super::known::Known;
use super::metered::Metered;
use super::state::{self, Kind, Packed, StateError};
use super::whole::Whole;
use crate::oci::{Content, Digest, Manifest, Selector, Tag, media_type};
use crate::store::{Failure, Store, StoreError};
use crate::time::UnixTime;
use crate::tuf::lineage::RoleFile;
use crate::tuf::proposal::{Group, Seat};
use crate::tuf::{
    CollectionName, Fault, FileName, Files, Limits, Metadata, RoleKeys, RoleName, Targets, TufError,
    Unverified, Version,
};

/// Greatest version of a role file: a submission's tag has ten digits for it.
pub(super) const MAX_VERSION: Version = Version::at_most(9_999_999_999);

/// The tag of a submission: it says which role and version, and begins the hash of the role file, so that most submissions
/// are judged without being fetched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SubmissionTag {
    role: String,
    version: Version,
    hash: String,
}

/// A verified next version of a role.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Where it lies.
    pub tag: SubmissionTag,
    /// The role.
    pub role: RoleName,
    /// Its file.
    pub file: Arc<Metadata<Targets>>,
    /// Its lineage.
    pub lineage: RoleFile,
    /// Target files of the whole collection that came with it.
    pub files: Files,
}

/// What lies at a submission's tag.
#[derive(Debug, Clone)]
pub enum Fetched {
    /// A submission that verifies.
    Valid(Box<Submission>),
    /// A root, or files of several roles: judged together, under the delegators that they create.
    Group(Box<Group>),
    /// Something else: why.
    Invalid(String),
    /// Nothing any more.
    Gone,
    /// More bytes than may still be fetched.
    TooMuch,
}

impl SubmissionTag {
    /// The tag of a role file.
    pub fn of(role: &RoleName, version: Version, file: &[u8]) -> Self {
        Self { role: role_part(role), version, hash: Digest::sha256(file).hex()[..32].to_owned() }
    }

    /// The tag of files that go in together: role and version of the topmost one; with several files the hash of their hashes.
    ///
    /// # Errors
    /// A file that is no metadata of its role, or none at all.
    pub fn of_group(group: &Group) -> Result<Self, TufError> {
        let (order, versions) = (group.order(), group.versions()?);
        let nothing = || TufError::new(&RoleName::root(), Fault::Format("no file".into()));
        let top = order.first().ok_or_else(nothing)?;
        let version = versions.get(top).copied().ok_or_else(nothing)?;
        let named = group.named()?.into_iter().map(|(n, b)| (n.to_string(), Digest::sha256(&b)));
        let hash = group_hash(named.collect());
        Ok(Self { role: role_part(top), version, hash })
    }

    /// Read a tag of `collection`; `None` for any other tag.
    pub fn read(collection: &CollectionName, tag: &Tag) -> Option<Self> {
        let rest = tag.as_str().strip_prefix(&collection.submission_prefix())?;
        let [role, version, hash] = rest.split('.').collect::<Vec<_>>().try_into().ok()?;
        let hex = |s: &str, len| {
            s.len() == len && s.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        if !hex(role, 8) || !hex(hash, 32) || version.len() != 10 {
            return None;
        }
        let version = version.parse().ok().and_then(Version::new)?;
        let read = Self { role: role.to_owned(), version, hash: hash.to_owned() };
        // A sign or a space that the number parser takes is no tag that was written here.
        (read.tag(collection).as_ref() == Some(tag)).then_some(read)
    }

    /// The tag, as text: `bulla.<h>.s.<role, 8 hex>.<version, 10 digits>.<32 hex>`. `None` only for versions of more digits.
    pub fn tag(&self, collection: &CollectionName) -> Option<Tag> {
        let prefix = collection.submission_prefix();
        format!("{prefix}{}.{:010}.{}", self.role, self.version.get(), self.hash).parse().ok()
    }

    /// Whether it is of this role.
    pub fn is_of(&self, role: &RoleName) -> bool {
        self.role == role_part(role)
    }

    /// What stands for its role in the tag.
    pub fn role_part(&self) -> &str {
        &self.role
    }

    /// Whether a manifest is a submission of the role files that the tag names.
    pub fn names(&self, manifest: &Content) -> bool {
        let Ok(manifest) = Manifest::parse(manifest) else { return false };
        let files = manifest.layers.iter().filter(|l| l.media_type == media_type::TUF_METADATA);
        let named =
            files.map(|l| (l.annotation(state::FILENAME).unwrap_or_default().to_owned(), l.digest.clone()));
        let named: BTreeMap<String, Digest> = named.collect();
        manifest.artifact_type.as_deref() == Some(media_type::BULLA_SUBMISSION)
            && (named.values().any(|d| d.hex().starts_with(&self.hash)) || group_hash(named) == self.hash)
    }

    /// The version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The first 32 hex digits of SHA-256 over the role file.
    pub fn hash(&self) -> &str {
        &self.hash
    }
}

impl Submission {
    /// What was just signed here.
    ///
    /// # Errors
    /// It does not verify.
    pub fn of(role: &RoleName, keys: &RoleKeys, bytes: &Bytes, files: Files) -> Result<Self, TufError> {
        let limits = Limits::default();
        let file = Unverified::<Targets>::parse(role, bytes, &limits)?.verify(role, &[keys])?;
        let lineage = RoleFile::of(&file).map_err(|fault| TufError::new(role, fault))?;
        let tag = SubmissionTag::of(role, file.version(), bytes);
        Ok(Self { tag, role: role.clone(), file: Arc::new(file), lineage, files })
    }

    /// The artifact.
    pub fn pack(&self) -> Packed {
        let mut files = self.files.clone();
        files.put(Whole::file_name(&self.role, &self.file), self.file.bytes().clone());
        state::pack(Kind::Submission, &files, None)
    }
}

/// The artifact of files that go in together.
///
/// # Errors
/// A file that is no metadata of its role.
pub fn pack_group(group: &Group) -> Result<Packed, TufError> {
    let mut files = Files::new();
    group.named()?.into_iter().for_each(|(name, bytes)| files.put(name, bytes));
    group.files.iter().for_each(|(path, bytes)| files.put_target(path.clone(), bytes.clone()));
    Ok(state::pack(Kind::Submission, &files, None))
}

/// The beginning of the hash of one file, or of the hashes of several, joined by newlines in order of file name.
fn group_hash(named: BTreeMap<String, Digest>) -> String {
    let hex: Vec<&str> = named.values().map(Digest::hex).collect();
    match hex.as_slice() {
        [one] => one[..32].to_owned(),
        several => Digest::sha256(several.join("\n").as_bytes()).hex()[..32].to_owned(),
    }
}

/// What the manifest at a tag says of what lies there.
pub enum Offer {
    /// So many bytes of files, to be fetched.
    Files(Content, u64),
    /// Nothing that is worth fetching.
    Nothing(Fetched),
}

/// Read the manifest at `tag`. What cannot be a submission of one of `seats` by what it says of itself is not fetched: anybody who
/// may push could let everybody else's wait behind it.
///
/// # Errors
/// The place could not be asked.
pub async fn offered(
    store: &Known<'_>,
    collection: &CollectionName,
    tag: &SubmissionTag,
    seats: &BTreeMap<RoleName, Seat>,
) -> Result<Offer, StoreError> {
    let Some(name) = tag.tag(collection) else { return Ok(Offer::Nothing(Fetched::Gone)) };
    let mut found = manifest_at(store, &name).await?;
    if found.is_err() {
        // One damaged answer shall not pass for what lies there, and one wrong "not there" not for the end of what was listed.
        found = manifest_at(store, &name).await?;
    }
    let manifest = match found {
        Ok(manifest) => manifest,
        Err(fetched) => return Ok(Offer::Nothing(fetched)),
    };
    Ok(match claimed(tag, seats, &manifest) {
        Ok(size) => Offer::Files(manifest, size),
        Err(why) => Offer::Nothing(Fetched::Invalid(why)),
    })
}

async fn manifest_at(store: &Known<'_>, name: &Tag) -> Result<Result<Content, Fetched>, StoreError> {
    match store.resolve(&Selector::Tag(name.clone())).await {
        Ok(Some(manifest)) => Ok(Ok(manifest)),
        Ok(None) => Ok(Err(Fetched::Gone)),
        Err(e) => anybodys(e).map(Err),
    }
}

/// How many bytes a manifest names, or why they are not what the tag says.
fn claimed(tag: &SubmissionTag, seats: &BTreeMap<RoleName, Seat>, manifest: &Content) -> Result<u64, String> {
    // What is no manifest is told by who reads it.
    let Ok(read) = Manifest::parse(manifest) else { return Ok(0) };
    let size = read.layers.iter().fold(0, |sum: u64, l| sum.saturating_add(l.size));
    if size > state::MAX_STATE_FILES {
        return Err(format!("files of {size} bytes"));
    }
    let named = read.layers.iter().filter(|l| l.media_type == media_type::TUF_METADATA);
    let named: Vec<_> = named
        .filter_map(|l| Some((l.annotation(state::FILENAME)?.parse::<FileName>().ok()?.role().clone(), l)))
        .collect();
    for (role, layer) in named.iter().filter(|(role, _)| *role != RoleName::root()) {
        if layer.size > terms::most_bytes(role) {
            return Err(format!("a role file of {} bytes", layer.size));
        }
    }
    if let [(role, layer)] = named.as_slice() {
        if *role != RoleName::root() && !seats.contains_key(role) {
            return Err(format!("{role} is no role of the collection"));
        }
        if !layer.digest.hex().starts_with(tag.hash()) {
            return Err("its tag is another file's".into());
        }
    }
    Ok(size)
}

/// Fetch and verify what `manifest` at `tag` names, under the keys that `seats` gives its role. `left` is how many bytes may still
/// be fetched; what is claimed and does not come costs nothing.
///
/// # Errors
/// The place could not be asked. What lies there may be anybody's, and is never an error.
pub async fn fetch(
    store: &Known<'_>,
    collection: &CollectionName,
    tag: &SubmissionTag,
    manifest: Content,
    seats: &BTreeMap<RoleName, Seat>,
    left: &Arc<AtomicU64>,
    now: UnixTime,
) -> Result<Fetched, StoreError> {
    let Some(name) = tag.tag(collection) else { return Ok(Fetched::Gone) };
    let mut read = read_at(store, Ok(manifest), left).await?;
    if matches!(read, Err(Fetched::Invalid(_) | Fetched::Gone)) {
        // One damaged answer shall not pass for what lies there.
        read = read_at(store, manifest_at(store, &name).await?, left).await?;
    }
    let (manifest, files) = match read {
        Ok(read) => read,
        Err(fetched) => return Ok(fetched),
    };
    let bytes: Vec<Bytes> = files.metadata().values().chain(files.targets().values()).cloned().collect();
    let fetched = judge(collection, tag, seats, files, now);
    if matches!(fetched, Fetched::Valid(_) | Fetched::Group(_)) {
        store.learn(&manifest, &bytes);
    }
    Ok(fetched)
}

/// The files that a manifest names, or why there are none.
async fn read_at(
    store: &Known<'_>,
    manifest: Result<Content, Fetched>,
    left: &Arc<AtomicU64>,
) -> Result<Result<(Content, Files), Fetched>, StoreError> {
    let manifest = match manifest {
        Ok(manifest) => manifest,
        Err(fetched) => return Ok(Err(fetched)),
    };
    let size = Manifest::parse(&manifest)
        .map_or(0, |m| m.layers.iter().fold(0, |sum: u64, l| sum.saturating_add(l.size)));
    // Nobody reads it, so it costs the others nothing.
    if size > state::MAX_STATE_FILES {
        return Ok(Err(Fetched::Invalid(format!("files of {size} bytes"))));
    }
    let metered = Metered::new(store, left);
    match state::read(&metered, &manifest, Kind::Submission).await {
        Err(_) if metered.is_spent() => Ok(Err(Fetched::TooMuch)),
        Ok(read) => Ok(Ok((manifest, read.files))),
        Err(StateError::Store(e)) => anybodys(e).map(Err),
        Err(e @ StateError::Invalid { .. }) => Ok(Err(Fetched::Invalid(e.to_string()))),
    }
}

fn judge(
    collection: &CollectionName,
    tag: &SubmissionTag,
    seats: &BTreeMap<RoleName, Seat>,
    mut files: Files,
    now: UnixTime,
) -> Fetched {
    let names: Vec<FileName> = files.metadata().keys().cloned().collect();
    let name = match names.as_slice() {
        [name] if *name.role() != RoleName::root() => name,
        _ => return judge_group(tag, &files),
    };
    let role = name.role().clone();
    let Some((at, bytes)) = seats.get(&role).zip(files.get(name).cloned()) else {
        return Fetched::Invalid(format!("{role} is no role of the collection"));
    };
    files.retain(|_| false);
    let submission = match Submission::of(&role, &at.keys, &bytes, files) {
        Ok(submission) => submission,
        Err(e) => return Fetched::Invalid(e.to_string()),
    };
    if submission.file.is_expired(now) {
        return Fetched::Invalid(format!("expired since {}", submission.file.expires()));
    }
    if submission.tag != *tag {
        return Fetched::Invalid("its tag is another file's".into());
    }
    let ours = submission.file.check_collection(&role, &collection.to_string());
    let ours = ours.and_then(|()| at.check_paths(&role, &submission.file)).map_err(|e| e.to_string());
    match ours.and_then(|()| terms::admits(collection, &role, at, &submission.file, now)) {
        Ok(()) => Fetched::Valid(Box::new(submission)),
        Err(why) => Fetched::Invalid(why),
    }
}

/// Whether files that go in together are what their tag and names say. Who signed them is judged with what is published.
fn judge_group(tag: &SubmissionTag, files: &Files) -> Fetched {
    let mut group = Group { files: files.targets().clone(), ..Group::default() };
    for (name, bytes) in files.metadata() {
        let role = name.role().clone();
        let limits = Limits::default();
        let limit = if role == RoleName::root() { limits.root_bytes } else { terms::most_bytes(&role) };
        if bytes.len() as u64 > limit {
            return Fetched::Invalid(format!("a role file of {} bytes", bytes.len()));
        }
        let taken = match role.as_str() {
            "timestamp" | "snapshot" => {
                return Fetched::Invalid(format!("{role} is signed by whoever commits"));
            }
            "root" => group.root.replace(bytes.clone()).is_some(),
            _ => group.roles.insert(role.clone(), bytes.clone()).is_some(),
        };
        if taken {
            return Fetched::Invalid(format!("two files of {role}"));
        }
    }
    match group.named() {
        Ok(named) if named.keys().ne(files.metadata().keys()) => {
            return Fetched::Invalid("a file under another version's name".into());
        }
        Ok(_) => {}
        Err(e) => return Fetched::Invalid(e.to_string()),
    }
    match SubmissionTag::of_group(&group) {
        Ok(of) if of == *tag => Fetched::Group(Box::new(group)),
        Ok(_) => Fetched::Invalid("its tag is other files'".into()),
        Err(e) => Fetched::Invalid(e.to_string()),
    }
}

/// A failure of the one item, which anybody who may push could have made, is not one of the place.
fn anybodys(e: StoreError) -> Result<Fetched, StoreError> {
    match e.failure {
        _ if e.is_the_items_own() => Ok(Fetched::Invalid(e.to_string())),
        Failure::NotFound => Ok(Fetched::Gone),
        _ => Err(e),
    }
}

/// A role's name never becomes a tag; the beginning of its hash does.
fn role_part(role: &RoleName) -> String {
    Digest::sha256(role.as_str().as_bytes()).hex()[..8].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::fixture::name;

    #[test]
    fn tags_are_read_back_exactly() {
        let tag = SubmissionTag::of(&RoleName::releases(), Version::new(7).unwrap(), b"x");
        let text = tag.tag(&name()).unwrap();
        assert_eq!(SubmissionTag::read(&name(), &text), Some(tag.clone()));
        assert!(tag.is_of(&RoleName::releases()) && !tag.is_of(&RoleName::targets()));
        let text = text.to_string();
        assert_eq!(text.len(), "bulla.0123456789abcdef.s.".len() + 8 + 1 + 10 + 1 + 32);
        for bad in [
            text.replace(".0000000007.", ".+000000007."),
            text.replace(".0000000007.", ".7."),
            text.replace(".0000000007.", ".0000000000."),
            format!("{text}0"),
            text.to_uppercase(),
            text[..text.len() - 1].to_owned(),
        ] {
            assert!(bad.parse().map_or(true, |t| SubmissionTag::read(&name(), &t).is_none()), "{bad}");
        }
    }
}
