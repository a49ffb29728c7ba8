//! Requests for a delegation at the place of the state: pushed by whoever asks, listed and judged by whoever delegates.
//!
//! Anybody who may push may put anything there. So everything is capped, and nothing counts but what its signature says.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt, TryStreamExt};

use super::known::Known;
use super::lot::drawn;
use super::signing::{KeyRing, SignError, first_key};
use super::state::Packed;
use super::whole::Whole;
use crate::keys::{KeyError, Signer, sign_checked};
use crate::oci::{Content, Manifest, ManifestKind, Packer, Selector, Tag, media_type};
use crate::store::{Manage, StoreError, fetch_small};
use crate::time::UnixTime;
use crate::tuf::request::{Denial, MAX_BYTES, Request, RequestError, id};
use crate::tuf::{CollectionName, PathPattern, RoleName};

/// Most requests that are read in one go.
pub const MAX_REQUESTS: usize = 256;
/// Requests fetched side by side.
const CONCURRENCY: usize = 8;
/// Hex digits of the hash in a tag.
const TAG_HEX: usize = 32;
/// Hex digits by which a request may be named.
const MIN_NAMED: usize = 8;
/// And by which it may be granted: whoever serves the list must not be able to serve another one of that name.
pub const MIN_GRANTED: usize = 32;

/// A request as it lies there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its tag.
    pub tag: Tag,
    /// The request, with the SHA-256 of its document; or why it is none.
    pub request: Result<(String, Request), String>,
    /// What became of it.
    pub answer: Answer,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nothing yet.
    Open,
    /// The key signs this role.
    Granted(RoleName),
    /// It was denied.
    Denied(Denial),
}

/// All that lies there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// Those that were read, by the time they say, then by tag.
    pub requests: Vec<Listed>,
    /// How many more there are.
    pub more: usize,
}

/// Why a request could not be found or answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// No request is named so.
    #[error("no request begins with {0}")]
    Absent(String),
    /// Several are.
    #[error("{0} requests begin with {1}")]
    Ambiguous(usize, String),
    /// It is none that can be answered.
    #[error("{0}: {1}")]
    Invalid(String, String),
    /// No key of a role that delegates is here.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The place failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Sign a request.
///
/// # Errors
/// The key's own.
pub async fn sign_request(request: &Request, signer: &dyn Signer) -> Result<Vec<u8>, KeyError> {
    let signature = sign_checked(signer, &request.message()).await?;
    Ok(request.assemble(&signature))
}

/// The tag at which a request lies: it names the document, so that nobody's request takes the place of another's.
pub fn request_tag(collection: &CollectionName, document: &[u8]) -> Option<Tag> {
    tag(collection, &id(document), "")
}

/// Put a request where those who delegate look for it.
///
/// # Errors
/// The place's own.
pub async fn push_request(
    store: &dyn Manage,
    collection: &CollectionName,
    document: &[u8],
) -> Result<Option<Tag>, StoreError> {
    let tag = request_tag(collection, document);
    push(store, media_type::BULLA_REQUEST, document, tag.as_ref()).await?;
    Ok(tag)
}

/// Read what lies there: at most [`MAX_REQUESTS`]. `whole` says whose denials count, and which keys sign already.
///
/// # Errors
/// The place could not be asked. What lies there is anybody's, and is never an error.
pub async fn list(
    store: &dyn Manage,
    collection: &CollectionName,
    whole: Option<&Whole>,
) -> Result<Listing, StoreError> {
    let prefix = collection.request_prefix();
    let tags = match store.tags(Some(&prefix[..prefix.len() - 1])).await {
        Err(e) if e.is_not_found() => Vec::new(),
        other => other?,
    };
    let mut named: BTreeMap<String, bool> = BTreeMap::new();
    for tag in &tags {
        let Some(rest) = tag.as_str().strip_prefix(&prefix) else { continue };
        let (hash, denied) = rest.strip_suffix(".d").map_or((rest, false), |hash| (hash, true));
        let hex =
            hash.len() == TAG_HEX && hash.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if hex {
            *named.entry(hash.to_owned()).or_default() |= denied;
        }
    }
    let (named, more) = drawn(named.into_iter().collect(), MAX_REQUESTS);
    let read = |(hash, denied): (String, bool)| async move {
        let Some(at) = tag(collection, &hash, "") else { return Ok(None) };
        let Some(document) = fetch(store, &at, media_type::BULLA_REQUEST).await? else { return Ok(None) };
        let request = document.and_then(|document| judge(collection, &hash, &document));
        let denial = match (&request, whole, tag(collection, &hash, ".d").filter(|_| denied)) {
            (Ok((id, _)), Some(whole), Some(at)) => denial(store, collection, whole, id, &at).await?,
            _ => None,
        };
        let granted = request.as_ref().ok().zip(whole).and_then(|((id, _), whole)| granted(whole, id));
        let answer = match (granted, denial) {
            (Some(role), _) => Answer::Granted(role),
            (None, Some(denial)) => Answer::Denied(denial),
            (None, None) => Answer::Open,
        };
        Ok::<_, StoreError>(Some(Listed { tag: at, request, answer }))
    };
    let wanted = stream::iter(named.into_iter().map(read));
    let read: Vec<Option<Listed>> = wanted.buffered(CONCURRENCY).try_collect().await?;
    let mut requests: Vec<Listed> = read.into_iter().flatten().collect();
    requests.sort_by_key(|l| {
        (l.request.as_ref().map_or(UnixTime::from_secs(i64::MAX), |(_, r)| r.at), l.tag.clone())
    });
    Ok(Listing { requests, more })
}

/// The one request whose hash begins with `named`.
///
/// # Errors
/// None, several, or one that is no request.
pub async fn find(
    store: &dyn Manage,
    collection: &CollectionName,
    named: &str,
) -> Result<(String, Request), AnswerError> {
    let prefix = collection.request_prefix();
    let named = named.strip_prefix(&prefix).unwrap_or(named).to_lowercase();
    let hex = named.len() >= MIN_NAMED && named.bytes().all(|b| b.is_ascii_hexdigit());
    let tags = match store.tags(Some(&prefix[..prefix.len() - 1])).await {
        Err(e) if e.is_not_found() => Vec::new(),
        other => other?,
    };
    // A whole hash is longer than what the tag holds of it.
    let begins = |tag: &&Tag| {
        let rest = tag.as_str().strip_prefix(&prefix).filter(|rest| rest.len() == TAG_HEX);
        rest.is_some_and(|rest| {
            rest.starts_with(&named) || (named.len() > TAG_HEX && named.starts_with(rest))
        })
    };
    let found: Vec<&Tag> = tags.iter().filter(|_| hex).filter(begins).collect();
    let at = match found[..] {
        [at] => at,
        [] => return Err(AnswerError::Absent(named)),
        _ => return Err(AnswerError::Ambiguous(found.len(), named)),
    };
    let document = fetch(store, at, media_type::BULLA_REQUEST).await?;
    let document = document.ok_or_else(|| AnswerError::Absent(named.clone()))?;
    let hash = at.as_str().strip_prefix(&prefix).unwrap_or_default();
    let judged = document.and_then(|document| judge(collection, hash, &document));
    let (id, request) = judged.map_err(|why| AnswerError::Invalid(at.to_string(), why))?;
    match named.len() > TAG_HEX && !id.starts_with(&named) {
        true => Err(AnswerError::Absent(named)),
        false => Ok((id, request)),
    }
}

/// Read a request from a document that came as a file.
///
/// # Errors
/// It is none, or for another collection.
pub fn read(collection: &CollectionName, document: &[u8]) -> Result<(String, Request), RequestError> {
    let request = Request::read(document)?;
    request.check_collection(collection)?;
    Ok((id(document), request))
}

/// The denial of a request, if there is one that counts.
///
/// # Errors
/// The place could not be asked.
pub async fn denied(
    store: &dyn Manage,
    collection: &CollectionName,
    whole: &Whole,
    request: &str,
) -> Result<Option<Denial>, StoreError> {
    match tag(collection, request, ".d") {
        Some(at) => denial(store, collection, whole, request, &at).await,
        None => Ok(None),
    }
}

/// Deny a request: signed by a key of a role that delegates, at a tag beside the request, where the asker sees it.
///
/// # Errors
/// No such key is here, or the place failed.
pub async fn deny(
    store: &dyn Manage,
    collection: &CollectionName,
    whole: &Whole,
    request: &str,
    reason: &str,
    keys: &dyn KeyRing,
    at: UnixTime,
) -> Result<Option<Tag>, AnswerError> {
    let delegators = [RoleName::releases(), RoleName::targets()];
    let here = delegators.iter().find_map(|role| {
        let of = whole.keys(role)?;
        let by = first_key(keys, of)?;
        Some((by.clone(), of.keys.get(&by)?.clone()?))
    });
    let Some((by, key)) = here else {
        let role = RoleName::releases();
        let missing = whole.keys(&role).map(|k| k.keys.keys().cloned().collect()).unwrap_or_default();
        return Err(SignError::Missing { role, have: 0, need: 1, missing }.into());
    };
    let denial = Denial {
        collection: collection.clone(),
        request: request.to_owned(),
        reason: reason.to_owned(),
        at,
        by,
    };
    let signer = keys.signer(&key).await.map_err(SignError::from)?;
    let signature = sign_checked(&*signer, &denial.message()).await.map_err(SignError::from)?;
    let tag = tag(collection, request, ".d");
    push(store, media_type::BULLA_DENIAL, &denial.assemble(&signature), tag.as_ref()).await?;
    Ok(tag)
}

/// Whether a pattern is one that was asked for, or lies within one.
pub fn asked_for(request: &Request, pattern: &PathPattern) -> bool {
    request.paths.iter().any(|asked| pattern.within(asked))
}

fn tag(collection: &CollectionName, hash: &str, suffix: &str) -> Option<Tag> {
    format!("{}{}{suffix}", collection.request_prefix(), hash.get(..TAG_HEX)?).parse().ok()
}

async fn push(store: &dyn Manage, kind: &str, document: &[u8], tag: Option<&Tag>) -> Result<(), StoreError> {
    let content = Content::new(format!("{kind}+json"), document.to_vec());
    let layer = content.descriptor().clone().with_data(content.bytes());
    let packed =
        Packed { manifest: Packer::new(kind).layer(layer).build(), blobs: vec![content], past: Vec::new() };
    Known::new(store).push(&packed, tag).await
}

/// The document at a tag; `None`: nothing is there any more. What is no such artifact is named, and no failure.
async fn fetch(
    store: &dyn Manage,
    tag: &Tag,
    kind: &str,
) -> Result<Option<Result<Vec<u8>, String>>, StoreError> {
    let no = |why: &str| Ok(Some(Err(why.to_owned())));
    let manifest = match store.resolve(&Selector::Tag(tag.clone())).await {
        Ok(Some(manifest)) => manifest,
        Ok(None) => return Ok(None),
        Err(e) if e.is_the_items_own() => return Ok(Some(Err(e.to_string()))),
        Err(e) => return Err(e),
    };
    let Ok(parsed) = Manifest::parse(&manifest) else { return no("no manifest") };
    let [layer] = &parsed.layers[..] else { return no("not one document") };
    if parsed.kind != ManifestKind::Image || parsed.artifact_type.as_deref() != Some(kind) {
        return no("another kind of artifact");
    }
    if layer.size > MAX_BYTES {
        return Ok(Some(Err(RequestError::Size(layer.size).to_string())));
    }
    match fetch_small(store, layer, MAX_BYTES).await {
        Ok(content) => Ok(Some(Ok(content.bytes().to_vec()))),
        Err(e) if e.is_not_found() || e.is_the_items_own() => Ok(Some(Err(e.to_string()))),
        Err(e) => Err(e),
    }
}

fn judge(collection: &CollectionName, hash: &str, document: &[u8]) -> Result<(String, Request), String> {
    let id = id(document);
    if !id.starts_with(hash) {
        return Err("its tag is another request's".to_owned());
    }
    let (id, request) = read(collection, document).map_err(|e| e.to_string())?;
    Ok((id, request))
}

async fn denial(
    store: &dyn Manage,
    collection: &CollectionName,
    whole: &Whole,
    request: &str,
    at: &Tag,
) -> Result<Option<Denial>, StoreError> {
    let Some(Ok(document)) = fetch(store, at, media_type::BULLA_DENIAL).await? else { return Ok(None) };
    let keys: Vec<_> =
        [RoleName::releases(), RoleName::targets()].iter().filter_map(|role| whole.keys(role)).collect();
    Ok(Denial::read(&document, collection, request, &keys).ok())
}

/// The role that was granted by this very request.
fn granted(whole: &Whole, request: &str) -> Option<RoleName> {
    let by_it = |d: &&crate::tuf::Delegation| {
        d.terms.as_ref().and_then(|t| t.vetting.as_ref()).is_some_and(|v| v.request == request)
    };
    let all = whole.roles().values().flat_map(|at| at.file.role().delegations());
    all.into_iter().find(by_it).map(|d| d.name.clone())
}
