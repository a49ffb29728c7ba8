//! Proposals on their way: as artifacts beside the state, or in an OCI layout on a stick.
//!
//! Each copy lies at a tag of its own, `bulla.<h>.p.<id>.<copy>`: whoever signs pushes one more copy and overwrites nobody's.
//! Anybody who may push can put anything there: what is read is bounded, and believed by its signatures alone.

use crate::client::ceremony::Desk;
use crate::client::lot::drawn;
use crate::client::whole::Whole;
use crate::oci::{
    Content, Digest, EMPTY_JSON, Manifest, Packer, Selector, Tag, empty_descriptor, media_type,
};
use crate::store::{BytesSource, Manage, Store, StoreError, fetch_small};
use crate::tuf::proposal::{MAX_BYTES, Proposal};
use crate::tuf::{CollectionName, Files, RoleName};

/// Most copies that are read at one place.
const MAX_COPIES: usize = 64;
/// Most bytes of copies that are read at one place.
const MAX_COPIED: u64 = 128 * 1024 * 1024;
/// Hex digits of a proposal's id.
const ID_HEX: usize = 32;

/// What lies at one tag.
#[derive(Debug, Clone)]
pub struct Copy {
    /// The tag.
    pub tag: Tag,
    /// The proposal, or why it is none.
    pub proposal: Result<Proposal, String>,
}

/// What was found at a place.
#[derive(Debug, Clone, Default)]
pub struct Copies {
    /// What was read.
    pub copies: Vec<Copy>,
    /// How many more there are than are read.
    pub passed_over: usize,
}

/// Push a proposal at a tag of its own.
///
/// # Errors
/// The place's own.
pub async fn push(store: &dyn Manage, proposal: &Proposal) -> Result<Tag, StoreError> {
    let bytes = proposal.to_bytes();
    let whole = Digest::sha256(&bytes);
    let tag = tag_of(proposal, &whole).unwrap_or_else(|| Tag::of_digest("proposal-", &whole, 16));
    let layer = Content::new(media_type::BULLA_PROPOSAL_JSON, bytes);
    let empty = Content::new(empty_descriptor().media_type, EMPTY_JSON);
    for blob in [&layer, &empty] {
        store.push_blob(blob.descriptor(), &BytesSource(blob.bytes().clone())).await?;
    }
    let manifest = Packer::new(media_type::BULLA_PROPOSAL).layer(layer.descriptor().clone()).build();
    store.push_manifest(&manifest, Some(&tag)).await?;
    store.flush().await?;
    Ok(tag)
}

/// The proposals at a place: at one tag or digest, the copies of one (a tag without the part that tells copies apart), or all that
/// are listed, of one collection or of any.
///
/// # Errors
/// The place cannot be asked.
pub async fn find(
    store: &dyn Store,
    collection: Option<&CollectionName>,
    selector: Option<&Selector>,
) -> Result<Copies, StoreError> {
    let mut out = Copies::default();
    let of_one = selector.and_then(Selector::tag).map(Tag::as_str).filter(|tag| names_copies(tag));
    let tags: Vec<(Tag, Selector)> = match selector.filter(|_| of_one.is_none()) {
        Some(selector) => {
            let tag = match (selector.tag(), selector.digest()) {
                (Some(tag), _) => tag.clone(),
                (None, Some(digest)) => Tag::of_digest("sha256-", digest, 16),
                (None, None) => return Ok(out),
            };
            vec![(tag, selector.clone())]
        }
        None => {
            let listed = match store.tags(None).await {
                Err(e) if e.is_not_found() => Vec::new(),
                other => other?,
            };
            let prefix = collection.map(CollectionName::proposal_prefix);
            let ours = |t: &Tag| match (of_one, &prefix) {
                (Some(one), _) => t.as_str().strip_prefix(one).is_some_and(|rest| rest.starts_with('.')),
                (None, Some(prefix)) => t.as_str().starts_with(prefix.as_str()),
                (None, None) => t.as_str().starts_with("bulla.") && t.as_str().get(22..25) == Some(".p."),
            };
            let tags = listed.into_iter().filter(ours);
            tags.map(|t| (t.clone(), Selector::Tag(t))).collect()
        }
    };
    let (count, mut left) = (tags.len(), MAX_COPIED);
    let (copies, others): (Vec<_>, Vec<_>) = tags.into_iter().partition(|(tag, _)| is_copys(tag.as_str()));
    let (mut tags, undrawn) = drawn(copies, MAX_COPIES);
    let (others, more) = drawn(others, MAX_COPIES - tags.len());
    tags.extend(others);
    out.passed_over = undrawn + more;
    for (i, (tag, selector)) in tags.iter().enumerate() {
        if left == 0 {
            out.passed_over += tags.len() - i;
            break;
        }
        let named = selector.tag().is_some_and(|t| t == tag);
        let proposal = match read(store, selector, &mut left).await {
            // Its tag says what it is: nobody's copy takes the place of another's.
            Ok(Ok((p, bytes))) if named && count > 1 && tag_of(&p, &bytes).as_ref() != Some(tag) => {
                Err("its tag is another copy's".to_owned())
            }
            Ok(read) => read.map(|(proposal, _)| proposal),
            Err(e) if e.is_the_items_own() || e.is_not_found() => Err(e.to_string()),
            Err(e) => return Err(e),
        };
        out.copies.push(Copy { tag: tag.clone(), proposal });
    }
    Ok(out)
}

/// Whether a tag names a proposal and none of its copies.
fn names_copies(tag: &str) -> bool {
    tag.starts_with("bulla.") && tag.get(22..25) == Some(".p.") && tag.len() == 25 + ID_HEX
}

/// Whether a tag has the form of a copy's. Of what has not, a note says that it lies there.
fn is_copys(tag: &str) -> bool {
    let (of_one, copy) = tag.split_at_checked(25 + ID_HEX).unwrap_or((tag, ""));
    names_copies(of_one) && copy.len() == 17 && copy.starts_with('.')
}

/// The tag of a copy.
fn tag_of(proposal: &Proposal, whole: &Digest) -> Option<Tag> {
    let (prefix, copy) = (proposal.collection().proposal_prefix(), &whole.hex()[..16]);
    format!("{prefix}{}.{copy}", proposal.id()).parse().ok()
}

/// The proposal at a place, and the digest of its document; `left` is how many bytes may still be read.
async fn read(
    store: &dyn Store,
    selector: &Selector,
    left: &mut u64,
) -> Result<Result<(Proposal, Digest), String>, StoreError> {
    let Some(manifest) = store.resolve(selector).await? else { return Ok(Err("it is not there".into())) };
    let manifest = match Manifest::parse(&manifest) {
        Ok(manifest) => manifest,
        Err(e) => return Ok(Err(e.to_string())),
    };
    if manifest.artifact_type.as_deref() != Some(media_type::BULLA_PROPOSAL) {
        return Ok(Err("it is no proposal".into()));
    }
    let [layer] = manifest.layers.as_slice() else {
        return Ok(Err(format!("{} layers; a proposal has one", manifest.layers.len())));
    };
    if layer.size > MAX_BYTES as u64 {
        return Ok(Err(format!("{} bytes, at most {MAX_BYTES} are read", layer.size)));
    }
    if layer.size > *left {
        *left = 0;
        return Ok(Err("more bytes than are read at one place".into()));
    }
    *left -= layer.size;
    let content = fetch_small(store, layer, MAX_BYTES as u64).await?;
    let digest = content.digest().clone();
    Ok(Proposal::parse(content.bytes()).map(|p| (p, digest)).map_err(|e| e.to_string()))
}

/// Take the copies of a proposal away again, once it is in; how many are left.
///
/// # Errors
/// The place cannot be asked what lies there.
pub async fn clear(store: &dyn Manage, proposal: &Proposal) -> Result<usize, StoreError> {
    // Its own copies alone: those of other proposals must not use up what is read.
    let of_it = format!("{}{}", proposal.collection().proposal_prefix(), proposal.id());
    let selector = of_it.parse().ok().map(Selector::Tag);
    let found = find(store, Some(proposal.collection()), selector.as_ref()).await?;
    let id = proposal.id();
    let mut left = found.passed_over;
    for copy in found.copies.iter().filter(|c| c.proposal.as_ref().is_ok_and(|p| p.id() == id)) {
        let gone = store.delete(&Selector::Tag(copy.tag.clone())).await;
        left += usize::from(!gone.unwrap_or(false));
    }
    Ok(left)
}

/// Whether what lies there is what a proposal stands on, by its hashes alone: nothing is verified.
pub fn stands_on(proposal: &Proposal, there: &Files) -> bool {
    let newest = |role: &RoleName| {
        let of_role = there.metadata().iter().filter(|(name, _)| name.role() == role);
        of_role.max_by_key(|(name, _)| name.version())
    };
    proposal.drafts().keys().chain([&RoleName::root()]).all(|role| {
        let found =
            newest(role).map(|(name, bytes)| (name.version(), Digest::sha256(bytes).hex().to_owned()));
        proposal.base().get(role).map(|a| (Some(a.0), a.1.clone())) == found
    })
}

/// Take every proposal away that `whole` has put in, which nobody needs any more: its copies, as far as they are read.
///
/// # Errors
/// The place cannot be asked what lies there.
pub async fn clear_published(
    store: &dyn Manage,
    collection: &CollectionName,
    whole: &Whole,
) -> Result<(), StoreError> {
    let base = whole.base(collection);
    let is_in = |p: &Proposal| p.drafts().iter().all(|(role, d)| base.signed(role) == Some(d.signed()));
    for copy in find(store, Some(collection), None).await?.copies {
        if copy.proposal.as_ref().is_ok_and(is_in) {
            // What cannot be deleted is passed over by who reads (`stands_on`).
            let _ = store.delete(&Selector::Tag(copy.tag)).await;
        }
    }
    Ok(())
}

impl Desk<'_> {
    /// Take the copies of a proposal away again, once it is in; how many are left.
    ///
    /// # Errors
    /// The place cannot be asked what lies there.
    pub async fn clear(&self, proposal: &Proposal) -> Result<usize, StoreError> {
        clear(self.store, proposal).await
    }
}
