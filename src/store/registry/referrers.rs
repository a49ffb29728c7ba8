//! Referrers: the API with its pages, and the tag schema where there is no API
//! (distribution-spec "Listing Referrers", "Referrers Tag Schema").

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt, TryStreamExt};
use reqwest::{Method, StatusCode};

use super::Registry;
use super::auth::Access;
use super::fallback::Lists;
use super::http::Call;
use super::pages::Pages;
use crate::oci::{Content, Descriptor, Digest, MAX_MANIFEST_BYTES, Manifest, Selector, media_type};
use crate::store::{Failure, Listing};

/// Most entries and pages of one referrers list that are read.
pub(super) const MAX_ENTRIES: usize = 10_000;
const MAX_PAGES: usize = 64;
/// How often a list is read again until it shows what was pushed.
const READS: u32 = 4;
/// Most of a manifest's annotations, in bytes, and of its type, that are kept as hints: a list may name thousands.
const MAX_NOTE_BYTES: usize = 16 * 1024;
const MAX_TYPE_BYTES: usize = 255;
/// Manifests looked at side by side.
const WIDTH: usize = 8;
/// How long the word counts that a repository has no tags at all.
const MOMENT: Duration = Duration::from_secs(60);

/// What a run has learnt about one repository.
#[derive(Default)]
pub(super) struct Memo {
    /// One of [`UNKNOWN`], [`HAS_API`], [`NO_API`].
    api: AtomicU8,
    /// Whether an answer said already that there is no API: a 404, or no `OCI-Subject` for what has a subject.
    denied: AtomicBool,
    /// Whether a push was answered with `OCI-Subject`. Told, never believed: ECR sent it without having the API.
    subject_noted: AtomicBool,
    /// When it was said that there are no tags at all.
    empty: Mutex<Option<Instant>>,
    /// Manifests pushed or read, by digest: what hangs on what never changes under a digest.
    seen: Mutex<HashMap<Digest, Arc<Seen>>>,
    /// Lists at tags that this run writes.
    pub(super) lists: Lists,
}

const UNKNOWN: u8 = 0;
const HAS_API: u8 = 1;
const NO_API: u8 = 2;

/// What the referrers API said.
enum Answered {
    Entries(Vec<Descriptor>),
    /// There is none.
    NoApi,
    /// Twice that there is no such repository.
    NoRepository,
}

/// A manifest as a referrers list should show it.
struct Seen {
    subject: Option<Digest>,
    entry: Descriptor,
}

impl Memo {
    /// A manifest that this run pushed itself, and whether the answer had `OCI-Subject`.
    pub(super) fn note_own(&self, manifest: &Content, noted: bool) {
        let Ok(parsed) = Manifest::parse(manifest) else { return };
        if parsed.subject.is_some() {
            self.subject_noted.store(noted, Ordering::Relaxed);
            self.denied.fetch_or(!noted, Ordering::Relaxed);
        }
        self.note(manifest, &parsed);
    }

    /// There are no tags at all.
    pub(super) fn note_empty(&self) {
        *self.empty.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether it was said a moment ago that there are no tags at all; for one use, since this run sets some.
    pub(super) fn take_empty(&self) -> bool {
        let empty = self.empty.lock().unwrap_or_else(PoisonError::into_inner).take();
        empty.is_some_and(|at| at.elapsed() < MOMENT)
    }

    /// A manifest that is gone.
    pub(super) fn forget(&self, digest: &Digest) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).remove(digest);
    }

    fn note(&self, content: &Content, manifest: &Manifest) -> Arc<Seen> {
        let mut entry = manifest.referrer_descriptor(content.descriptor());
        let bytes: usize = entry.annotations.iter().flatten().map(|(k, v)| k.len() + v.len()).sum();
        entry.annotations = entry.annotations.filter(|_| bytes <= MAX_NOTE_BYTES);
        entry.artifact_type = entry.artifact_type.filter(|t| t.len() <= MAX_TYPE_BYTES);
        let seen = Arc::new(Seen { subject: manifest.subject.as_ref().map(|s| s.digest.clone()), entry });
        let mut known = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_ENTRIES {
            known.clear();
        }
        known.insert(content.digest().clone(), seen.clone());
        seen
    }
}

impl Registry {
    /// All referrers of `subject`, of one artifact type if given.
    pub(super) async fn listed(
        &self,
        subject: &Digest,
        wanted: Option<&str>,
    ) -> Result<Vec<Descriptor>, Failure> {
        let Listing { entries, by_tag } = self.list_unjudged(subject).await?;
        let by_api = !by_tag;
        let count = entries.len();
        // The listed type may be missing, or the config's where an old client wrote the list.
        let fits = |e: &Descriptor| wanted.is_none() || is_vague(e) || e.artifact_type.as_deref() == wanted;
        let candidates: Vec<Descriptor> = entries.into_iter().filter(fits).collect();
        let whole = candidates.len() == count;
        let looked: Vec<Option<Descriptor>> = stream::iter(candidates)
            .map(|entry| self.settled(entry, subject, by_api))
            .buffered(WIDTH)
            .try_collect()
            .await?;
        let kept: Vec<Descriptor> = looked.into_iter().flatten().collect();
        if !by_api && whole && count > 0 && kept.is_empty() {
            let tag = subject.referrers_tag();
            return Err(Failure::Foreign(format!(
                "the tag {tag} holds an index, but nothing in it refers to {subject}"
            )));
        }
        Ok(kept.into_iter().filter(|e| wanted.is_none() || e.artifact_type.as_deref() == wanted).collect())
    }

    /// What the API or the list at the tag names, before any of it is looked at.
    pub(super) async fn list_unjudged(&self, subject: &Digest) -> Result<Listing, Failure> {
        Ok(match self.ask_api(subject).await? {
            Answered::Entries(entries) => Listing { entries, by_tag: false },
            Answered::NoApi => {
                let entries = self.read_tag(subject).await?.entries();
                Listing { entries, by_tag: true }
            }
            Answered::NoRepository if self.memo.api.load(Ordering::Relaxed) == HAS_API => {
                let text = "the referrers API answered before, and now says that there is no repository";
                return Err(Failure::Protocol(text.into()));
            }
            // Where the repository is there after all, a list at the tag shows it.
            Answered::NoRepository => {
                let entries = self.read_tag(subject).await?.entries();
                let by_tag = !entries.is_empty();
                Listing { entries, by_tag }
            }
        })
    }

    /// One entry, filled in from its manifest where the list is vague, or `None` when its manifest is gone or hangs
    /// on something else. What the API lists is believed in that; a list at a tag is anybody's. One whose manifest cannot
    /// be read for a reason of its own stays as it is listed.
    async fn settled(
        &self,
        entry: Descriptor,
        subject: &Digest,
        by_api: bool,
    ) -> Result<Option<Descriptor>, Failure> {
        if by_api && !is_vague(&entry) {
            return Ok(Some(entry));
        }
        if !media_type::is_manifest(&entry.media_type) {
            return Ok(by_api.then_some(entry));
        }
        let seen = match self.look(&entry.digest).await {
            // Listed, and damaged: whoever needs it meets that, the others are not kept from their own.
            Err(f) if f.is_the_items_own() => return Ok(Some(entry)),
            seen => seen?,
        };
        let Some(seen) = seen else {
            tracing::debug!(digest = %entry.digest, "listed as a referrer, but not there");
            return Ok(None);
        };
        if seen.subject.as_ref() != Some(subject) {
            return Ok(None);
        }
        let mut own = seen.entry.clone();
        own.annotations = entry.annotations.filter(|a| !a.is_empty()).or(own.annotations);
        Ok(Some(own))
    }

    /// How a manifest should be listed, and what it refers to; `None` when it is not there.
    pub(super) async fn looked_up(
        &self,
        digest: &Digest,
    ) -> Result<Option<(Descriptor, Option<Digest>)>, Failure> {
        let seen = self.look(digest).await?;
        Ok(seen.map(|seen| (seen.entry.clone(), seen.subject.clone())))
    }

    async fn look(&self, digest: &Digest) -> Result<Option<Arc<Seen>>, Failure> {
        let known = self.memo.seen.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned();
        if known.is_some() {
            return Ok(known);
        }
        // Listed, and 404: asked once more, since one wrong answer would take it out of the list.
        let by_digest = Selector::Digest(digest.clone());
        let mut found = self.pull_manifest(&by_digest).await?;
        if found.is_none() {
            found = self.pull_manifest(&by_digest).await?;
        }
        let Some(content) = found else {
            return Ok(None);
        };
        let manifest = Manifest::parse(&content)?;
        Ok(Some(self.memo.note(&content, &manifest)))
    }

    /// The answer of the referrers API. Only 404 says that there is none: any other refusal is an error, never an empty
    /// list.
    async fn ask_api(&self, subject: &Digest) -> Result<Answered, Failure> {
        #[derive(serde::Deserialize)]
        struct Page {
            manifests: Option<Vec<Descriptor>>,
        }
        let api = &self.memo.api;
        // Not filtered by the registry: one that lists other types than the manifests have would filter by those.
        let path = self.path(&format!("referrers/{subject}"));
        let (mut call, mut pages) = (Call::path(Method::GET, path), Pages::new(MAX_PAGES));
        let (mut out, mut listed, mut first): (Vec<Descriptor>, HashSet<Digest>, bool) =
            (Vec::new(), HashSet::new(), true);
        let mut asked_again = false;
        loop {
            if first && api.load(Ordering::Relaxed) == NO_API {
                return Ok(Answered::NoApi);
            }
            let answer = self.host.small(&call, &self.scopes(Access::Read), MAX_MANIFEST_BYTES).await?;
            match answer.status {
                StatusCode::OK => {}
                // Where there is no API, no registry answers with its own error document: the API is asked once more, since
                // one wrong answer would lose all that hangs there.
                StatusCode::NOT_FOUND if first && !asked_again && answer.has_errors() => {
                    asked_again = true;
                    continue;
                }
                // The repository is not there, and that says nothing about the API.
                StatusCode::NOT_FOUND if first && answer.has_code("NAME_UNKNOWN") => {
                    return Ok(Answered::NoRepository);
                }
                StatusCode::NOT_FOUND if first => {
                    // A registry may answer so for an unknown subject: that is no reason to forget its API.
                    if !answer.has_code("MANIFEST_UNKNOWN") {
                        // Any proxy can answer so. That there is no API is believed the second time, whoever asked; that
                        // one is gone, the second time that the same is asked.
                        let had = api.load(Ordering::Relaxed) == HAS_API;
                        let second = self.memo.denied.swap(true, Ordering::Relaxed);
                        if !asked_again && (had || !second) {
                            asked_again = true;
                            continue;
                        }
                        let known =
                            api.compare_exchange(UNKNOWN, NO_API, Ordering::Relaxed, Ordering::Relaxed);
                        // One node of several without the API: its tags hold nothing of what the others list.
                        if known == Err(HAS_API) {
                            let text = "the referrers API answered before, and now says 404";
                            return Err(Failure::Protocol(text.into()));
                        }
                    }
                    return Ok(Answered::NoApi);
                }
                StatusCode::NOT_FOUND => {
                    return Err(Failure::Protocol("a page of the referrers list is missing".into()));
                }
                s if s.is_success() => {
                    return Err(Failure::Protocol(format!("status {s} for a referrers list")));
                }
                _ => return Err(answer.failure()),
            }
            if answer.media_type() != Some(media_type::OCI_INDEX) {
                let got = super::answer::clean(answer.media_type().unwrap_or("nothing"));
                return Err(Failure::Protocol(format!("the referrers list is no OCI index but {got}")));
            }
            let page: Page = serde_json::from_slice(&answer.body)
                .map_err(|e| Failure::Protocol(format!("the referrers list cannot be read: {e}")))?;
            api.store(HAS_API, Ordering::Relaxed);
            for entry in page.manifests.into_iter().flatten() {
                if listed.insert(entry.digest.clone()) {
                    out.push(entry);
                }
            }
            if out.len() > MAX_ENTRIES {
                return Err(too_many(out.len()));
            }
            first = false;
            match pages.next(&answer, &self.host)? {
                Some(next) => call = next,
                None => return Ok(Answered::Entries(out)),
            }
        }
    }

    /// Make sure that `referrers` are listed, and return once a list read back shows them.
    pub(super) async fn list_anew(&self, subject: &Descriptor, referrers: &[Content]) -> Result<(), Failure> {
        let mut wanted: Vec<Descriptor> = Vec::new();
        for referrer in referrers {
            let manifest = Manifest::parse(referrer)?;
            if manifest.subject.as_ref().map(|s| &s.digest) != Some(&subject.digest) {
                return Err(Failure::Protocol(format!(
                    "{} does not refer to {}",
                    referrer.digest(),
                    subject.digest
                )));
            }
            if wanted.iter().all(|w| &w.digest != referrer.digest()) {
                wanted.push(manifest.referrer_descriptor(referrer.descriptor()));
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let listed = match self.ask_api(&subject.digest).await? {
            Answered::Entries(listed) => listed,
            Answered::NoApi => return self.add_to_list(&subject.digest, &wanted).await,
            // It was just pushed to: what is listed late is waited for below.
            Answered::NoRepository => Vec::new(),
        };
        let mut missing = absent(&wanted, &listed);
        for round in 0..2 * READS {
            if missing.is_empty() {
                return Ok(());
            }
            if round == READS {
                // The registry took them and lists others: some lose referrers that are pushed side by side.
                for referrer in referrers.iter().filter(|r| missing.contains(r.digest())) {
                    self.put_manifest(referrer, None).await?;
                }
            } else {
                tokio::time::sleep(self.host.config().retry.backoff(round % READS + 1)).await;
            }
            let listed = match self.ask_api(&subject.digest).await? {
                Answered::Entries(listed) => listed,
                Answered::NoApi => return Err(Failure::Protocol("the referrers API is gone".into())),
                Answered::NoRepository => Vec::new(),
            };
            missing = absent(&wanted, &listed);
        }
        if missing.is_empty() { Ok(()) } else { Err(self.lost(&missing)) }
    }

    pub(super) fn lost(&self, missing: &[Digest]) -> Failure {
        let shown: Vec<String> = missing.iter().take(3).map(Digest::short).collect();
        let noted = self.memo.subject_noted.load(Ordering::Relaxed);
        let though = if noted { ", although the registry confirmed the subject" } else { "" };
        Failure::Lost(format!("{} referrer(s), first {}{though}", missing.len(), shown.join(", ")))
    }
}

/// Which of `wanted` are not in `listed`.
pub(super) fn absent(wanted: &[Descriptor], listed: &[Descriptor]) -> Vec<Digest> {
    let listed: HashSet<&Digest> = listed.iter().map(|e| &e.digest).collect();
    wanted.iter().map(|w| &w.digest).filter(|d| !listed.contains(d)).cloned().collect()
}

/// Whether the listed type says too little to filter by: none, or a config's that stands for the artifact's own
/// (a manifest with the empty config must have an artifact type).
fn is_vague(entry: &Descriptor) -> bool {
    match entry.artifact_type.as_deref() {
        None | Some("" | media_type::OCI_EMPTY) => true,
        Some(t) => t.ends_with(".config.v1+json") || t == "application/vnd.docker.container.image.v1+json",
    }
}

pub(super) fn too_many(count: usize) -> Failure {
    Failure::TooLarge {
        what: format!("the referrers list ({count} entries)"),
        limit: format!("{MAX_ENTRIES} entries"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_of_a_manifest_is_small() {
        let memo = Memo::default();
        let noted = |value: usize, artifact_type: usize| {
            let manifest = crate::oci::Packer::new("t".repeat(artifact_type));
            let manifest =
                manifest.annotation("k", "v".repeat(value)).subject(&Descriptor::of("a/b", b"x")).build();
            let seen = memo.note(&manifest, &Manifest::parse(&manifest).unwrap());
            assert_eq!(seen.subject, Some(Digest::sha256(b"x")));
            (seen.entry.annotations.is_some(), seen.entry.artifact_type.is_some())
        };
        assert_eq!(noted(100, 100), (true, true));
        assert_eq!(noted(MAX_NOTE_BYTES, 100), (false, true));
        assert_eq!(noted(100, 1 << 20), (true, false));
    }

    #[test]
    fn vague_types_are_looked_up() {
        let typed = |t: &str| Descriptor { artifact_type: Some(t.into()), ..Descriptor::of("a/b", b"x") };
        assert!(
            is_vague(&Descriptor::of("a/b", b"x"))
                && is_vague(&typed(""))
                && is_vague(&typed(media_type::OCI_EMPTY))
        );
        assert!(is_vague(&typed("application/vnd.oci.image.config.v1+json")));
        assert!(!is_vague(&typed(media_type::BULLA_SEAL)));
    }

    #[test]
    fn absent_counts_by_digest() {
        let (a, b) = (Descriptor::of("x/y", b"a"), Descriptor::of("x/y", b"b"));
        assert_eq!(absent(&[a.clone(), b.clone()], std::slice::from_ref(&a)), vec![b.digest.clone()]);
        assert_eq!(absent(std::slice::from_ref(&a), &[a.clone().annotated("k", "v")]), vec![]);
    }
}
