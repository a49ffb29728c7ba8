//! OCI image layouts (image-spec 1.1 `image-layout.md`), as oras, regctl and cosign write them and so that
//! oras and regctl find referrers in what is written here.
//!
//! The specification says nothing of referrers in a layout. oras lists them in `index.json` without a tag, regctl keeps the
//! list of the referrers tag schema under that tag; both forms are read, both are written. A referrer is only what its
//! own `subject` makes one. `index.json` is written by [`Manage::flush`], merged under a lock with what others wrote.

#[cfg(test)]
mod crashes;
pub(in crate::store) mod disk;
pub(in crate::store) mod files;
mod graph;
pub(in crate::store) mod index;
pub(in crate::store) mod medium;
mod pending;
#[cfg(test)]
mod replay;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::mpsc;

use self::files::Directory;
use self::medium::{Medium, put_blob, read_blob};
use self::pending::{Change, View};
use super::{BlobReader, BlobSource, Failure, ListChange, Manage, Replaced, Store, StoreError};
use crate::oci::{
    Content, ContentError, Descriptor, Digest, Hasher, LayoutRef, MAX_MANIFEST_BYTES, Reference, Repository,
    Selector, Tag, media_type,
};

/// Pieces of a blob on their way to the disk.
const PIECES_IN_FLIGHT: usize = 4;

/// An OCI image layout on some medium.
///
/// What is pushed is at once visible through the same value, and for everybody after [`Manage::flush`]: blobs are durable
/// under their digests before, the index names them only then. Dropped without a flush, nothing that was there before
/// has changed.
#[derive(Debug)]
pub struct Layout<M> {
    inner: Arc<Inner<M>>,
}

/// An OCI image-layout directory. Dropped without a flush, it leaves unreferenced blobs, which the next copy finds.
pub type OciDir = Layout<Directory>;

#[derive(Debug)]
struct Inner<M> {
    place: Reference,
    medium: M,
    view: Mutex<View>,
}

impl<M> Clone for Layout<M> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl OciDir {
    /// An existing layout, to read or to write. Nothing is written by opening it.
    ///
    /// # Errors
    /// [`Failure::NotALayout`] when the directory is not there or is no layout, saying what is missing.
    pub async fn open(dir: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let this = Self::at(dir.into());
        this.run("open".into(), |i| i.medium.check()).await?;
        Ok(this)
    }

    /// A layout to write into: an existing one, or a new one in a directory that is made or empty.
    ///
    /// # Errors
    /// The directory holds other things and is no layout, or it cannot be written.
    pub async fn create(dir: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let this = Self::at(dir.into());
        this.run("create".into(), |i| i.medium.make()).await?;
        Ok(this)
    }

    fn at(dir: PathBuf) -> Self {
        let place = Reference::Layout(LayoutRef { dir: dir.clone(), selector: None });
        Self::on(place, Directory::new(dir))
    }
}

impl<M: Medium> Layout<M> {
    pub(in crate::store) fn on(place: Reference, medium: M) -> Self {
        Self { inner: Arc::new(Inner { place, medium, view: Mutex::new(View::new()) }) }
    }

    fn error(&self, what: impl Into<String>, failure: impl Into<Failure>) -> StoreError {
        StoreError::new(&self.inner.place, what, failure)
    }

    /// File work on a thread that may block.
    async fn run<T, F>(&self, what: String, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Inner<M>) -> Result<T, Failure> + Send + 'static,
    {
        let inner = self.inner.clone();
        let done = tokio::task::spawn_blocking(move || work(&inner)).await;
        done.unwrap_or_else(|e| Err(Failure::Interrupted(e.to_string()))).map_err(|f| self.error(what, f))
    }

    /// The same on the medium itself.
    pub(in crate::store) async fn on_medium<T, F>(&self, what: &str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&M) -> Result<T, Failure> + Send + 'static,
    {
        self.run(what.into(), |i| work(&i.medium)).await
    }
}

#[async_trait]
impl<M: Medium> Store for Layout<M> {
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
        let extent =
            self.run(what.clone(), move |i| i.medium.blob(&digest)?.ok_or(Failure::NotFound)).await?;
        let state = (self.clone(), Some(offset), extent, what);
        let pieces = futures::stream::unfold(state, |(layout, at, extent, what)| async move {
            let at = at?;
            let from = extent.clone();
            match layout.run(what.clone(), move |_| from.piece(at)).await {
                Ok(piece) if piece.is_empty() => None,
                Ok(piece) => {
                    let next = at + piece.len() as u64;
                    Some((Ok(piece), (layout, Some(next), extent, what)))
                }
                Err(e) => Some((Err(e), (layout, None, extent, what))),
            }
        });
        Ok(pieces.boxed())
    }

    async fn exists(&self, descriptor: &Descriptor) -> Result<bool, StoreError> {
        let d = descriptor.clone();
        self.run(format!("look for {}", d.digest), move |i| {
            let whole = i.medium.blob_size(&d.digest)? == Some(d.size);
            // A manifest that no entry leads to is one that an interrupted copy left: it must be pushed again to be listed.
            let listed = |i: &Inner<M>| -> Result<bool, Failure> {
                Ok(i.view().now(&i.medium)?.1.media_type(&d.digest).is_some())
            };
            Ok(whole && (!media_type::is_manifest(&d.media_type) || listed(i)?))
        })
        .await
    }

    async fn push_blob(&self, blob: &Descriptor, source: &dyn BlobSource) -> Result<(), StoreError> {
        if let Some(file) = source.file() {
            let d = blob.clone();
            let adopt = move |i: &Inner<M>| i.medium.adopt(&d, &file);
            if self.run(format!("write blob {}", blob.digest), adopt).await? {
                return Ok(());
            }
        }
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
            let (_, graph) = view.now(&i.medium)?;
            if let Some(damage) = graph.damage() {
                return Err(damage.clone());
            }
            let all = graph.referrers(&digest).chain(graph.dangling(&digest));
            Ok(all.filter(|d| asked.is_none() || d.artifact_type == asked).cloned().collect())
        })
        .await
    }

    fn file_of(&self, blob: &Descriptor) -> Option<PathBuf> {
        self.inner.medium.file_of(&blob.digest)
    }

    async fn tags(&self, after: Option<&str>) -> Result<Vec<Tag>, StoreError> {
        let after = after.map(str::to_owned);
        self.run("list tags".into(), move |i| {
            let tags = i.view().now(&i.medium)?.0.tags();
            Ok(tags.into_iter().filter(|t| after.as_deref().is_none_or(|a| t.as_str() > a)).collect())
        })
        .await
    }
}

#[async_trait]
impl<M: Medium> Manage for Layout<M> {
    /// Deletes at once, with everything that is pending.
    async fn delete(&self, what: &Selector) -> Result<bool, StoreError> {
        let change = match what {
            Selector::Tag(tag) => Change::Untag(tag.clone()),
            Selector::Digest(digest) | Selector::Both(_, digest) => Change::Delete(digest.clone()),
        };
        self.run(format!("delete {what}"), move |i| {
            let mut view = i.view();
            view.change(&i.medium, change)?;
            view.flush(&i.medium)?;
            drop(view);
            i.medium.commit()
        })
        .await?;
        Ok(true)
    }

    async fn mount(&self, _blob: &Descriptor, _from: &Repository) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn mend_referrers(
        &self,
        subject: &Descriptor,
        referrers: &[Content],
    ) -> Result<Vec<ListChange>, StoreError> {
        self.index_referrers(subject, referrers).await?;
        let subject = subject.digest.clone();
        self.run(format!("list referrers of {subject}"), move |i| i.mend_referrers(&subject)).await
    }

    async fn unmended_referrers(
        &self,
        subject: &Descriptor,
        referrers: &[Content],
        to_come: &HashSet<Digest>,
    ) -> Result<Vec<ListChange>, StoreError> {
        let coming = referrers.iter().filter(|r| to_come.contains(r.digest()));
        let coming: Vec<Descriptor> = coming.map(|r| graph::Node::of(r).listed).collect();
        let subject = subject.digest.clone();
        self.run(format!("list referrers of {subject}"), move |i| {
            let mut view = i.view();
            i.no_foreign_list(&mut view, &subject)?;
            view.wrong_entries(&i.medium, &subject, &coming)
        })
        .await
    }

    async fn replace(
        &self,
        tag: &Tag,
        before: Option<&Digest>,
        manifest: &Content,
    ) -> Result<Replaced, StoreError> {
        let (named, before, manifest) = (tag.clone(), before.cloned(), manifest.clone());
        let replaced = self.run(format!("write manifest {tag}"), move |i| {
            put_blob(&i.medium, &manifest)?;
            let mut view = i.view();
            let node = view.learn(&manifest);
            let replaced = view.replace(&i.medium, node, named, before.as_ref())?;
            drop(view);
            i.medium.commit().map(|()| replaced)
        });
        Ok(if replaced.await? { Replaced::Done } else { Replaced::Moved })
    }

    fn hold(&self, held: bool) {
        self.inner.medium.hold(held);
    }

    async fn flush(&self) -> Result<(), StoreError> {
        self.run("write index.json".into(), |i| {
            i.view().flush(&i.medium)?;
            i.medium.commit()
        })
        .await
    }
}

impl<M: Medium> Inner<M> {
    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn resolve(&self, selector: &Selector) -> Result<Option<Content>, Failure> {
        let listed = |d: &Digest| -> Result<Option<String>, Failure> {
            Ok(self.view().now(&self.medium)?.1.media_type(d).map(str::to_owned))
        };
        match selector {
            Selector::Digest(digest) | Selector::Both(_, digest) => {
                let media_type = listed(digest)?;
                graph::read_manifest(&self.medium, digest, |_| media_type.clone())
            }
            Selector::Tag(tag) => {
                let entry = self.view().now(&self.medium)?.0.lookup(tag.as_str())?;
                let Some(entry) = entry else { return Ok(None) };
                if entry.size > MAX_MANIFEST_BYTES {
                    let limit = format!("{MAX_MANIFEST_BYTES} bytes");
                    return Err(Failure::TooLarge { what: format!("manifest {}", entry.digest), limit });
                }
                let Some(bytes) = read_blob(&self.medium, &entry.digest, MAX_MANIFEST_BYTES)? else {
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
        let mut slot = self.medium.begin_blob(blob)?;
        let mut hasher = Hasher::new(blob.digest.algorithm());
        let mut seen = 0;
        let size = |got| ContentError::Size { digest: blob.digest.clone(), expected: blob.size, got };
        while let Some(piece) = pieces.blocking_recv() {
            seen += piece.len() as u64;
            if seen > blob.size {
                return Err(size(seen).into());
            }
            hasher.update(&piece);
            slot.write(&piece)?;
        }
        if seen != blob.size {
            return Err(size(seen).into());
        }
        let got = hasher.finish();
        if got != blob.digest {
            return Err(ContentError::Digest { expected: blob.digest.clone(), got }.into());
        }
        slot.keep()
    }

    fn push_manifest(&self, manifest: &Content, tag: Option<Tag>) -> Result<(), Failure> {
        if manifest.descriptor().size > MAX_MANIFEST_BYTES {
            let limit = format!("{MAX_MANIFEST_BYTES} bytes");
            return Err(Failure::TooLarge { what: format!("manifest {}", manifest.digest()), limit });
        }
        let there = read_blob(&self.medium, manifest.digest(), MAX_MANIFEST_BYTES);
        if !matches!(there, Ok(Some(bytes)) if bytes == *manifest.bytes()) {
            put_blob(&self.medium, manifest)?;
        }
        let mut view = self.view();
        let node = view.learn(manifest);
        view.change(&self.medium, Change::Pushed(node, tag))
    }

    /// Make the list of referrers anew from the manifests that are there; how it differed.
    fn mend_referrers(&self, subject: &Digest) -> Result<Vec<ListChange>, Failure> {
        let mut view = self.view();
        self.no_foreign_list(&mut view, subject)?;
        let changes = view.wrong_entries(&self.medium, subject, &[])?;
        view.change(&self.medium, Change::Mend(subject.clone()))?;
        Ok(changes)
    }

    fn no_foreign_list(&self, view: &mut View, subject: &Digest) -> Result<(), Failure> {
        match view.foreign_list(&self.medium, subject)? {
            None => Ok(()),
            Some(foreign) => Err(Failure::Foreign(format!(
                "the tag {} names {} ({}), which is no list of referrers; it was not overwritten",
                subject.referrers_tag(),
                foreign.digest,
                foreign.media_type
            ))),
        }
    }

    fn index_referrers(&self, subject: &Digest, expected: &[Digest]) -> Result<(), Failure> {
        let mut view = self.view();
        self.no_foreign_list(&mut view, subject)?;
        view.change(&self.medium, Change::Refer(subject.clone()))?;
        let (_, graph) = view.now(&self.medium)?;
        match expected.iter().find(|e| !graph.referrers(subject).any(|r| r.digest == **e)) {
            Some(lost) => Err(Failure::Lost(lost.to_string())),
            None => Ok(()),
        }
    }
}
