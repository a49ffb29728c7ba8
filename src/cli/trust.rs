//! `bulla trust`: anchors, and the file they are in.

mod replace;
mod source;

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Value, json};

use self::source::TypedSource;
use super::context::{Context, block_on};
use super::error::{CliError, Exit};
use super::registry::RegistryArgs;
use super::render::{Outcome, columns};
use crate::client::anchors::{RootFacts, fetch_root, read_packs, read_root, root_facts};
use crate::oci::{Digest, Reference, RegistryRef, Repository};
use crate::sig::PublicKey;
use crate::trust::{Anchor, OwnKeys, PinnedRoot, Scope, Source, TrustFile};
use crate::tuf::CollectionName;

/// Say whom to trust for which references
///
/// Anchors are the roots of collections, each for one repository. Nothing is trusted on first use. Policy statements are
/// written into trust.json by hand.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Trust a collection's root for one repository
    #[command(
        after_long_help = "Examples:\n  bulla trust add registry.example.com/team/app --root 1.root.json\n  bulla trust add mirror.example.net/team/app --root sha256:… --collection example.com/team/app\n  bulla trust add example.com/team/app --root 1.root.json --min 2 --source example.com/team/app --source example.com/team/app,role=targets/security"
    )]
    Add {
        /// The repository for which the root may speak; of an organisation registry/org/*
        scope: String,
        /// The root: a file, or its fingerprint sha256:HEX to fetch it and compare
        #[arg(long, value_name = "FILE|sha256:HEX")]
        root: Root,
        /// The collection's name, when it is not SCOPE
        #[arg(long, value_name = "NAME")]
        collection: Option<CollectionName>,
        /// A further place of the collection's state (can be repeated)
        #[arg(long, value_name = "REPO")]
        state_at: Vec<Reference>,
        /// One who must agree: NAME[,role=ROLE][,key=KEY]...[,threshold=N][,root=FILE|sha256:HEX][,at=REPO][,state-at=REPO]... (can be
        /// repeated)
        #[arg(long, value_name = "SOURCE")]
        source: Vec<TypedSource>,
        /// How many of the sources must agree (default: all of them)
        #[arg(long, value_name = "N", requires = "source")]
        min: Option<u32>,
        /// The root is that of the organisation NAME: its members speak for what lies below SCOPE
        #[arg(long, value_name = "NAME", conflicts_with_all = ["collection", "source"])]
        organisation: Option<CollectionName>,
        #[command(flatten)]
        registry: RegistryArgs,
    },
    /// Trust the roots that a directory of root packs holds
    Import {
        /// The directory, such as /usr/share/bulla/roots.d
        dir: PathBuf,
    },
    /// Show anchors and statements
    List,
    /// Trust another root of a collection whose root keys were lost, and forget the old one
    Replace(replace::Args),
    /// Trust an anchor no longer
    Remove {
        /// The ID that list shows, or a SCOPE that only one anchor has
        id: String,
    },
    /// Show the fingerprint of a root file and what it says
    Fingerprint {
        /// The root file
        file: PathBuf,
    },
    /// Take note of an advisory, so that verify no longer warns of it
    Acknowledge {
        /// The ID that verify shows
        id: String,
    },
    /// Print a trust.json for another installation
    Export {
        /// Write it there instead
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

/// What `--root` takes.
#[derive(Debug, Clone)]
pub(super) enum Root {
    File(PathBuf),
    Fingerprint(Digest),
}

impl std::str::FromStr for Root {
    type Err = crate::oci::DigestError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        if s.starts_with("sha256:") { s.parse().map(Self::Fingerprint) } else { Ok(Self::File(s.into())) }
    }
}

pub(super) fn run(args: Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    match args.action {
        Action::Import { dir } => {
            let anchors = read_packs(&dir)?;
            let store = cx.trust();
            let changed = store.add_all(&anchors)?;
            let verb = Some(if changed { "added" } else { "unchanged" });
            Ok(Box::new(Anchors { verb, anchors, file: store.load()?, changed }))
        }
        Action::Add { scope, root, state_at, organisation: Some(name), registry, .. } => {
            add_organisation(cx, &scope, &root, name, state_at, &registry)
        }
        Action::Add { scope, root, collection, state_at, source, min, registry, organisation: None } => {
            let scope = repository(&scope)?;
            let collection = collection.unwrap_or_else(|| scope.clone().into());
            add(cx, &scope, &root, collection, state_at, (&source, min), &registry)
        }
        Action::List => {
            let file = cx.trust().load()?;
            Ok(Box::new(Anchors { verb: None, anchors: file.anchors.clone(), file, changed: false }))
        }
        Action::Replace(args) => replace::run(args, cx),
        Action::Remove { id } => remove(cx, &id),
        Action::Fingerprint { file } => {
            let bytes = read_root(&file)?;
            let facts = root_facts(&bytes, None).map_err(|e| root_invalid(&file.display().to_string(), e))?;
            Ok(Box::new(Fingerprint { file, facts }))
        }
        Action::Acknowledge { id } => acknowledge(cx, id),
        Action::Export { output } => export(cx, output),
    }
}

/// The scope of a TUF anchor: one repository.
fn repository(scope: &str) -> Result<Repository, CliError> {
    let bad = || {
        CliError::usage(format!("\"{scope}\" is no scope of an anchor"))
            .next("write one repository, as in registry.example.com/team/app")
    };
    if scope.starts_with("oci:") || scope.starts_with("oci-archive:") {
        return Err(bad()
            .reason("an OCI layout has no name")
            .next("give the collection's name here, and verify with --as NAME"));
    }
    match scope.parse::<Scope>() {
        Ok(Scope::Repository(repository)) => Ok(repository),
        Ok(_) => Err(bad().reason("only statements and organisations may be wider than a repository")),
        Err(e) => Err(bad().reason(e)),
    }
}

fn add(
    cx: &mut Context<'_, '_>,
    scope: &Repository,
    root: &Root,
    collection: CollectionName,
    state_at: Vec<Reference>,
    (sources, min): (&[TypedSource], Option<u32>),
    registry: &RegistryArgs,
) -> Result<Box<dyn Outcome>, CliError> {
    no_bundles(&state_at)?;
    let own = Reference::Registry(RegistryRef { repository: scope.clone(), selector: None });
    let at: Vec<Reference> = std::iter::once(own.clone()).chain(state_at.iter().cloned()).collect();
    let root = bring_root(root, &collection, &at, registry, cx)?;
    let specs = sources.iter().map(|s| s.read(&collection, &own, registry, cx));
    let specs = specs.collect::<Result<Vec<_>, _>>()?;
    let anchor = Anchor::tuf(Scope::Repository(scope.clone()), collection, root.bytes().clone(), state_at)
        .with_sources(specs, min)
        .map_err(|e| CliError::usage("these sources cannot agree").reason(e))?;
    let store = cx.trust();
    let changed = store.add(&anchor)?;
    let verb = if changed { "added" } else { "unchanged" };
    Ok(Box::new(Anchors { verb: Some(verb), anchors: vec![anchor], file: store.load()?, changed }))
}

/// An organisation's root, for all that lies below a prefix.
fn add_organisation(
    cx: &mut Context<'_, '_>,
    scope: &str,
    root: &Root,
    name: CollectionName,
    state_at: Vec<Reference>,
    registry: &RegistryArgs,
) -> Result<Box<dyn Outcome>, CliError> {
    let bad = || {
        CliError::usage(format!("\"{scope}\" is no scope of an organisation"))
            .next("write what its members lie below, as in 'registry.example.com/org/*'")
    };
    let scope = match scope.parse::<Scope>() {
        Ok(scope @ Scope::Prefix(_)) => scope,
        Ok(_) => return Err(bad()),
        Err(e) => return Err(bad().reason(e)),
    };
    no_bundles(&state_at)?;
    // Its places are those that its anchor would be asked at.
    let asked = Anchor::tuf(scope, name, Default::default(), state_at).of_organisation();
    let at: Vec<Reference> = asked.sources().into_iter().flat_map(|s| s.state_at).collect();
    let root = bring_root(root, &asked.collection, &at, registry, cx)?;
    let anchor = Anchor::tuf(asked.scope, asked.collection, root.bytes().clone(), asked.state_at)
        .of_organisation()
        .with_sources(Vec::new(), None)
        .map_err(|e| bad().reason(e))?;
    let store = cx.trust();
    let changed = store.add(&anchor)?;
    let verb = if changed { "added" } else { "unchanged" };
    Ok(Box::new(Anchors { verb: Some(verb), anchors: vec![anchor], file: store.load()?, changed }))
}

fn no_bundles(state_at: &[Reference]) -> Result<(), CliError> {
    match state_at.iter().find(|p| p.selector().is_some()) {
        Some(place) => Err(CliError::usage(format!("--state-at {place} names a bundle"))
            .next("write the repository or OCI layout alone, without tag and digest")),
        None => Ok(()),
    }
}

/// A root, read or fetched, that verifies by itself and is the collection's.
pub(super) fn bring_root(
    root: &Root,
    collection: &CollectionName,
    at: &[Reference],
    registry: &RegistryArgs,
    cx: &mut Context<'_, '_>,
) -> Result<PinnedRoot, CliError> {
    let (bytes, from) = match root {
        Root::File(file) => (read_root(file)?, file.display().to_string()),
        Root::Fingerprint(fingerprint) => {
            let places = registry.places(cx, &at.iter().collect::<Vec<_>>())?;
            let fetched = block_on(fetch_root(&places, at, collection, fingerprint))?;
            (fetched?, format!("the root {fingerprint}"))
        }
    };
    root_facts(&bytes, Some(collection)).map_err(|e| root_invalid(&from, e))?;
    Ok(bytes.into())
}

fn remove(cx: &Context<'_, '_>, id: &str) -> Result<Box<dyn Outcome>, CliError> {
    let store = cx.trust();
    let file = store.load()?;
    let named: Vec<&Anchor> =
        file.anchors.iter().filter(|a| a.id.as_str() == id || a.scope.to_string() == id).collect();
    let absent = |message: String| CliError::new(Exit::Usage, "trust.absent", message);
    match named[..] {
        [anchor] => {
            let changed = store.remove(anchor.id.as_str())?;
            let anchors = vec![anchor.clone()];
            Ok(Box::new(Anchors { verb: Some("removed"), anchors, file: store.load()?, changed }))
        }
        [] => {
            let known: Vec<String> =
                file.anchors.iter().map(|a| format!("{} ({})", a.id.as_str(), a.scope)).collect();
            let error = absent(format!("no anchor has the ID or SCOPE {id}"));
            Err(if known.is_empty() {
                error.reason("there are no anchors")
            } else {
                error.reason(format!("anchors: {}", known.join(", ")))
            })
        }
        _ => {
            let ids: Vec<&str> = named.iter().map(|a| a.id.as_str()).collect();
            Err(absent(format!("{} anchors have the SCOPE {id}", ids.len()))
                .next(format!("name one by its ID: {}", ids.join(", "))))
        }
    }
}

fn acknowledge(cx: &Context<'_, '_>, id: String) -> Result<Box<dyn Outcome>, CliError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    if id.is_empty() || id.len() > 64 || !id.bytes().all(plain) {
        return Err(CliError::usage("that is no id of an advisory").next("bulla verify shows it"));
    }
    let changed = cx.trust().acknowledge(&id)?;
    Ok(Box::new(Acknowledged { id, changed }))
}

fn export(cx: &mut Context<'_, '_>, output: Option<PathBuf>) -> Result<Box<dyn Outcome>, CliError> {
    let mut file = cx.trust().load()?;
    let mut dropped = 0;
    for anchor in &mut file.anchors {
        let before = anchor.state_at.len();
        anchor.state_at.retain(|p| matches!(p, Reference::Registry(_)));
        dropped += before - anchor.state_at.len();
        for source in &mut anchor.sources {
            let before = source.state_at.len();
            source.state_at.retain(|p| matches!(p, Reference::Registry(_)));
            dropped += before - source.state_at.len();
        }
    }
    if dropped > 0 {
        cx.note("trust.local-place", format!("{dropped} places in local directories were left out"));
    }
    if let Some(path) = &output {
        let mut to = File::options()
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(|e| CliError::io("write", path, e))?;
        to.write_all(&file.to_bytes()).map_err(|e| CliError::io("write", path, e))?;
    }
    Ok(Box::new(Exported { file, output }))
}

fn root_invalid(from: &str, e: crate::tuf::TufError) -> CliError {
    match &e.fault {
        crate::tuf::Fault::Collection { got, .. } => {
            let says =
                if got.is_empty() { "no collection".to_owned() } else { format!("the collection {got}") };
            let error =
                CliError::new(Exit::No, "trust.collection", format!("{from} speaks for {says}")).reason(&e);
            if got.is_empty() {
                error
            } else {
                error.next(format!("pass --collection {got} only if that is whom you mean"))
            }
        }
        _ => CliError::new(
            Exit::No,
            "trust.root-invalid",
            format!("{from} is no root that verifies by itself"),
        )
        .reason(&e),
    }
}

/// An advisory that was read.
struct Acknowledged {
    id: String,
    changed: bool,
}

impl Outcome for Acknowledged {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let word = if self.changed { "noted" } else { "unchanged" };
        writeln!(out, "{word:<9} advisory {}: verify no longer warns of it here", self.id)
    }

    fn json(&self) -> Value {
        json!({"acknowledged": self.id, "changed": self.changed})
    }
}

/// Anchors that were listed, added or removed.
struct Anchors {
    verb: Option<&'static str>,
    anchors: Vec<Anchor>,
    file: TrustFile,
    changed: bool,
}

struct Fingerprint {
    file: PathBuf,
    facts: RootFacts,
}

struct Exported {
    file: TrustFile,
    output: Option<PathBuf>,
}

impl Outcome for Anchors {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        match self.verb {
            Some(verb) => self.anchors.iter().try_for_each(|a| {
                let id = a.id.as_str();
                let members = if a.organisation { "the members of " } else { "" };
                writeln!(out, "{verb:<9} {id}  {}  speaks for {members}{}", a.scope, a.collection)?;
                writeln!(out, "          root {}  {}", a.root.fingerprint(), says(a))?;
                sources_text(a, out)
            }),
            None => list(&self.anchors, &self.file, out),
        }
    }

    fn json(&self) -> Value {
        json!({
            "anchors": self.anchors.iter().map(anchor_json).collect::<Vec<_>>(),
            "statements": self.file.statements,
            "changed": self.changed,
        })
    }
}

fn list(anchors: &[Anchor], file: &TrustFile, out: &mut dyn Write) -> io::Result<()> {
    let mut rows = vec![["ID", "SCOPE", "COLLECTION", "ROOT", "STATE AT"].map(str::to_owned).to_vec()];
    rows.extend(anchors.iter().map(|a| {
        let at: Vec<String> = a.state_at.iter().map(ToString::to_string).collect();
        let at = if at.is_empty() { "-".to_owned() } else { at.join(" ") };
        vec![
            a.id.as_str().to_owned(),
            a.scope.to_string(),
            if a.organisation { format!("members of {}", a.collection) } else { a.collection.to_string() },
            a.root.fingerprint().to_string(),
            at,
        ]
    }));
    columns(out, &rows)?;
    for a in anchors.iter().filter(|a| !a.sources.is_empty()) {
        writeln!(out, "{}", a.id.as_str())?;
        sources_text(a, out)?;
    }
    for a in anchors {
        if let Err(e) = root_facts(a.root.bytes(), Some(&a.collection)) {
            writeln!(out, "unusable  {}: {}", a.id.as_str(), super::render::clean(&e.to_string()))?;
        }
    }
    if !file.statements.is_empty() {
        writeln!(out, "statements")?;
        let rows = file.statements.iter().map(|s| {
            let mut row = vec![format!("  {}", s.scope)];
            row.extend(s.max_staleness.map(|d| format!("maxStaleness {d}")));
            row.extend(s.require_current_tag.then(|| "requireCurrentTag".to_owned()));
            row.extend(s.reason.clone());
            row
        });
        columns(out, &rows.collect::<Vec<_>>())?;
    }
    Ok(())
}

impl Outcome for Fingerprint {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let f = &self.facts;
        writeln!(out, "{}", f.fingerprint)?;
        let collection = f.collection.as_deref().unwrap_or("no collection named");
        writeln!(out, "  {}, {}", super::render::clean(collection), facts_text(f))
    }

    fn json(&self) -> Value {
        let f = &self.facts;
        json!({
            "file": self.file.to_string_lossy(), "fingerprint": f.fingerprint, "collection": f.collection,
            "rootVersion": f.version, "threshold": f.threshold, "keys": f.keys, "expires": f.expires,
        })
    }
}

impl Outcome for Exported {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        match &self.output {
            Some(path) => writeln!(out, "wrote     {}", path.display()),
            None => out.write_all(&self.file.to_bytes()),
        }
    }

    fn json(&self) -> Value {
        json!({"trust": self.file, "file": self.output.as_ref().map(|p| p.to_string_lossy())})
    }
}

fn anchor_json(a: &Anchor) -> Value {
    let facts = root_facts(a.root.bytes(), None).ok();
    json!({
        "id": a.id, "kind": "tuf", "scope": a.scope, "collection": a.collection,
        "fingerprint": a.root.fingerprint(),
        "rootVersion": facts.as_ref().map(|f| f.version),
        "threshold": facts.as_ref().map(|f| f.threshold),
        "expires": facts.as_ref().map(|f| f.expires),
        "problem": root_facts(a.root.bytes(), Some(&a.collection)).err().map(|e| e.to_string()),
        "stateAt": a.state_at.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "organisation": a.organisation,
        "sources": if a.sources.is_empty() { Vec::new() } else { a.sources().iter().map(source_json).collect() },
        "min": (!a.sources.is_empty()).then(|| a.min()),
    })
}

fn source_json(s: &Source) -> Value {
    json!({
        "collection": s.collection, "fingerprint": s.root.fingerprint(), "role": s.role,
        "threshold": s.keys.as_ref().map(OwnKeys::threshold),
        "keys": s.keys.iter().flat_map(OwnKeys::keys).map(PublicKey::key_id).collect::<Vec<_>>(),
        "at": s.at.as_ref().map(ToString::to_string),
        "stateAt": s.state_at.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

/// Who must agree under an anchor, a line each.
fn sources_text(a: &Anchor, out: &mut dyn Write) -> io::Result<()> {
    if a.sources.is_empty() {
        return Ok(());
    }
    writeln!(out, "          {} of these must agree:", a.min())?;
    for s in a.sources() {
        let mut line =
            format!("            {}  role {}", s.collection, super::render::clean(s.role.as_str()));
        if let Some(keys) = &s.keys {
            let ids: Vec<_> = keys.keys().iter().map(|k| k.key_id().short().to_owned()).collect();
            line.push_str(&format!("  by {} of the keys {}", keys.threshold(), ids.join(", ")));
        }
        if s.root != a.root {
            line.push_str(&format!("  root {}", s.root.fingerprint()));
        }
        if let Some(at) = &s.at {
            line.push_str(&format!("  only at {at}"));
        }
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn says(a: &Anchor) -> String {
    match root_facts(a.root.bytes(), Some(&a.collection)) {
        Ok(facts) => facts_text(&facts),
        Err(e) => format!("UNUSABLE: {e}"),
    }
}

fn facts_text(f: &RootFacts) -> String {
    format!("version {}, {} of {} keys, expires {}", f.version, f.threshold, f.keys.len(), f.expires)
}
