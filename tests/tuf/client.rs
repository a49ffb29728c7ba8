//! The client: a folder of accepted metadata, HTTP file trees, and the loops that drive bulla's step machines between them.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bulla::oci::Digest;
use bulla::time::UnixTime;
use bulla::tuf::{
    FileName, Files, Limits, RoleName, RootWalk, Search, Step, Target, Trusted, TufError, Update, local_name,
};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Metadata or a target failed a check.
    #[error(transparent)]
    Refused(#[from] TufError),
    /// No role lists the path.
    #[error("no such target: {0}")]
    NoTarget(String),
    /// A file could not be fetched; it may be there.
    #[error("{url}: {why}")]
    Fetch { url: String, why: String },
    /// The folders.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Accepted metadata: `<role>.json`, each replaced in one step. A file that is no floor any more has a `.void` beside it that
/// names its digest.
pub struct Folder(PathBuf);

/// A tree of files below an HTTP address.
pub struct Tree {
    base: String,
    http: reqwest::Client,
}

/// Where metadata comes from. The core does not know.
pub trait Fetcher {
    /// A file, and of one that is longer than it may be a byte more than that; only a repository that says so has none.
    fn metadata(&self, file: &FileName, max_len: u64)
    -> impl Future<Output = Result<Option<Bytes>, Failure>>;
}

/// One client of one repository.
pub struct Client<M> {
    pub folder: Folder,
    pub metadata: M,
    /// The collection that every file must name; none for other people's repositories.
    pub collection: Option<String>,
    pub now: UnixTime,
}

impl Folder {
    pub fn new(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    /// Trust this root from now on.
    pub fn init(&self, root: &Path) -> Result<(), Failure> {
        let limits = Limits::default();
        let bytes = read(root, limits.root_bytes)?;
        RootWalk::start(&bytes, None, &limits)?;
        fs::create_dir_all(&self.0)?;
        self.save(&FileName::unversioned(RoleName::root()), &bytes)
    }

    /// The trusted root.
    fn root(&self) -> Result<Bytes, Failure> {
        Ok(read(&self.0.join("root.json"), Limits::default().root_bytes)?)
    }

    /// Everything but the root. What cannot be read is left out: it only spares a download.
    fn kept(&self) -> Result<Files, Failure> {
        let mut files = Files::new();
        for entry in fs::read_dir(&self.0)? {
            let path = entry?.path();
            let Some(name) = path.file_name().and_then(|n| n.to_str()) else { continue };
            let Some(role) = name.strip_suffix(".json").and_then(decode) else { continue };
            let file = FileName::unversioned(role.clone());
            if role == RoleName::root() || file.to_string() != name {
                continue;
            }
            let Ok(bytes) = read(&path, Limits::default().targets_bytes) else { continue };
            let void = fs::read_to_string(self.0.join(format!("{name}.void"))).unwrap_or_default();
            if void != Digest::sha256(&bytes).to_string() {
                files.put(file, bytes);
            }
        }
        Ok(files)
    }

    /// Keep an accepted file under its unversioned name.
    fn save(&self, name: &FileName, bytes: &[u8]) -> Result<(), Failure> {
        replace(&self.0.join(FileName::unversioned(name.role().clone()).to_string()), bytes)?;
        Ok(())
    }

    /// From now on a kept file is no floor. It stays, as the specification's suite wants to see the last accepted version.
    fn forget(&self, name: &FileName) -> Result<(), Failure> {
        let file = self.0.join(name.to_string());
        let digest = Digest::sha256(&read(&file, Limits::default().targets_bytes)?);
        replace(&self.0.join(format!("{name}.void")), digest.to_string().as_bytes())?;
        Ok(())
    }
}

impl Tree {
    pub fn new(base: &str) -> Result<Self, Failure> {
        let fetch = |why: reqwest::Error| Failure::Fetch { url: base.to_owned(), why: why.to_string() };
        let http = reqwest::Client::builder()
            .tls_backend_rustls()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(Duration::from_secs(20))
            .timeout(Duration::from_secs(300));
        let http = if base.starts_with("http://") { http.tls_certs_only([]) } else { http };
        let slash = if base.ends_with('/') { "" } else { "/" };
        Ok(Self { base: format!("{base}{slash}"), http: http.build().map_err(fetch)? })
    }

    /// A file, of which no more is read than one byte past `max_len`. Only 404 means that it is not there.
    pub async fn fetch(&self, file: &str, max_len: u64) -> Result<Option<Bytes>, Failure> {
        let url = format!("{}{file}", self.base);
        let failed = |why: String| Failure::Fetch { url: url.clone(), why };
        let answer = self.http.get(&url).send().await.map_err(|e| failed(e.to_string()))?;
        match answer.status().as_u16() {
            200 => {}
            404 => return Ok(None),
            status => return Err(failed(format!("status {status}"))),
        }
        let mut out = BytesMut::new();
        let mut stream = answer.bytes_stream();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|e| failed(e.to_string()))?;
            out.extend_from_slice(&chunk);
            if out.len() as u64 > max_len {
                // Enough for the core to see that it is too long.
                out.truncate(usize::try_from(max_len.saturating_add(1)).unwrap_or(usize::MAX));
                break;
            }
        }
        Ok(Some(out.freeze()))
    }
}

impl Fetcher for Tree {
    async fn metadata(&self, file: &FileName, max_len: u64) -> Result<Option<Bytes>, Failure> {
        self.fetch(&file.to_string(), max_len).await
    }
}

impl<M: Fetcher> Client<M> {
    /// Update the metadata.
    pub async fn refresh(&self) -> Result<Trusted, Failure> {
        let (root, kept) = (self.folder.root()?, self.folder.kept()?);
        let collection = self.collection.as_deref();
        let mut update = Update::start(&root, kept, collection, self.now, &Limits::default())?;
        loop {
            match update.step() {
                Step::Need { file, max_len } => {
                    update.feed(self.metadata.metadata(&file, max_len).await?)?;
                }
                Step::Save(name, bytes) => {
                    self.folder.save(&name, &bytes)?;
                    update.saved();
                }
                Step::Forget(name) => {
                    self.folder.forget(&name)?;
                    update.saved();
                }
                Step::Done(trusted) => return Ok(*trusted),
            }
        }
    }

    /// Find a target, and have its file in `dir`.
    pub async fn download(
        &self,
        trusted: &Trusted,
        path: &str,
        tree: &Tree,
        dir: &Path,
    ) -> Result<PathBuf, Failure> {
        let target = self.find(trusted, path).await?.ok_or_else(|| Failure::NoTarget(path.to_owned()))?;
        let refused = |fault| TufError::new(&RoleName::targets(), fault);
        let local = dir.join(local_name(path));
        if read(&local, target.length).is_ok_and(|bytes| target.check(&bytes).is_ok()) {
            return Ok(local);
        }
        let consistent = trusted.root().role().consistent_snapshot();
        let served = target.served_as(path, consistent).map_err(refused)?;
        let bytes =
            tree.fetch(&served, target.length).await?.ok_or_else(|| Failure::NoTarget(served.clone()))?;
        target.check(&bytes).map_err(refused)?;
        fs::create_dir_all(dir)?;
        replace(&local, &bytes)?;
        Ok(local)
    }

    /// Search for a target.
    pub async fn find(&self, trusted: &Trusted, path: &str) -> Result<Option<Target>, Failure> {
        let kept = self.folder.kept()?;
        let mut search = Search::start(trusted, path, &kept)?;
        loop {
            match search.step() {
                Step::Need { file, max_len } => {
                    search.feed(self.metadata.metadata(&file, max_len).await?)?;
                }
                Step::Save(name, bytes) => {
                    self.folder.save(&name, &bytes)?;
                    search.saved();
                }
                Step::Forget(_) => search.saved(),
                Step::Done(found) => return Ok(found.target.map(|(_, target)| target)),
            }
        }
    }
}

fn decode(name: &str) -> Option<RoleName> {
    percent_encoding::percent_decode_str(name).decode_utf8().ok()?.parse().ok()
}

/// A file of at most `max` bytes.
fn read(path: &Path, max: u64) -> std::io::Result<Bytes> {
    let mut out = Vec::new();
    fs::File::open(path)?.take(max.saturating_add(1)).read_to_end(&mut out)?;
    if out.len() as u64 > max {
        return Err(std::io::Error::other(format!("{}: more than {max} bytes", path.display())));
    }
    Ok(out.into())
}

/// The whole file or none of it, also after a crash.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let dir = path.parent().unwrap_or_else(|| Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(dir)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    fs::File::open(dir)?.sync_all()
}
