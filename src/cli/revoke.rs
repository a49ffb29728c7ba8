//! `bulla revoke`: take back a bundle, a signature, a key or a certificate; warn of a bundle; undo any of it.

mod material;
mod outcome;

use std::collections::BTreeSet;

use super::context::{Context, block_on};
use super::error::{CliError, Exit};
use super::registry::KeyedRegistryArgs;
use super::render::Outcome;
use super::signing::{SigningArgs, state_place};
use crate::client::places::Places as _;
use crate::client::revoke::{Request, RevokeError, What, revoke};
use crate::keys::KeyRef;
use crate::oci::{Reference, Selector};
use crate::trust::{Material, MaterialKind};
use material::MaterialArgs;
use outcome::Done;

/// Take back a bundle, a signature, a key or a certificate: a signed entry says by whom, when and why
///
/// It is refused wherever the new state arrives: here, in mirrors and in OCI layouts, whatever still lists or vouches for
/// it. Of a bundle the entries go, too. With --advisory nothing is taken back: verify warns until the warning is
/// acknowledged.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "bulla revoke [OPTIONS] --reason <TEXT> <REF>\n       bulla revoke [OPTIONS] --reason <TEXT> <--signature <DIGEST>|--key <ID>|--cert <FINGERPRINT>> [REPO]",
    after_long_help = "Examples:\n  bulla revoke registry.example.com/team/app:v1 --reason 'CVE-2026-1234'\n  bulla revoke registry.example.com/team/app --key ./alice.pub --since 2026-11-01T00:00:00Z --reason 'laptop stolen'\n  bulla revoke registry.example.com/team/app --cert sha256:… --reason 'issued by mistake'\n  bulla revoke registry.example.com/team/app --signature sha256:… --reason 'signed the wrong build'\n  bulla revoke registry.example.com/team/app@sha256:… --advisory --reason 'update to v2'\n  bulla revoke registry.example.com/team/app --undo 5c19e0a7b2d4f683 --reason 'false alarm'"
)]
pub(super) struct Args {
    /// The bundle, by tag (as the collection says it) or digest; the repository for --undo, an advisory of all, a
    /// signature, key or certificate (then it may be left out where one collection is trusted)
    #[arg(value_name = "REF")]
    reference: Option<Reference>,
    #[command(flatten)]
    material: MaterialArgs,
    /// Why; everybody who verifies reads it
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Only warn
    #[arg(long, conflicts_with = "undo")]
    advisory: bool,
    /// Undo the entry with this id
    #[arg(long, value_name = "ID")]
    undo: Option<String>,
    /// Replace a revocation list that cannot be read with what can be read of those before it: whatever else it takes back is forgotten
    #[arg(long)]
    dangerously_replace_unreadable_list: bool,
    /// Sign the revocation list with this key; otherwise with the one of the key folder that the role lists
    #[arg(long, value_name = "KEY")]
    revocations_key: Option<KeyRef>,
    #[command(flatten)]
    signing: SigningArgs,
    #[command(flatten)]
    registry: KeyedRegistryArgs,
}

/// Longest reason, characters: it is read by everybody, in one line.
const MAX_REASON: usize = 1000;

pub(super) fn run(args: Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    let material = args.material.read(cx)?;
    let reference = match &args.reference {
        Some(reference) => reference.clone(),
        None if material.is_some() => only_repository(cx)?,
        None => {
            return Err(CliError::usage("nothing to take back is named")
                .next("write a bundle, or --signature, --key or --cert"));
        }
    };
    let mut what = what(&args, &reference, material)?;
    let mut unseen = false;
    let place = reference.at(None);
    let more: Vec<KeyRef> = args.revocations_key.iter().cloned().collect();
    let registry = args.registry.registry();
    let desk = args.signing.desk(cx, &registry, &place, &more)?;
    let carrier = args.material.carrier().and_then(|carrier| carrier.place().cloned());
    let all: Vec<&Reference> = std::iter::once(&reference).chain(&carrier).collect();
    let places = registry.places(cx, &all)?;
    let clock = cx.clock();
    let revoked = block_on(async {
        let store = places.open(&place).await?;
        let state = state_place(&places, &store, &desk.anchor).await?;
        if let What::Material(Material { kind: MaterialKind::Signature, subject, .. }) = &mut what {
            let there = match &carrier {
                Some(place) => material::named(&*places.open(place).await?, subject).await?,
                None => material::named(&*store, subject).await?,
            };
            unseen = there.is_none();
            if let Some(name) = there {
                *subject = name;
            }
        }
        let request = Request {
            collection: desk.anchor.collection.clone(),
            anchor: desk.anchor.root.bytes().clone(),
            state: &*state,
            store: &*store,
            what,
            reason: args.reason.trim().to_owned(),
            replace_unreadable: args.dangerously_replace_unreadable_list,
            memories: &desk.memories,
            without_memory: desk.without_memory,
            keys: &desk.ring,
            clock: &*clock,
        };
        revoke(request).await.map_err(CliError::from)
    });
    desk.ring.note_warnings(cx);
    let revoked = revoked??;
    if let Some(material) = revoked.material.as_ref().filter(|_| unseen) {
        cx.note(
            "revoke.signature-unseen",
            format!(
                "nothing with the digest {} lies there: it is taken for the name of a signature as verify prints it, and \
                 takes back nothing if it is none",
                material.subject
            ),
        );
    }
    if revoked.repaired {
        cx.note("state.behind", "the live state was older than the memory, or gone, and was put right");
    }
    if let Some(kept) = revoked.replaced {
        cx.note(
            "revocation.replaced",
            format!(
                "the list that could not be read was replaced; {kept} entries of lists before it were kept"
            ),
        );
    }
    if let Some(digest) = revoked.bundle.as_ref().filter(|_| revoked.absent) {
        cx.note("revoke.absent", format!("{digest} is not here: no seal was hung on it"));
    }
    Ok(Box::new(Done::new(revoked)))
}

/// The repository of the one collection that is trusted here.
fn only_repository(cx: &Context<'_, '_>) -> Result<Reference, CliError> {
    let trust = cx.trust().load()?;
    let scopes: BTreeSet<String> =
        trust.all_anchors().filter(|a| !a.organisation).map(|a| a.scope.to_string()).collect();
    let mut all = scopes.iter();
    let (Some(one), None) = (all.next(), all.next()) else {
        let known: Vec<&str> = scopes.iter().map(String::as_str).collect();
        return Err(CliError::usage("whose revocation list is meant is not said")
            .reason(format!("{} repositories are anchored: {}", known.len(), known.join(", ")))
            .next("name the repository, too: bulla revoke REPO --key ID --reason TEXT"));
    };
    one.parse().map_err(|e| CliError::usage(format!("{one} is no repository")).reason(e))
}

fn what(args: &Args, reference: &Reference, material: Option<Material>) -> Result<What, CliError> {
    let reason = args.reason.trim();
    if reason.is_empty() || reason.chars().count() > MAX_REASON || reason.chars().any(char::is_control) {
        return Err(CliError::usage("--reason is no reason").reason(format!(
            "it is read by everybody who verifies: one line, at most {MAX_REASON} characters"
        )));
    }
    if let Some(material) = material {
        return match (reference.selector(), &args.undo) {
            (None, Some(id)) => Ok(What::Undo(id.clone(), Some(material.subject))),
            (None, None) => Ok(What::Material(material)),
            (Some(_), _) => Err(CliError::usage(format!("{reference} names a bundle"))
                .reason("a signature, a key or a certificate is taken back for the whole collection")
                .next(format!("write the repository alone: {}", reference.at(None)))),
        };
    }
    match (reference.selector(), &args.undo, args.advisory) {
        (None, Some(id), _) => Ok(What::Undo(id.clone(), None)),
        (Some(Selector::Digest(digest)), Some(id), _) => Ok(What::Undo(id.clone(), Some(digest.clone()))),
        (Some(_), Some(_), _) => Err(CliError::usage(format!("{reference} names a tag"))
            .next("an entry is undone by its id: write the repository alone, or with the digest that the entry names")),
        (selector, None, true) => Ok(What::Advisory(selector.cloned())),
        (Some(selector), None, false) => Ok(What::Bundle(selector.clone())),
        (None, None, false) => Err(CliError::no_selector(reference)),
    }
}

impl From<RevokeError> for CliError {
    fn from(e: RevokeError) -> Self {
        match e {
            RevokeError::Unlisted { ref tag, .. } => Self::new(
                Exit::No,
                "revoke.unlisted",
                format!("nothing is known of the tag {tag}"),
            )
            .reason(&e)
            .next("name the bundle by its digest: a digest can be taken back whether or not it is listed"),
            RevokeError::Algorithm(_) => {
                Self::new(Exit::Usage, "publish.unsupported", "it cannot be taken back").reason(e)
            }
            RevokeError::NoEntry { .. } => Self::new(Exit::No, "revoke.no-entry", "there is nothing to undo")
                .reason(e)
                .next("bulla verify shows the id of the entry that takes something back"),
            RevokeError::SeveralBundles { .. } => {
                Self::new(Exit::No, "revoke.ambiguous", "the tag names several bundles; nothing was signed")
                    .reason(e)
                    .next("name the one that is meant by its digest")
            }
            RevokeError::SeveralEntries { .. } => {
                Self::new(Exit::No, "revoke.ambiguous", "several entries bear this id; nothing was signed")
                    .reason(e)
                    .next("name what it is about, too: bulla revoke REPO@sha256:… --undo ID, or --key, --cert or --signature beside --undo")
            }
            RevokeError::Undone(_) => Self::new(Exit::No, "revoke.undone", "an undoing is not undone")
                .reason(e)
                .next("take it back again: bulla revoke with what was taken back"),
            RevokeError::NoRole(_) => {
                Self::new(Exit::No, "revoke.no-role", "the collection has no revocation list").reason(e)
            }
            RevokeError::Work(e) => e.into(),
            RevokeError::Store(e) => e.into(),
            RevokeError::Key(e) => e.into(),
        }
    }
}
