//! Finding the attestations of one bundle: the Sigstore bundles that refer to it. Reads, and judges nothing. What is read at once, in all
//! and for how long is bounded, as of signatures.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{self, StreamExt};
use tokio::time::{Instant, timeout_at};

use super::signatures::{Read, broken, failed, parse, within};
use crate::envelope::sigstore_bundle::{self, MAX_BUNDLE, PREDICATE_TYPE};
use crate::oci::{Descriptor, Digest, Selector, media_type};
use crate::store::{Listing, Store, StoreError, fetch_small};
use crate::trust::signatures::{Form, Hung, Rest, SignaturesAnswer, is_vague, referrer};

/// Candidates of one round, all side by side: a bundle has up to 4 MiB.
const ROUND: usize = 8;
/// Most bytes that are read for one bundle.
const MAX_BYTES: u64 = 256 << 20;
/// Longest that they are looked for.
const PATIENCE: Duration = Duration::from_secs(120);

/// A search for the attestations of one bundle, round by round.
pub(super) struct Attestations {
    subject: Digest,
    /// What was not read yet, the likely ones first; none before the first round.
    queue: Option<VecDeque<Descriptor>>,
    bytes: u64,
    until: Option<Instant>,
}

impl Attestations {
    pub(super) fn new(subject: &Digest) -> Self {
        Self { subject: subject.clone(), queue: None, bytes: 0, until: None }
    }

    pub(super) fn subject(&self) -> &Digest {
        &self.subject
    }

    /// The next round; `listed` is what refers to the bundle.
    pub(super) fn next<'a>(
        &'a mut self,
        store: &'a dyn Store,
        types: &'a BTreeSet<String>,
        listed: Result<Listing, StoreError>,
    ) -> BoxFuture<'a, SignaturesAnswer> {
        self.round(store, types, listed).boxed()
    }

    async fn round(
        &mut self,
        store: &dyn Store,
        types: &BTreeSet<String>,
        listed: Result<Listing, StoreError>,
    ) -> SignaturesAnswer {
        let until = *self.until.get_or_insert_with(|| Instant::now() + PATIENCE);
        let mut answer = SignaturesAnswer::default();
        if self.queue.is_none() {
            match listed {
                Ok(listing) => self.queue = Some(queue(&listing, types)),
                Err(e) => {
                    answer.unread.push(e.to_string());
                    return answer;
                }
            }
        }
        let Some(queue) = &mut self.queue else { return answer };
        let batch: Vec<Descriptor> = queue.drain(..ROUND.min(queue.len())).collect();
        let subject = &self.subject;
        let mut reads: Vec<BoxFuture<'_, Read>> = Vec::new();
        for entry in &batch {
            reads.push(within(&entry.digest, look(store, subject, entry)).boxed());
        }
        let mut reads = Box::pin(stream::iter(reads).buffered(ROUND));
        loop {
            match timeout_at(until, reads.next()).await {
                Err(_) => {
                    answer.rest = Rest::Cut(format!("they were read for {} s", PATIENCE.as_secs()));
                    return answer;
                }
                Ok(None) => break,
                Ok(Some(read)) => {
                    self.bytes += read.bytes;
                    answer.found.extend(read.found);
                    answer.broken.extend(read.broken);
                    answer.unread.extend(read.unread);
                }
            }
        }
        if !queue.is_empty() {
            answer.rest = match self.bytes > MAX_BYTES {
                true => Rest::Cut(format!("more than {MAX_BYTES} bytes hang on it")),
                false => Rest::More,
            };
        }
        answer
    }
}

/// What may be an attestation, the likely ones first. Lists are hints: what says another type comes later, and is read all the same.
fn queue(listing: &Listing, types: &BTreeSet<String>) -> VecDeque<Descriptor> {
    let own = |d: &Descriptor| {
        let ours = [media_type::BULLA_SEAL, media_type::BULLA_STATE, media_type::BULLA_THICK];
        !listing.by_tag && d.artifact_type.as_deref().is_some_and(|t| ours.contains(&t))
    };
    let rank = |d: &Descriptor| match (d.artifact_type.as_deref(), d.annotation(PREDICATE_TYPE)) {
        (Some(sigstore_bundle::MEDIA_TYPE), Some(said)) if types.contains(said) => 0,
        (Some(sigstore_bundle::MEDIA_TYPE), None) => 1,
        _ if is_vague(d) => 2,
        (Some(sigstore_bundle::MEDIA_TYPE), Some(_)) => 3,
        _ => 4,
    };
    let entries = listing.entries.iter().filter(|d| media_type::is_manifest(&d.media_type) && !own(d));
    let mut ranked: Vec<&Descriptor> = entries.collect();
    ranked.sort_by_key(|d| rank(d));
    ranked.into_iter().cloned().collect()
}

/// One referrer: its manifest, and if that is a Sigstore bundle, its bytes.
async fn look(store: &dyn Store, subject: &Digest, entry: &Descriptor) -> Read {
    let digest = &entry.digest;
    let content = match store.resolve(&Selector::Digest(digest.clone())).await {
        Ok(Some(content)) => content,
        Ok(None) => return broken(format!("{digest} is listed, and not there")),
        Err(e) => return failed(digest, &e),
    };
    let mut read = Read { bytes: content.descriptor().size, ..Read::default() };
    match parse(&content).map(|manifest| referrer(&manifest, subject)) {
        Ok(Hung::Signatures(pieces)) => {
            let Some(piece) = pieces.first().filter(|piece| piece.form == Form::SigstoreBundle) else {
                return read;
            };
            match fetch_small(store, &piece.layer, MAX_BUNDLE as u64).await {
                Ok(bytes) => {
                    read.bytes += bytes.descriptor().size;
                    read.found.push(piece.read(digest, bytes.bytes().clone()));
                }
                Err(e) if e.is_not_found() => {
                    read.broken = Some(format!("{digest}: its layer {} is not there", piece.layer.digest));
                }
                Err(e) => return Read { bytes: read.bytes, ..failed(digest, &e) },
            }
        }
        Ok(Hung::Other) => {}
        Ok(Hung::Broken(why)) => read.broken = Some(format!("{digest}: {why}")),
        Err(why) => read.broken = Some(why),
    }
    read
}
