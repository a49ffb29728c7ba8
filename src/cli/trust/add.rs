//! `trust add` and `trust import`: a root, read or fetched, for a scope.

use std::path::PathBuf;

use super::show::Anchors;
use super::source::TypedSource;
use crate::cli::context::{Context, block_on};
use crate::cli::error::{CliError, Exit};
use crate::cli::registry::RegistryArgs;
use crate::cli::render::Outcome;
use crate::client::anchors::{fetch_root, read_root, root_facts};
use crate::oci::{Digest, Reference, RegistryRef, Repository};
use crate::trust::{Anchor, PinnedRoot, Scope};
use crate::tuf::CollectionName;

/// What `--root` takes.
#[derive(Debug, Clone)]
pub(in crate::cli) enum Root {
    File(PathBuf),
    Fingerprint(Digest),
}

impl std::str::FromStr for Root {
    type Err = crate::oci::DigestError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        if s.starts_with("sha256:") { s.parse().map(Self::Fingerprint) } else { Ok(Self::File(s.into())) }
    }
}

/// Whose root it is, and for what.
pub(super) enum Whose {
    /// A collection's, for one repository.
    Collection(Repository, CollectionName),
    /// An organisation's, for what lies below a prefix.
    Organisation(Scope, CollectionName),
}

impl Whose {
    fn anchor(&self, root: Vec<u8>, state_at: Vec<Reference>) -> Anchor {
        match self {
            Self::Collection(repository, name) => {
                Anchor::tuf(Scope::Repository(repository.clone()), name.clone(), root.into(), state_at)
            }
            Self::Organisation(scope, name) => {
                Anchor::tuf(scope.clone(), name.clone(), root.into(), state_at).of_organisation()
            }
        }
    }
}

/// The scope of an organisation's anchor: what lies below a prefix.
pub(super) fn prefix(scope: &str) -> Result<Scope, CliError> {
    let bad = || {
        CliError::usage(format!("\"{scope}\" is no scope of an organisation"))
            .next("write what its members lie below, as in 'registry.example.com/org/*'")
    };
    match scope.parse::<Scope>() {
        Ok(scope @ Scope::Prefix(_)) => Ok(scope),
        Ok(_) => Err(bad()),
        Err(e) => Err(bad().reason(e)),
    }
}

/// The scope of a TUF anchor: one repository.
pub(super) fn repository(scope: &str) -> Result<Repository, CliError> {
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

/// A collection's root for one repository, or an organisation's for all that lies below a prefix.
pub(super) fn add(
    cx: &mut Context<'_, '_>,
    whose: Whose,
    root: &Root,
    state_at: Vec<Reference>,
    (sources, min): (&[TypedSource], Option<u32>),
    registry: &RegistryArgs,
) -> Result<Box<dyn Outcome>, CliError> {
    no_bundles(&state_at)?;
    // Its places are those that its anchor would be asked at.
    let asked = whose.anchor(Vec::new(), state_at);
    let own = match &asked.scope {
        Scope::Repository(repository) => {
            Some(Reference::Registry(RegistryRef { repository: repository.clone(), selector: None }))
        }
        _ => None,
    };
    let places = asked.sources().into_iter().flat_map(|s| s.state_at);
    let at: Vec<Reference> = own.iter().cloned().chain(places).collect();
    let root = bring_root(root, &asked.collection, &at, registry, cx)?;
    let specs = sources.iter().zip(own.iter().cycle());
    let specs = specs.map(|(s, own)| s.read(&asked.collection, own, registry, cx));
    let specs = specs.collect::<Result<Vec<_>, _>>()?;
    let anchor = whose
        .anchor(root.bytes().to_vec(), asked.state_at)
        .with_sources(specs, min)
        .map_err(|e| CliError::usage("these sources cannot agree").reason(e))?;
    keep(cx, vec![anchor])
}

/// Add anchors, and say what they take from those that are there.
pub(super) fn keep(cx: &mut Context<'_, '_>, anchors: Vec<Anchor>) -> Result<Box<dyn Outcome>, CliError> {
    let store = cx.trust();
    let before = store.load()?;
    let changed = store.add_all(&anchors)?;
    for lost in anchors.iter().flat_map(|anchor| before.widened_by(anchor)) {
        cx.note("trust.widened", lost);
    }
    let verb = Some(if changed { "added" } else { "unchanged" });
    Ok(Box::new(Anchors { verb, anchors, file: store.load()?, changed }))
}

fn no_bundles(state_at: &[Reference]) -> Result<(), CliError> {
    match state_at.iter().find(|p| p.selector().is_some()) {
        Some(place) => Err(CliError::usage(format!("--state-at {place} names a bundle"))
            .next("write the repository or OCI layout alone, without tag and digest")),
        None => Ok(()),
    }
}

/// A root, read or fetched, that verifies by itself and is the collection's.
pub(in crate::cli) fn bring_root(
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

/// What is wrong with a root that was read.
pub(super) fn root_invalid(from: &str, e: crate::tuf::TufError) -> CliError {
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
