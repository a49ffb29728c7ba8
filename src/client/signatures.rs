//! Finding the signatures of one bundle: what refers to it, and cosign's `.sig` tag. Reads, and judges nothing.
//!
//! Anybody who may push can hang up as much as he likes. So what is read at once, in all and for how long is bounded, the likely ones
//! come first, one that is broken costs only itself, and what was not looked at is said.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use tokio::time::{Instant, timeout_at};

use crate::oci::{Content, Descriptor, Digest, Manifest, Selector, Tag, media_type};
use crate::store::{Failure, Listing, Store, StoreError, fetch_small};
use crate::trust::signatures::{
    Form, Found, Hung, MAX_LAYERS, Piece, Rest, SignaturesAnswer, at_cosign_tag, rank, referrer,
};

/// Candidates in the first round, and in each one after it.
const FIRST_ROUND: usize = 8;
const ROUND: usize = 64;
/// Candidates that are fetched side by side.
const WIDTH: usize = 8;
/// Most bytes of signatures that are held for one round.
const ROUND_BYTES: u64 = 16 * 1024 * 1024;
/// Most bytes of manifests and signatures for one bundle.
const MAX_BYTES: u64 = 128 * 1024 * 1024;
/// Longest that signatures are looked for.
const PATIENCE: Duration = Duration::from_secs(120);

/// A search for the signatures of one bundle, round by round: it ends as soon as enough were found.
pub(super) struct Search {
    subject: Digest,
    thumbprints: BTreeSet<String>,
    /// What refers to the bundle, asked for once and for seals too.
    listing: Option<Result<Listing, StoreError>>,
    stage: Stage,
    rounds: usize,
    bytes: u64,
    until: Option<Instant>,
    /// The bundle's manifest, where a signature over its bytes was found.
    artifact: Option<Bytes>,
}

enum Stage {
    /// Nothing was asked yet.
    Start,
    /// Referrers that were not read yet, by rank.
    Referrers(VecDeque<(u8, Descriptor)>),
    /// cosign's tag comes next.
    CosignTag,
    /// Layers at cosign's tag that were not read yet.
    Layers(Digest, VecDeque<Piece>),
    End,
}

/// What one entry came to.
#[derive(Default)]
struct Read {
    found: Vec<Found>,
    broken: Option<String>,
    unread: Option<String>,
    bytes: u64,
}

impl Search {
    /// For the bundle with this digest; `thumbprints` are those of the certificates that are trusted.
    pub(super) fn new(subject: &Digest, thumbprints: BTreeSet<String>) -> Self {
        Self {
            subject: subject.clone(),
            thumbprints,
            listing: None,
            stage: Stage::Start,
            rounds: 0,
            bytes: 0,
            until: None,
            artifact: None,
        }
    }

    /// Which bundle it is for.
    pub(super) fn subject(&self) -> &Digest {
        &self.subject
    }

    /// What refers to the bundle, if that was asked for.
    pub(super) fn listing(&self) -> Option<&Result<Listing, StoreError>> {
        self.listing.as_ref()
    }

    /// The next round.
    pub(super) async fn next(&mut self, store: &dyn Store) -> SignaturesAnswer {
        let until = *self.until.get_or_insert_with(|| Instant::now() + PATIENCE);
        let mut answer = SignaturesAnswer::default();
        match timeout_at(until, self.round(store, &mut answer)).await {
            Ok(()) => {
                if self.bytes > MAX_BYTES {
                    answer.rest = Rest::Cut(format!("more than {MAX_BYTES} bytes hang on it"));
                }
            }
            Err(_) => answer.rest = Rest::Cut(format!("they were read for {} s", PATIENCE.as_secs())),
        }
        answer
    }

    async fn round(&mut self, store: &dyn Store, answer: &mut SignaturesAnswer) {
        self.gather_round(store, answer).await;
        if self.artifact.is_none() && answer.found.iter().any(is_over_bytes) {
            match store.resolve(&Selector::Digest(self.subject.clone())).await {
                Ok(content) => self.artifact = content.map(|c| c.bytes().clone()),
                Err(e) => answer.unread.push(e.to_string()),
            }
        }
        answer.artifact = self.artifact.clone();
    }

    async fn gather_round(&mut self, store: &dyn Store, answer: &mut SignaturesAnswer) {
        loop {
            match &mut self.stage {
                Stage::Start => {
                    let listed = store.listing(&self.subject).await;
                    let queue = match &listed {
                        Ok(listing) => queue(listing, &self.thumbprints),
                        Err(e) => {
                            answer.unread.push(e.to_string());
                            VecDeque::new()
                        }
                    };
                    self.listing = Some(listed);
                    self.stage = Stage::Referrers(queue);
                }
                Stage::Referrers(queue) if queue.is_empty() => {
                    self.stage = Stage::CosignTag;
                    if self.rounds > 0 || !answer.unread.is_empty() {
                        // What was found is judged before more is asked for.
                        answer.rest = Rest::More;
                        return;
                    }
                }
                Stage::Referrers(queue) => {
                    let most = if self.rounds == 0 { FIRST_ROUND } else { ROUND };
                    let best = queue[0].0;
                    let batch: Vec<Descriptor> = queue
                        .iter()
                        .take(most)
                        .take_while(|(r, _)| *r == best)
                        .map(|(_, d)| d.clone())
                        .collect();
                    let subject = &self.subject;
                    let reads = batch.into_iter().map(|entry| look(store, subject, entry));
                    let (done, bytes) = gather(reads, answer).await;
                    queue.drain(..done);
                    self.rounds += 1;
                    self.bytes += bytes;
                    answer.rest = Rest::More;
                    return;
                }
                Stage::CosignTag => {
                    self.stage = match cosign_tag(store, &self.subject, answer).await {
                        Some((manifest, pieces)) => Stage::Layers(manifest, pieces.into()),
                        None => Stage::End,
                    };
                }
                Stage::Layers(manifest, pieces) => {
                    let batch: Vec<Piece> = pieces.iter().take(ROUND).cloned().collect();
                    let reads = batch.into_iter().map(|piece| layer(store, manifest, piece));
                    let (done, bytes) = gather(reads, answer).await;
                    pieces.drain(..done);
                    self.bytes += bytes;
                    if pieces.is_empty() {
                        self.stage = Stage::End;
                        return;
                    }
                    answer.rest = Rest::More;
                    return;
                }
                Stage::End => return,
            }
        }
    }
}

/// Whether a bundle seems to be a signature over the manifest's bytes. Only to know whether these are needed.
fn is_over_bytes(found: &Found) -> bool {
    let name = b"\"messageSignature\"";
    found.form == Form::SigstoreBundle && found.bytes.windows(name.len()).any(|w| w == name)
}

/// What is listed, the likely ones first. Of bulla's own artifacts, by a list that the registry itself keeps, none is read.
fn queue(listing: &Listing, thumbprints: &BTreeSet<String>) -> VecDeque<(u8, Descriptor)> {
    let own = |d: &Descriptor| {
        let ours = [media_type::BULLA_SEAL, media_type::BULLA_STATE];
        !listing.by_tag && d.artifact_type.as_deref().is_some_and(|t| ours.contains(&t))
    };
    let entries = listing.entries.iter().filter(|d| media_type::is_manifest(&d.media_type) && !own(d));
    let mut ranked: Vec<(u8, Descriptor)> = entries.map(|d| (rank(d, thumbprints), d.clone())).collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into()
}

/// Run the reads of a round, side by side, until it is full; how many were run, and the bytes.
async fn gather(
    reads: impl ExactSizeIterator<Item = impl Future<Output = Read>>,
    answer: &mut SignaturesAnswer,
) -> (usize, u64) {
    let mut reads = Box::pin(stream::iter(reads).buffered(WIDTH));
    let (mut done, mut bytes) = (0, 0);
    while let Some(read) = reads.next().await {
        done += 1;
        bytes += read.bytes;
        answer.found.extend(read.found);
        answer.broken.extend(read.broken);
        answer.unread.extend(read.unread);
        if bytes > ROUND_BYTES {
            break;
        }
    }
    (done, bytes)
}

/// One referrer: its manifest, and if that is a signature, its bytes.
async fn look(store: &dyn Store, subject: &Digest, entry: Descriptor) -> Read {
    let digest = &entry.digest;
    let mut read = Read::default();
    let content = match store.resolve(&Selector::Digest(digest.clone())).await {
        Ok(Some(content)) => content,
        Ok(None) => {
            read.broken = Some(format!("{digest} is listed, and not there"));
            return read;
        }
        Err(e) => return failed(read, digest, &e),
    };
    read.bytes = content.descriptor().size;
    match parse(&content) {
        Ok(manifest) => match referrer(&manifest, subject) {
            Hung::Other => {}
            Hung::Broken(why) => read.broken = Some(format!("{digest}: {why}")),
            Hung::Signatures(pieces) => {
                if pieces.len() > MAX_LAYERS {
                    read.unread = Some(format!("{digest} has more than {MAX_LAYERS} signatures"));
                }
                for piece in pieces.into_iter().take(MAX_LAYERS) {
                    let one = layer(store, digest, piece).await;
                    read.bytes += one.bytes;
                    read.found.extend(one.found);
                    read.broken = read.broken.or(one.broken);
                    read.unread = read.unread.or(one.unread);
                }
            }
        },
        Err(why) => read.broken = Some(why),
    }
    read
}

/// The image at cosign's tag and its layers, if there is one.
async fn cosign_tag(
    store: &dyn Store,
    subject: &Digest,
    answer: &mut SignaturesAnswer,
) -> Option<(Digest, Vec<Piece>)> {
    let tag: Tag = format!("{}.sig", subject.referrers_tag()).parse().ok()?;
    let content = match store.resolve(&Selector::Tag(tag.clone())).await {
        Ok(Some(content)) => content,
        Ok(None) => return None,
        Err(e) if e.is_not_found() => return None,
        Err(e) if e.is_the_items_own() => {
            answer.broken.push(format!("the tag {tag}: {e}"));
            return None;
        }
        Err(e) => {
            answer.unread.push(e.to_string());
            return None;
        }
    };
    match parse(&content).map(|manifest| at_cosign_tag(&manifest)) {
        Ok(Hung::Signatures(mut pieces)) => {
            if pieces.len() > MAX_LAYERS {
                answer.unread.push(format!("the tag {tag} has more than {MAX_LAYERS} signatures"));
                pieces.truncate(MAX_LAYERS);
            }
            Some((content.digest().clone(), pieces))
        }
        Ok(Hung::Other) => {
            answer.broken.push(format!("the tag {tag} holds no cosign signature"));
            None
        }
        Ok(Hung::Broken(why)) | Err(why) => {
            answer.broken.push(format!("the tag {tag}: {why}"));
            None
        }
    }
}

/// One layer that is a signature.
async fn layer(store: &dyn Store, manifest: &Digest, piece: Piece) -> Read {
    let mut read = Read::default();
    match fetch_small(store, &piece.layer, piece.form.max_bytes()).await {
        Ok(content) => {
            let bytes: Bytes = content.bytes().clone();
            read.bytes = bytes.len() as u64;
            read.found.push(piece.read(manifest, bytes));
            read
        }
        Err(e) if e.is_not_found() => {
            read.broken = Some(format!("{manifest}: its layer {} is not there", piece.layer.digest));
            read
        }
        Err(e) => failed(read, manifest, &e),
    }
}

/// A failure of one entry's own is that entry's, any other is one to look.
fn failed(mut read: Read, digest: &Digest, e: &StoreError) -> Read {
    // A stalled or refused request for one of them: the others are read, and this one stays open.
    match &e.failure {
        Failure::NotFound => read.broken = Some(format!("{digest} is not there")),
        f if f.is_the_items_own() => read.broken = Some(format!("{digest}: {f}")),
        _ => read.unread = Some(e.to_string()),
    }
    read
}

fn parse(content: &Content) -> Result<Manifest, String> {
    Manifest::parse(content).map_err(|e| e.to_string())
}
