//! Finding the signatures of one bundle: what refers to it, and cosign's `.sig` tag. Reads, and judges nothing.
//!
//! Anybody who may push can hang up as much as he likes. So what is read at once, in all and for how long is bounded, the likely ones
//! come first, one that is broken or slow costs only itself, and what was not looked at is said.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::{self, StreamExt};
use tokio::time::{Instant, timeout, timeout_at};

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
const ROUND_BYTES: u64 = 4 * 1024 * 1024;
/// Most bytes of manifests and signatures for one bundle.
const MAX_BYTES: u64 = 128 * 1024 * 1024;
/// Longest that signatures are looked for, that one candidate is waited for, and that a round goes on once something was found.
const PATIENCE: Duration = Duration::from_secs(120);
const ONE: Duration = Duration::from_secs(20);
const GRACE: Duration = Duration::from_secs(2);
/// Most layers of one referrer: cosign puts all earlier signatures into each new one, and the newest are read.
const REFERRER_LAYERS: usize = 64;
/// Most payloads of simple signing that are kept: many signatures have one and the same.
const MAX_PAYLOADS: usize = 64;

/// A search for the signatures of one bundle, round by round: it ends as soon as enough were found.
pub(super) struct Search {
    subject: Digest,
    thumbprints: BTreeSet<String>,
    /// What refers to the bundle, asked for once and for seals too.
    listing: Option<Result<Listing, StoreError>>,
    /// What was not read yet, the likely ones first.
    queue: VecDeque<(u8, Item)>,
    tag_asked: bool,
    rounds: usize,
    bytes: u64,
    until: Option<Instant>,
    /// Payloads of simple signing, by digest.
    payloads: HashMap<Digest, Bytes>,
    /// The bundle's manifest, where a signature over its bytes was found.
    artifact: Option<Bytes>,
}

/// Something to read.
enum Item {
    /// An entry of the list of referrers.
    Entry(Descriptor),
    /// A layer of simple signing, and the manifest that it is of.
    Layer(Digest, Piece),
}

/// What one entry came to.
#[derive(Default)]
pub(super) struct Read {
    pub(super) found: Vec<Found>,
    /// Layers of simple signing, to be read after what has one layer.
    pub(super) layers: Vec<Piece>,
    pub(super) broken: Option<String>,
    pub(super) unread: Option<String>,
    pub(super) bytes: u64,
}

impl Search {
    /// For the bundle with this digest; `thumbprints` are those of the certificates that are trusted.
    pub(super) fn new(subject: &Digest, thumbprints: BTreeSet<String>) -> Self {
        Self {
            subject: subject.clone(),
            thumbprints,
            listing: None,
            queue: VecDeque::new(),
            tag_asked: false,
            rounds: 0,
            bytes: 0,
            until: None,
            payloads: HashMap::new(),
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

    /// What refers to the bundle, asked for once.
    pub(super) async fn list(&mut self, store: &dyn Store) -> Result<Listing, StoreError> {
        if let Some(listed) = &self.listing {
            return listed.clone();
        }
        let listed = store.listing(&self.subject).await;
        if let Ok(listing) = &listed {
            self.queue = queue(listing, &self.thumbprints);
        }
        self.listing = Some(listed.clone());
        listed
    }

    /// The next round.
    pub(super) fn next<'a>(&'a mut self, store: &'a dyn Store) -> BoxFuture<'a, SignaturesAnswer> {
        async move {
            let until = *self.until.get_or_insert_with(|| Instant::now() + PATIENCE);
            let mut answer = SignaturesAnswer::default();
            if timeout_at(until, self.round(store, &mut answer)).await.is_err() {
                answer.rest = Rest::Cut(format!("they were read for {} s", PATIENCE.as_secs()));
            } else if self.bytes > MAX_BYTES {
                answer.rest = Rest::Cut(format!("more than {MAX_BYTES} bytes hang on it"));
            }
            answer
        }
        .boxed()
    }

    async fn round(&mut self, store: &dyn Store, answer: &mut SignaturesAnswer) {
        if self.rounds == 0
            && let Err(e) = self.list(store).await
        {
            answer.unread.push(e.to_string());
        }
        if self.queue.is_empty() && !self.tag_asked {
            self.tag_asked = true;
            if let Some((manifest, pieces)) = cosign_tag(store, &self.subject, answer).await {
                self.queue = pieces.into_iter().map(|p| (0, Item::Layer(manifest.clone(), p))).collect();
            }
        }
        match self.queue.front() {
            Some((_, Item::Entry(_))) => self.entries(store, answer).await,
            Some((_, Item::Layer(..))) => self.layers(store, answer).await,
            None => {}
        }
        if answer.found.iter().any(is_over_bytes) && self.artifact.is_none() {
            match store.resolve(&Selector::Digest(self.subject.clone())).await {
                Ok(content) => self.artifact = content.map(|c| c.bytes().clone()),
                Err(e) => answer.unread.push(e.to_string()),
            }
        }
        answer.artifact = self.artifact.clone();
        self.rounds += 1;
        if !(self.queue.is_empty() && self.tag_asked) {
            answer.rest = Rest::More;
        }
    }

    /// Entries of the best rank, a round of them.
    async fn entries(&mut self, store: &dyn Store, answer: &mut SignaturesAnswer) {
        let most = if self.rounds == 0 { FIRST_ROUND } else { ROUND };
        let Some(best) = self.queue.front().map(|(rank, _)| *rank) else { return };
        let mut batch = Vec::new();
        while batch.len() < most
            && let Some((rank, Item::Entry(_))) = self.queue.front()
            && *rank == best
        {
            if let Some((_, Item::Entry(entry))) = self.queue.pop_front() {
                batch.push(entry);
            }
        }
        let mut reads: Vec<BoxFuture<'_, Read>> = Vec::new();
        for entry in &batch {
            reads.push(within(&entry.digest, look(store, &self.subject, entry)).boxed());
        }
        let (done, bytes) = gather(reads).await;
        self.bytes += bytes;
        let mut done: HashMap<usize, Read> = done.into_iter().collect();
        for (i, entry) in batch.into_iter().enumerate() {
            let Some(read) = done.remove(&i) else {
                // Not finished when the round was: it comes last.
                self.queue.push_back((u8::MAX, Item::Entry(entry)));
                continue;
            };
            if read.layers.len() > REFERRER_LAYERS {
                let only = format!("{} has more than {REFERRER_LAYERS} signatures", entry.digest);
                answer.unread.push(only);
            }
            // After all of this rank that have one layer.
            let at = self.queue.partition_point(|(rank, _)| *rank <= best);
            for piece in read.layers.into_iter().take(REFERRER_LAYERS).rev() {
                self.queue.insert(at, (best, Item::Layer(entry.digest.clone(), piece)));
            }
            answer.found.extend(read.found);
            answer.broken.extend(read.broken);
            answer.unread.extend(read.unread);
        }
    }

    /// A round of layers of simple signing; each payload is fetched once.
    async fn layers(&mut self, store: &dyn Store, answer: &mut SignaturesAnswer) {
        let mut batch = Vec::new();
        while batch.len() < ROUND
            && let Some((_, Item::Layer(..))) = self.queue.front()
        {
            if let Some((rank, Item::Layer(manifest, piece))) = self.queue.pop_front() {
                batch.push((rank, manifest, piece));
            }
        }
        let mut wanted: Vec<&(u8, Digest, Piece)> = Vec::new();
        for item in &batch {
            let digest = &item.2.layer.digest;
            let known = self.payloads.contains_key(digest);
            if !known && wanted.iter().all(|(.., other)| other.layer.digest != *digest) {
                wanted.push(item);
            }
        }
        let mut reads: Vec<BoxFuture<'_, Read>> = Vec::new();
        for (_, manifest, piece) in &wanted {
            reads.push(within(manifest, layer(store, manifest, piece)).boxed());
        }
        let (done, bytes) = gather(reads).await;
        self.bytes += bytes;
        let asked: Vec<Digest> = wanted.iter().map(|(.., piece)| piece.layer.digest.clone()).collect();
        let mut finished = BTreeSet::new();
        if self.payloads.len() + asked.len() > MAX_PAYLOADS + ROUND {
            self.payloads.clear();
        }
        for (i, read) in done {
            finished.insert(asked[i].clone());
            self.payloads.extend(read.found.into_iter().map(|found| (asked[i].clone(), found.bytes)));
            answer.broken.extend(read.broken);
            answer.unread.extend(read.unread);
        }
        for (rank, manifest, piece) in batch {
            let digest = &piece.layer.digest;
            match self.payloads.get(digest) {
                Some(bytes) => answer.found.push(piece.read(&manifest, bytes.clone())),
                None if !finished.contains(digest) && asked.contains(digest) => {
                    self.queue.push_back((rank.max(u8::MAX - 1), Item::Layer(manifest, piece)));
                }
                None => {}
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
fn queue(listing: &Listing, thumbprints: &BTreeSet<String>) -> VecDeque<(u8, Item)> {
    let own = |d: &Descriptor| {
        let ours = [media_type::BULLA_SEAL, media_type::BULLA_STATE];
        !listing.by_tag && d.artifact_type.as_deref().is_some_and(|t| ours.contains(&t))
    };
    let entries = listing.entries.iter().filter(|d| media_type::is_manifest(&d.media_type) && !own(d));
    let mut ranked: Vec<(u8, &Descriptor)> = entries.map(|d| (rank(d, thumbprints), d)).collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(rank, d)| (rank, Item::Entry(d.clone()))).collect()
}

/// Run the reads of a round side by side until it is full, or something was found and the rest is slow: each that was finished with
/// its place in the round, in order; and the bytes.
async fn gather(reads: Vec<BoxFuture<'_, Read>>) -> (Vec<(usize, Read)>, u64) {
    let mut numbered: Vec<BoxFuture<'_, (usize, Read)>> = Vec::new();
    for (i, read) in reads.into_iter().enumerate() {
        numbered.push(async move { (i, read.await) }.boxed());
    }
    let mut reads = Box::pin(stream::iter(numbered).buffer_unordered(WIDTH));
    let (mut done, mut bytes, mut until) = (Vec::new(), 0, None);
    loop {
        let next = match until {
            None => reads.next().await,
            Some(until) => timeout_at(until, reads.next()).await.unwrap_or(None),
        };
        let Some((i, read)) = next else { break };
        if !read.found.is_empty() && until.is_none() {
            until = Some(Instant::now() + GRACE);
        }
        bytes += read.bytes;
        done.push((i, read));
        if bytes > ROUND_BYTES {
            break;
        }
    }
    done.sort_by_key(|(i, _)| *i);
    (done, bytes)
}

/// One candidate, for as long as one is waited for.
pub(super) async fn within(digest: &Digest, read: impl Future<Output = Read>) -> Read {
    timeout(ONE, read).await.unwrap_or_else(|_| Read {
        unread: Some(format!("{digest} did not come within {} s", ONE.as_secs())),
        ..Read::default()
    })
}

/// One referrer: its manifest, and if that is a signature of one layer, its bytes.
async fn look(store: &dyn Store, subject: &Digest, entry: &Descriptor) -> Read {
    let digest = &entry.digest;
    let content = match store.resolve(&Selector::Digest(digest.clone())).await {
        Ok(Some(content)) => content,
        Ok(None) => return broken(format!("{digest} is listed, and not there")),
        Err(e) => return failed(digest, &e),
    };
    let mut read = Read { bytes: content.descriptor().size, ..Read::default() };
    match parse(&content).map(|manifest| referrer(&manifest, subject)) {
        Ok(Hung::Other) => {}
        Ok(Hung::Broken(why)) => read.broken = Some(format!("{digest}: {why}")),
        Err(why) => read.broken = Some(why),
        Ok(Hung::Signatures(pieces)) => match &pieces[..] {
            [one] if one.form != Form::SimpleSigning => {
                let bytes = read.bytes;
                read = layer(store, digest, one).await;
                read.bytes += bytes;
            }
            _ => read.layers = pieces,
        },
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
async fn layer(store: &dyn Store, manifest: &Digest, piece: &Piece) -> Read {
    match fetch_small(store, &piece.layer, piece.form.max_bytes()).await {
        Ok(content) => {
            let bytes: Bytes = content.bytes().clone();
            let size = bytes.len() as u64;
            Read { found: vec![piece.read(manifest, bytes)], bytes: size, ..Read::default() }
        }
        Err(e) if e.is_not_found() => {
            broken(format!("{manifest}: its layer {} is not there", piece.layer.digest))
        }
        Err(e) => failed(manifest, &e),
    }
}

pub(super) fn broken(why: String) -> Read {
    Read { broken: Some(why), ..Read::default() }
}

/// A failure of one entry's own is that entry's, any other is one to look.
pub(super) fn failed(digest: &Digest, e: &StoreError) -> Read {
    match &e.failure {
        Failure::NotFound => broken(format!("{digest} is not there")),
        f if f.is_the_items_own() => broken(format!("{digest}: {f}")),
        _ => Read { unread: Some(e.to_string()), ..Read::default() },
    }
}

pub(super) fn parse(content: &Content) -> Result<Manifest, String> {
    Manifest::parse(content).map_err(|e| e.to_string())
}
