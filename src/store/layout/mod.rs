//! OCI image-layout directories (image-spec 1.1 `image-layout.md`), as oras, regctl and cosign write them and so that
//! oras and regctl find referrers in what is written here.
//!
//! The specification says nothing of referrers in a layout. oras lists them in `index.json` without a tag, regctl keeps the
//! list of the referrers tag schema under that tag; both forms are read, both are written. A referrer is only what its
//! own `subject` makes one. `index.json` is written by [`Manage::flush`], merged under a lock with what others wrote.

mod files;
mod graph;
mod index;
mod pending;

use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use tokio::sync::mpsc;

use self::files::{Files, open_regular, read_failure, read_small, write_failure};
use self::index::Index;
use self::pending::{Change, View};
use super::blob::PIECE_BYTES;
use super::{BlobReader, BlobSource, Failure, Manage, Store, StoreError};
use crate::oci::{
    Content, ContentError, Descriptor, Digest, Hasher, LayoutRef, MAX_MANIFEST_BYTES, Reference, Repository,
    Selector, Tag, media_type, sorted_json,
};

/// Largest `oci-layout` file that is read, in bytes.
const MAX_MARKER_BYTES: u64 = 4096;
/// Pieces of a blob on their way to the disk.
const PIECES_IN_FLIGHT: usize = 4;

/// An OCI image-layout directory.
///
/// What is pushed is at once visible through the same value, and for everybody after [`Manage::flush`]: blobs are durable
/// under their digests before, the index names them only then. Dropped without a flush, it leaves unreferenced blobs.
#[derive(Debug, Clone)]
pub struct OciDir {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    place: Reference,
    files: Files,
    view: Mutex<View>,
    blobs_written: AtomicBool,
}

impl OciDir {
    /// An existing layout, to read or to write. Nothing is written by opening it.
    ///
    /// # Errors
    /// [`Failure::NotALayout`] when the directory is not there or is no layout, saying what is missing.
    pub async fn open(dir: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let this = Self::at(dir.into());
        this.run("open".into(), |i| i.check_layout()).await?;
        Ok(this)
    }

    /// A layout to write into: an existing one, or a new one in a directory that is made or empty.
    ///
    /// # Errors
    /// The directory holds other things and is no layout, or it cannot be written.
    pub async fn create(dir: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let this = Self::at(dir.into());
        this.run("create".into(), |i| i.make_layout()).await?;
        Ok(this)
    }

    fn at(dir: PathBuf) -> Self {
        let place = Reference::Layout(LayoutRef { dir: dir.clone(), selector: None });
        let inner = Inner {
            place,
            files: Files::new(dir),
            view: Mutex::new(View::new()),
            blobs_written: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    fn error(&self, what: impl Into<String>, failure: impl Into<Failure>) -> StoreError {
        StoreError::new(&self.inner.place, what, failure)
    }

    /// File work on a thread that may block.
    async fn run<T, F>(&self, what: String, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Inner) -> Result<T, Failure> + Send + 'static,
    {
        let inner = self.inner.clone();
        let done = tokio::task::spawn_blocking(move || work(&inner)).await;
        done.unwrap_or_else(|e| Err(Failure::Interrupted(e.to_string()))).map_err(|f| self.error(what, f))
    }
}

#[async_trait]
impl Store for OciDir {
    fn place(&self) -> Reference {
        self.inner.place.clone()
    }

    async fn resolve(&self, selector: &Selector) -> Result<Option<Content>, StoreError> {
        let asked = selector.clone();
        self.run(format!("read manifest {selector}"), move |i| i.resolve(&asked)).await
    }

    async fn fetch(&self, blob: &Descriptor, offset: u64) -> Result<BlobReader, StoreError> {
        let what = format!("read blob {}", blob.digest);
        let digest = blob.digest.clone();
        let file = self
            .run(what.clone(), move |i| {
                let path = i.files.blob(&digest);
                let mut file = open_regular(&path)?.ok_or(Failure::NotFound)?;
                file.seek(SeekFrom::Start(offset)).map_err(|e| read_failure(&path, &e))?;
                Ok(file)
            })
            .await?;
        let path = self.inner.files.blob(&blob.digest);
        let state = (self.clone(), Some(file), path, what);
        let pieces = futures::stream::unfold(state, |(dir, file, path, what)| async move {
            let mut file = file?;
            let from = path.clone();
            let read = dir.run(what.clone(), move |_| {
                let piece = read_piece(&mut file).map_err(|e| read_failure(&from, &e))?;
                Ok((file, piece))
            });
            match read.await {
                Ok((_, piece)) if piece.is_empty() => None,
                Ok((file, piece)) => Some((Ok(piece), (dir, Some(file), path, what))),
                Err(e) => Some((Err(e), (dir, None, path, what))),
            }
        });
        Ok(pieces.boxed())
    }

    async fn exists(&self, descriptor: &Descriptor) -> Result<bool, StoreError> {
        let d = descriptor.clone();
        self.run(format!("look for {}", d.digest), move |i| {
            let whole = i.files.blob_size(&d.digest)? == Some(d.size);
            // A manifest that no entry leads to is one that an interrupted copy left: it must be pushed again to be listed.
            let listed = |i: &Inner| -> Result<bool, Failure> {
                Ok(i.view().now(&i.files)?.1.media_type(&d.digest).is_some())
            };
            Ok(whole && (!media_type::is_manifest(&d.media_type) || listed(i)?))
        })
        .await
    }

    async fn push_blob(&self, blob: &Descriptor, source: &dyn BlobSource) -> Result<(), StoreError> {
        let (give, take) = mpsc::channel(PIECES_IN_FLIGHT);
        let d = blob.clone();
        let writing = self.run(format!("write blob {}", blob.digest), move |i| i.write_blob(&d, take));
        let reading = async move {
            let mut reader = source.open(0).await?;
            while let Some(piece) = reader.next().await {
                // The writer hangs up when it has failed; its own error is then the one that counts.
                if give.send(piece?).await.is_err() {
                    break;
                }
            }
            Ok(())
        };
        let (read, written) = futures::join!(reading, writing);
        read.and(written)
    }

    async fn push_manifest(&self, manifest: &Content, tag: Option<&Tag>) -> Result<(), StoreError> {
        let (manifest, tag) = (manifest.clone(), tag.cloned());
        self.run(format!("write manifest {}", manifest.digest()), move |i| i.push_manifest(&manifest, tag))
            .await
    }

    async fn index_referrers(&self, subject: &Descriptor, referrers: &[Content]) -> Result<(), StoreError> {
        let subject = subject.digest.clone();
        let expected: Vec<Digest> = referrers.iter().map(|r| r.digest().clone()).collect();
        self.run(format!("list referrers of {subject}"), move |i| i.index_referrers(&subject, &expected))
            .await
    }

    async fn referrers(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, StoreError> {
        let (digest, asked) = (subject.clone(), artifact_type.map(str::to_owned));
        self.run(format!("list referrers of {subject}"), move |i| {
            let mut view = i.view();
            let (_, graph) = view.now(&i.files)?;
            if let Some(damage) = graph.damage() {
                return Err(damage.clone());
            }
            let all = graph.referrers(&digest).chain(graph.dangling(&digest));
            Ok(all.filter(|d| asked.is_none() || d.artifact_type == asked).cloned().collect())
        })
        .await
    }

    async fn tags(&self, after: Option<&str>) -> Result<Vec<Tag>, StoreError> {
        let after = after.map(str::to_owned);
        self.run("list tags".into(), move |i| {
            let tags = i.view().now(&i.files)?.0.tags();
            Ok(tags.into_iter().filter(|t| after.as_deref().is_none_or(|a| t.as_str() > a)).collect())
        })
        .await
    }
}

#[async_trait]
impl Manage for OciDir {
    /// Deletes at once, with everything that is pending.
    async fn delete(&self, what: &Selector) -> Result<bool, StoreError> {
        let change = match what {
            Selector::Tag(tag) => Change::Untag(tag.clone()),
            Selector::Digest(digest) | Selector::Both(_, digest) => Change::Delete(digest.clone()),
        };
        self.run(format!("delete {what}"), move |i| {
            let mut view = i.view();
            view.change(&i.files, change)?;
            view.flush(&i.files)
        })
        .await?;
        Ok(true)
    }

    async fn mount(&self, _blob: &Descriptor, _from: &Repository) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn flush(&self) -> Result<(), StoreError> {
        self.run("write index.json".into(), |i| {
            if i.blobs_written.swap(false, Ordering::AcqRel) {
                i.files.sync_blobs()?;
            }
            i.view().flush(&i.files)
        })
        .await
    }
}

impl Inner {
    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_layout(&self) -> Result<(), Failure> {
        let dir = self.files.dir().display();
        match std::fs::metadata(self.files.dir()) {
            Ok(m) if m.is_dir() => {}
            Ok(_) => return Err(Failure::NotALayout(format!("{dir} is a file; name the directory"))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Failure::NotALayout(format!("{dir} does not exist")));
            }
            Err(e) => return Err(read_failure(self.files.dir(), &e)),
        }
        let Some(marker) = read_small(&self.files.marker(), MAX_MARKER_BYTES)? else {
            return Err(Failure::NotALayout(format!(
                "{dir} has no file \"oci-layout\"; copy a bundle into an empty or new directory to make one"
            )));
        };
        let doc: Option<serde_json::Value> = serde_json::from_slice(&marker).ok();
        let version = doc.as_ref().and_then(|d| d.get("imageLayoutVersion")?.as_str());
        match version {
            Some(v) if v.starts_with("1.") => {}
            Some(v) => {
                let v: String = v.chars().take(40).collect();
                return Err(Failure::NotALayout(format!("{dir} has the layout version {v:?}, not 1.0.0")));
            }
            None => {
                return Err(Failure::NotALayout(format!(
                    "{dir}: the file \"oci-layout\" names no imageLayoutVersion"
                )));
            }
        }
        match open_regular(&self.files.index())? {
            Some(_) => Ok(()),
            None => Err(Failure::NotALayout(format!("{dir} has no index.json"))),
        }
    }

    fn make_layout(&self) -> Result<(), Failure> {
        let dir = self.files.dir();
        std::fs::create_dir_all(dir).map_err(|e| write_failure(dir, &e))?;
        let made = |i: &Self| read_small(&i.files.marker(), MAX_MARKER_BYTES).map(|m| m.is_some());
        // Looked at before anything is written: a lock file in somebody's home directory would be litter.
        if !made(self)? && (!self.files.strangers()?.is_empty() || !self.begun_at_most()?) {
            return self.check_layout().map_err(|f| match f {
                Failure::NotALayout(_) => Failure::NotALayout(format!(
                    "{} holds other things and no file \"oci-layout\"; name an empty or a new directory",
                    dir.display()
                )),
                other => other,
            });
        }
        let _lock = self.files.lock()?;
        if !made(self)? {
            let blobs = self.files.blobs(crate::oci::Algorithm::Sha256);
            std::fs::create_dir_all(&blobs).map_err(|e| write_failure(dir, &e))?;
            self.files.replace(&self.files.index(), &Index::empty().to_bytes())?;
            let marker = sorted_json(&serde_json::json!({"imageLayoutVersion": "1.0.0"}));
            self.files.replace(&self.files.marker(), &marker)?;
            self.files.sync_top()?;
        }
        self.files.sweep();
        self.check_layout()
    }

    /// Whether there is no index, or one without entries, as another process or an interrupted one leaves it half way.
    fn begun_at_most(&self) -> Result<bool, Failure> {
        let Some(bytes) = read_small(&self.files.index(), files::MAX_INDEX_BYTES)? else { return Ok(true) };
        Ok(bytes == Index::empty().to_bytes())
    }

    fn resolve(&self, selector: &Selector) -> Result<Option<Content>, Failure> {
        let listed = |d: &Digest| -> Result<Option<String>, Failure> {
            Ok(self.view().now(&self.files)?.1.media_type(d).map(str::to_owned))
        };
        match selector {
            Selector::Digest(digest) | Selector::Both(_, digest) => {
                let media_type = listed(digest)?;
                graph::read_manifest(&self.files, digest, |_| media_type.clone())
            }
            Selector::Tag(tag) => {
                let entry = self.view().now(&self.files)?.0.lookup(tag.as_str())?;
                let Some(entry) = entry else { return Ok(None) };
                if entry.size > MAX_MANIFEST_BYTES {
                    let limit = format!("{MAX_MANIFEST_BYTES} bytes");
                    return Err(Failure::TooLarge { what: format!("manifest {}", entry.digest), limit });
                }
                let Some(bytes) = read_small(&self.files.blob(&entry.digest), MAX_MANIFEST_BYTES)? else {
                    return Err(Failure::NotALayout(format!(
                        "index.json lists {} as \"{tag}\", but its blob is not there",
                        entry.digest
                    )));
                };
                Ok(Some(Content::check(entry.bare(), bytes)?))
            }
        }
    }

    /// Hash and write the pieces; nothing gets its name before the whole matched.
    fn write_blob(&self, blob: &Descriptor, mut pieces: mpsc::Receiver<Bytes>) -> Result<(), Failure> {
        let target = self.files.blob(&blob.digest);
        let temporary = self.files.temporary(&target)?;
        let mut temporary = BufWriter::with_capacity(PIECE_BYTES, temporary);
        let mut hasher = Hasher::new(blob.digest.algorithm());
        let mut seen = 0;
        let size = |got| ContentError::Size { digest: blob.digest.clone(), expected: blob.size, got };
        while let Some(piece) = pieces.blocking_recv() {
            seen += piece.len() as u64;
            if seen > blob.size {
                return Err(size(seen).into());
            }
            hasher.update(&piece);
            temporary.write_all(&piece).map_err(|e| write_failure(self.files.dir(), &e))?;
        }
        if seen != blob.size {
            return Err(size(seen).into());
        }
        let got = hasher.finish();
        if got != blob.digest {
            return Err(ContentError::Digest { expected: blob.digest.clone(), got }.into());
        }
        let temporary = temporary.into_inner().map_err(|e| write_failure(self.files.dir(), e.error()))?;
        self.files.keep(temporary, &target)?;
        self.blobs_written.store(true, Ordering::Release);
        Ok(())
    }

    fn push_manifest(&self, manifest: &Content, tag: Option<Tag>) -> Result<(), Failure> {
        if manifest.descriptor().size > MAX_MANIFEST_BYTES {
            let limit = format!("{MAX_MANIFEST_BYTES} bytes");
            return Err(Failure::TooLarge { what: format!("manifest {}", manifest.digest()), limit });
        }
        let path = self.files.blob(manifest.digest());
        let there = read_small(&path, MAX_MANIFEST_BYTES);
        if !matches!(there, Ok(Some(bytes)) if bytes == *manifest.bytes()) {
            self.files.replace(&path, manifest.bytes())?;
        }
        let mut view = self.view();
        let node = view.learn(manifest);
        view.change(&self.files, Change::Pushed(node, tag))
    }

    fn index_referrers(&self, subject: &Digest, expected: &[Digest]) -> Result<(), Failure> {
        let mut view = self.view();
        if let Some(foreign) = view.foreign_list(&self.files, subject)? {
            return Err(Failure::Foreign(format!(
                "the tag {} names {} ({}), which is no list of referrers; it was not overwritten",
                subject.referrers_tag(),
                foreign.digest,
                foreign.media_type
            )));
        }
        view.change(&self.files, Change::Refer(subject.clone()))?;
        let (_, graph) = view.now(&self.files)?;
        match expected.iter().find(|e| !graph.referrers(subject).any(|r| r.digest == **e)) {
            Some(lost) => Err(Failure::Lost(lost.to_string())),
            None => Ok(()),
        }
    }
}

/// The next piece; empty at the end of the file.
fn read_piece(file: &mut std::fs::File) -> std::io::Result<Bytes> {
    let mut piece = BytesMut::zeroed(PIECE_BYTES);
    let mut filled = 0;
    while filled < PIECE_BYTES {
        match file.read(&mut piece[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    piece.truncate(filled);
    Ok(piece.freeze())
}
