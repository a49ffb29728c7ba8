//! What carries a state, and who judges what it carries.

use std::path::PathBuf;

use bulla::client::places::Places as _;
use bulla::client::state::{self, Kind};
use bulla::client::stores::Stores;
use bulla::client::verify::Verifier;
use bulla::oci::{Content, Reference, Repository, Tag, empty_descriptor, media_type};
use bulla::store::{BytesSource, Manage, Store};
use bulla::time::UnixTime;
use bulla::trust::{Anchor, Code, Report, Scope, TrustFile, Verdict};
use bulla::tuf::{CollectionName, Fault, FileName, Files, Limits, RootWalk, TufError};
use bytes::Bytes;

use super::client::{Client, Failure, Fetcher, Folder, Tree};
use super::site::{Answer, Site};
use super::vectors::{self, BUNDLE, COLLECTION, Judge, Vector};
use super::world::Served;
use crate::bundles;
use crate::registry::{Config, Registry};
use crate::servers::place;

/// A transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carrier {
    Tree,
    Registry,
    Layout,
}

/// A server of each kind, and a folder for layouts and clients.
pub(super) struct Carriers {
    site: Site,
    registry: Registry,
    dir: tempfile::TempDir,
}

/// A place of one vector, and the folder of its client.
pub(super) struct Spot<'a> {
    carrier: Carrier,
    carriers: &'a Carriers,
    name: String,
}

/// The files of a state or of a tree, one by one.
enum Source {
    Tree(Tree),
    State(Option<Files>),
}

impl Fetcher for Source {
    async fn metadata(&self, file: &FileName, max_len: u64) -> Result<Option<Bytes>, Failure> {
        match self {
            Self::Tree(tree) => tree.metadata(file, max_len).await,
            Self::State(files) => Ok(files.as_ref().and_then(|f| f.get(file)).cloned()),
        }
    }
}

impl Carriers {
    pub(super) async fn start() -> Self {
        let registry = Registry::start(Config::default()).await;
        Self { site: Site::start(), registry, dir: bundles::scratch() }
    }

    pub(super) fn place(&self, carrier: Carrier, name: &str) -> Spot<'_> {
        Spot { carrier, carriers: self, name: name.to_owned() }
    }
}

impl Spot<'_> {
    fn folder(&self, what: &str) -> PathBuf {
        self.carriers.dir.path().join(&self.name).join(what)
    }

    fn repository(&self) -> Repository {
        format!("{}/{}", self.carriers.registry.host(), self.name).parse().unwrap()
    }

    fn reference(&self) -> Reference {
        match self.carrier {
            Carrier::Layout => format!("oci:{}:v1", self.folder("layout").display()).parse().unwrap(),
            _ => format!("{}:v1", self.repository()).parse().unwrap(),
        }
    }

    /// Serve a state, and the bundle.
    async fn serve(&self, served: &Served, list: Option<&[u8]>) {
        let files = files_of(served, list);
        let packed = state::pack(Kind::State, &files, None);
        let bundle = Content::new(media_type::OCI_MANIFEST, BUNDLE.to_vec());
        let empty = Content::new(empty_descriptor().media_type, &b"{}"[..]);
        let state_tag = name().state_tag();
        match self.carrier {
            Carrier::Tree => {
                for (file, bytes) in served {
                    self.carriers.site.put(&format!("/{}/{file}", self.name), Answer::File(bytes.clone()));
                }
                // What was there and is not any more.
                let old = std::fs::read_to_string(self.folder("served")).unwrap_or_default();
                for file in old.lines().filter(|l| !served.contains_key(*l)) {
                    self.carriers.site.put(&format!("/{}/{file}", self.name), Answer::Status(404));
                }
                std::fs::create_dir_all(self.folder("")).unwrap();
                let names: Vec<&str> = served.keys().map(String::as_str).collect();
                std::fs::write(self.folder("served"), names.join("\n")).unwrap();
            }
            Carrier::Registry => {
                let (registry, repo) = (&self.carriers.registry, &self.name);
                for blob in packed.blobs.iter().chain([&empty]) {
                    registry.put_blob(repo, blob.bytes().clone());
                }
                place(registry, repo, Some("v1"), &bundle);
                place(registry, repo, Some(state_tag.as_str()), &packed.manifest);
            }
            Carrier::Layout => {
                let layout = Stores::new(crate::servers::config()).create(&self.reference()).await.unwrap();
                for blob in packed.blobs.iter().chain([&empty]) {
                    layout.push_blob(blob.descriptor(), &BytesSource(blob.bytes().clone())).await.unwrap();
                }
                push(&*layout, &bundle, "v1".parse().unwrap()).await;
                push(&*layout, &packed.manifest, state_tag).await;
            }
        }
    }

    /// What this judge says of the vector here.
    pub(super) async fn judge(&self, judge: Judge, vector: &Vector, stores: &Stores) -> String {
        match judge {
            Judge::Verify => self.verify(vector, stores).await,
            Judge::Plain => self.update(vector, None, stores).await,
            Judge::Update => self.update(vector, Some(COLLECTION), stores).await,
        }
    }

    async fn verify(&self, vector: &Vector, stores: &Stores) -> String {
        if let Some((served, at)) = &vector.before {
            self.serve(served, Some(vectors::LIST)).await;
            assert_eq!(
                self.verify_at(vector, *at, stores).await,
                vectors::TRUSTED,
                "{}, before",
                vector.name
            );
        }
        self.serve(&vector.served, vector.list.as_deref()).await;
        self.verify_at(vector, vector.now, stores).await
    }

    async fn verify_at(&self, vector: &Vector, now: i64, stores: &Stores) -> String {
        let mut trust = TrustFile::default();
        let scope = Scope::Repository(self.repository());
        trust.anchors.push(Anchor::tuf(scope, name(), vector.root.clone().into(), vec![]));
        // A layout is opened anew, as by another process.
        let fresh = Stores::new(crate::servers::config());
        let verifier = Verifier {
            places: if self.carrier == Carrier::Layout { &fresh } else { stores },
            trust: &trust,
            memory: &self.folder("memory"),
            now: UnixTime::from_secs(now),
            clock_override: false,
            looked: &Default::default(),
        };
        let named = format!("{}:v1", self.repository()).parse().unwrap();
        let named = (self.carrier == Carrier::Layout).then_some(&named);
        said(&verifier.verify(&self.reference(), named).await.unwrap())
    }

    /// A client that asks for one file after the other and keeps what it accepts.
    async fn update(&self, vector: &Vector, collection: Option<&str>, stores: &Stores) -> String {
        let root = self.folder("first-root");
        std::fs::create_dir_all(self.folder("")).unwrap();
        std::fs::write(&root, &vector.root).unwrap();
        if let Err(e) = RootWalk::start(&vector.root.clone().into(), collection, &Limits::default()) {
            let other = matches!(e.fault, Fault::Collection { .. });
            return format!("no: {}", if other { Code::AnchorCollection } else { Code::AnchorRoot });
        }
        Folder::new(&self.folder("kept")).init(&root).unwrap();
        if let Some((served, at)) = &vector.before {
            self.serve(served, Some(vectors::LIST)).await;
            let before = self.update_at(*at, collection, stores).await;
            assert_eq!(before, vectors::TRUSTED, "{}, before", vector.name);
        }
        self.serve(&vector.served, vector.list.as_deref()).await;
        self.update_at(vector.now, collection, stores).await
    }

    async fn update_at(&self, now: i64, collection: Option<&str>, stores: &Stores) -> String {
        let metadata = match self.carrier {
            Carrier::Tree => {
                Source::Tree(Tree::new(&format!("{}/{}", self.carriers.site.address, self.name)).unwrap())
            }
            Carrier::Registry => {
                Source::State(state_at(&*stores.open(&self.reference()).await.unwrap()).await)
            }
            Carrier::Layout => {
                let fresh = Stores::new(crate::servers::config());
                Source::State(state_at(&*fresh.open(&self.reference()).await.unwrap()).await)
            }
        };
        let client = Client {
            folder: Folder::new(&self.folder("kept")),
            metadata,
            collection: collection.map(str::to_owned),
            now: UnixTime::from_secs(now),
        };
        match looked_for(&client).await {
            Ok(answer) => answer,
            Err(Failure::Refused(e)) => refused(&e),
            Err(other) => format!("undecided: {other}"),
        }
    }
}

/// The same paths as `verify` asks for; the first must name the bundle.
async fn looked_for(client: &Client<Source>) -> Result<String, Failure> {
    let trusted = client.refresh().await?;
    let mut found = Vec::new();
    for path in vectors::paths() {
        found.push(client.find(&trusted, &path).await?);
    }
    let Some(target) = &found[0] else { return Ok(format!("no: {}", Code::BundleTagUnlisted)) };
    Ok(match target.check(BUNDLE) {
        Ok(()) => vectors::TRUSTED.to_owned(),
        Err(Fault::Hash { what: "length" }) => format!("no: {}", Code::BundleLength),
        Err(_) => format!("no: {}", Code::BundleTagMoved),
    })
}

fn name() -> CollectionName {
    COLLECTION.parse().unwrap()
}

fn files_of(served: &Served, list: Option<&[u8]>) -> Files {
    let mut files = Files::new();
    for (file, bytes) in served {
        if let Ok(file) = file.parse::<FileName>() {
            files.put(file, Bytes::copy_from_slice(bytes));
        }
    }
    let [.., path] = vectors::paths();
    if let Some(list) = list {
        files.put_target(path, Bytes::copy_from_slice(list));
    }
    files
}

async fn state_at(store: &dyn Manage) -> Option<Files> {
    let store: &dyn Store = store;
    state::fetch_state(store, &name()).await.unwrap().map(|read| read.files)
}

async fn push(layout: &dyn Manage, manifest: &Content, tag: Tag) {
    layout.push_manifest(manifest, Some(&tag)).await.unwrap();
    layout.flush().await.unwrap();
}

fn refused(e: &TufError) -> String {
    let says = if e.is_undecided() { "undecided" } else { "no" };
    format!("{says}: {}", Code::from(e))
}

fn said(report: &Report) -> String {
    let because = || report.because().unwrap().code;
    match report.verdict() {
        Verdict::Trusted => vectors::TRUSTED.to_owned(),
        Verdict::NotTrusted => format!("no: {}", because()),
        Verdict::NotChecked => "not checked".into(),
        Verdict::Undecided => format!("undecided: {}", because()),
    }
}
