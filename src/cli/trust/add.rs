//! `trust add`: a root, read or fetched, or whose signatures count, for a scope.

use std::path::PathBuf;

use super::show::Anchors;
use super::signer::{self, Material};
use super::source::TypedSource;
use crate::cli::context::{Context, block_on};
use crate::cli::error::{CliError, Exit};
use crate::cli::registry::RegistryArgs;
use crate::cli::render::Outcome;
use crate::client::anchors::{fetch_root, read_root, root_facts};
use crate::oci::{Digest, Reference, RegistryRef, Repository};
use crate::trust::{Anchor, PinnedRoot, Scope, SubjectPattern};
use crate::tuf::CollectionName;

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("whom").required(true).args(["root", "ca", "certificate", "public_key", "keyless"]))]
pub(super) struct Args {
    /// For a root: the repository for which it may speak; of an organisation registry/org/*. Otherwise any scope: *, a registry,
    /// registry/org/*, a repository or a tag
    scope: String,
    /// The root of a collection: a file, or its fingerprint sha256:HEX to fetch it and compare
    #[arg(long, value_name = "FILE|sha256:HEX")]
    root: Option<Root>,
    /// The collection's name, when it is not SCOPE
    #[arg(long, value_name = "NAME", requires = "root")]
    collection: Option<CollectionName>,
    /// A further place of the collection's state (can be repeated)
    #[arg(long, value_name = "REPO", requires = "root")]
    state_at: Vec<Reference>,
    /// One who must agree: NAME[,role=ROLE][,key=KEY]...[,threshold=N][,root=FILE|sha256:HEX][,at=REPO][,state-at=REPO]... (can be
    /// repeated)
    #[arg(long, value_name = "SOURCE", requires = "root")]
    source: Vec<TypedSource>,
    /// How many of the sources must agree (default: all of them)
    #[arg(long, value_name = "N", requires = "source")]
    min: Option<u32>,
    /// The root is that of the organisation NAME: its members speak for what lies below SCOPE
    #[arg(long, value_name = "NAME", requires = "root", conflicts_with_all = ["collection", "source"])]
    organisation: Option<CollectionName>,
    /// Trust whom this CA certified: a root or intermediate certificate, PEM or DER
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Only those whose subject has all of these, as in C=US,O=Example, or this SPIFFE ID or trust domain (can be repeated)
    #[arg(long, value_name = "SUBJECT", requires = "ca")]
    subject: Vec<SubjectPattern>,
    /// Trust one signer's certificate, PEM or DER; its rotation breaks this
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Trust one public key: a PEM file, or a name in the key folder; its rotation breaks this
    #[arg(long, value_name = "FILE|NAME")]
    public_key: Option<String>,
    /// Trust an identity that the authorities and logs of this Sigstore trusted root vouch for
    #[arg(long, value_name = "FILE", requires_all = ["identity", "issuer"])]
    keyless: Option<PathBuf>,
    /// The identity, exactly: an address or the URL of a workflow
    #[arg(long, value_name = "ID", requires = "keyless")]
    identity: Option<String>,
    /// Who vouches for the identity, exactly
    #[arg(long, value_name = "URL", requires = "keyless")]
    issuer: Option<String>,
    /// Signatures can be taken back by the revocation list of this collection, whose root must be trusted already
    #[arg(long, value_name = "NAME", conflicts_with = "root")]
    rescissions: Option<CollectionName>,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// What is said of the wrong kind of anchor: the group of kinds makes clap let it pass.
fn misplaced(args: &Args) -> Option<(&'static str, &'static str)> {
    let of_root = [
        (args.collection.is_some(), "--collection"),
        (!args.state_at.is_empty(), "--state-at"),
        (!args.source.is_empty(), "--source"),
        (args.organisation.is_some(), "--organisation"),
    ];
    let of_keyless = [(args.identity.is_some(), "--identity"), (args.issuer.is_some(), "--issuer")];
    let of_ca = [(!args.subject.is_empty(), "--subject")];
    let first = |list: &[(bool, &'static str)], there: bool, needs: &'static str| {
        list.iter().find(|(given, _)| *given && !there).map(|(_, flag)| (*flag, needs))
    };
    first(&of_root, args.root.is_some(), "--root")
        .or_else(|| first(&of_keyless, args.keyless.is_some(), "--keyless"))
        .or_else(|| first(&of_ca, args.ca.is_some(), "--ca"))
}

pub(super) fn run(args: Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    if let Some((flag, needs)) = misplaced(&args) {
        return Err(CliError::usage(format!("{flag} is for {needs}")));
    }
    let Some(root) = &args.root else {
        let material = match (&args.ca, &args.certificate, &args.public_key, &args.keyless) {
            (Some(file), ..) => Material::Ca(file.clone(), args.subject),
            (_, Some(file), ..) => Material::Certificate(file.clone()),
            (_, _, Some(key), _) => Material::Key(key.clone()),
            (.., Some(file)) => {
                let (identity, issuer) = (args.identity.unwrap_or_default(), args.issuer.unwrap_or_default());
                Material::Keyless { trusted_root: file.clone(), identity, issuer }
            }
            _ => return Err(CliError::usage("nobody to trust: pass --root FILE")),
        };
        return signer::add(cx, &args.scope, material, args.rescissions);
    };
    let (state_at, registry) = (args.state_at, &args.registry);
    if let Some(name) = args.organisation {
        let whose = Whose::Organisation(prefix(&args.scope)?, name);
        return add(cx, whose, root, state_at, (&[], None), registry);
    }
    let scope = repository(&args.scope)?;
    let collection = args.collection.unwrap_or_else(|| scope.clone().into());
    add(cx, Whose::Collection(scope, collection), root, state_at, (&args.source, args.min), registry)
}

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

/// Add anchors, and say what they take from those that are there. Whether anything is new.
pub(in crate::cli) fn add_noting(cx: &mut Context<'_, '_>, anchors: &[Anchor]) -> Result<bool, CliError> {
    let store = cx.trust();
    let before = store.load()?;
    let changed = store.add_all(anchors)?;
    for lost in anchors.iter().flat_map(|anchor| before.widened_by(anchor)) {
        cx.note("trust.widened", lost);
    }
    Ok(changed)
}

/// The same, as the end of a command.
pub(super) fn keep(cx: &mut Context<'_, '_>, anchors: Vec<Anchor>) -> Result<Box<dyn Outcome>, CliError> {
    let (changed, store) = (add_noting(cx, &anchors)?, cx.trust());
    let verb = if changed { "added" } else { "unchanged" };
    Ok(Box::new(Anchors { verb, anchors, signers: Vec::new(), file: store.own()?, changed }))
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
