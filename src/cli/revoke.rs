//! `bulla revoke`: take back a bundle, warn of one, or undo either.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::context::{Context, block_on};
use super::error::{CliError, Exit};
use super::registry::RegistryArgs;
use super::render::{Outcome, clean};
use super::signing::{
    SigningArgs, gathering_json, gathering_text, open_line, pending_json, reason as why_pending, state_place,
};
use crate::client::places::Places as _;
use crate::client::revoke::{Request, RevokeError, Revoked, Status, What, revoke};
use crate::keys::KeyRef;
use crate::oci::{Reference, Selector};

/// Take back a bundle: its entries go, and a signed tombstone says by whom, when and why
///
/// It is refused wherever the new state arrives: here, in mirrors and in OCI layouts, whatever still lists it. With
/// --advisory nothing is taken back: verify warns until the warning is acknowledged.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  bulla revoke registry.example.com/team/app:v1 --reason 'CVE-2026-1234'\n  bulla revoke registry.example.com/team/app@sha256:… --advisory --reason 'update to v2'\n  bulla revoke registry.example.com/team/app --undo 5c19e0a7b2d4f683 --reason 'false alarm'"
)]
pub(super) struct Args {
    /// The bundle, by tag (as the collection says it) or digest; the repository for --undo and for an advisory of all
    #[arg(value_name = "REF")]
    reference: Reference,
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
    registry: RegistryArgs,
}

/// Longest reason, characters: it is read by everybody, in one line.
const MAX_REASON: usize = 1000;

pub(super) fn run(args: Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    let what = what(&args)?;
    let place = args.reference.at(None);
    let more: Vec<KeyRef> = args.revocations_key.iter().cloned().collect();
    let desk = args.signing.desk(cx, &args.registry, &place, &more)?;
    let places = args.registry.places(cx, &[&args.reference])?;
    let clock = cx.clock();
    let revoked = block_on(async {
        let store = places.open(&place).await?;
        let state = state_place(&places, &store, &desk.anchor).await?;
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

fn what(args: &Args) -> Result<What, CliError> {
    let reason = args.reason.trim();
    if reason.is_empty() || reason.chars().count() > MAX_REASON || reason.chars().any(char::is_control) {
        return Err(CliError::usage("--reason is no reason").reason(format!(
            "it is read by everybody who verifies: one line, at most {MAX_REASON} characters"
        )));
    }
    match (args.reference.selector(), &args.undo, args.advisory) {
        (None, Some(id), _) => Ok(What::Undo(id.clone(), None)),
        (Some(Selector::Digest(digest)), Some(id), _) => Ok(What::Undo(id.clone(), Some(digest.clone()))),
        (Some(_), Some(_), _) => Err(CliError::usage(format!("{} names a tag", args.reference))
            .next("an entry is undone by its id: write the repository alone, or with the digest that the entry names")),
        (selector, None, true) => Ok(What::Advisory(selector.cloned())),
        (Some(selector), None, false) => Ok(What::Bundle(selector.clone())),
        (None, None, false) => Err(CliError::no_selector(&args.reference)),
    }
}

struct Done {
    revoked: Revoked,
    error: Option<CliError>,
}

impl Done {
    fn new(revoked: Revoked) -> Self {
        let lacking: Vec<String> = revoked.lacking.iter().map(ToString::to_string).collect();
        let error = match revoked.status {
            Status::Revoked | Status::Unchanged | Status::Submitted => None,
            Status::Withdrawn => Some(
                CliError::new(Exit::No, "revoke.tombstone", "the entries went, but no tombstone stands yet")
                    .reason(format!(
                        "{}; until then it is refused as unlisted, and could be published again",
                        lacking.join("; ")
                    ))
                    .next("a holder of that key runs the same bulla revoke"),
            ),
            Status::Incomplete => {
                let open: Vec<String> = revoked.open.iter().map(open_line).collect();
                Some(
                    CliError::failed(
                        "publish.incomplete",
                        "the commit is in, but not everything was finished",
                    )
                    .reason(open.join("; "))
                    .next("run the same command again"),
                )
            }
        };
        Self { revoked, error }
    }
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Revoked => "revoked",
        Status::Unchanged => "unchanged",
        Status::Submitted => "submitted",
        Status::Withdrawn => "withdrawn",
        Status::Incomplete => "incomplete",
    }
}

impl Outcome for Done {
    fn error(&self) -> Option<&CliError> {
        self.error.as_ref()
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let r = &self.revoked;
        let what = r.bundle.as_ref().map_or_else(|| r.collection.to_string(), ToString::to_string);
        writeln!(out, "{:<9} {what}", word(r.status))?;
        if let Some(e) = &r.entry {
            let by = e.by.as_deref().unwrap_or("unknown");
            writeln!(
                out,
                "          {} of {} by {}: {}",
                clean(&e.id),
                e.at,
                clean(by),
                clean(e.reason.as_deref().unwrap_or(""))
            )?;
        }
        for path in &r.removed {
            writeln!(out, "removed   {}", clean(path))?;
        }
        for path in &r.listed {
            writeln!(
                out,
                "listed    {}  (its role's key is not here; the tombstone counts all the same)",
                clean(path)
            )?;
        }
        if let Some(seal) = &r.seal {
            writeln!(out, "seal      {seal}")?;
        }
        if r.gathering.is_some() {
            gathering_text(r.gathering.as_ref(), out)?;
        } else if r.status == Status::Submitted {
            for tag in &r.submitted {
                writeln!(out, "          waits at {tag} for bulla renew by who holds the online key")?;
            }
        }
        for waiting in &r.pending {
            writeln!(out, "pending   {}  {}", clean(waiting.tag.as_str()), why_pending(waiting))?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let r = &self.revoked;
        let signed = r.signed.iter().map(|(role, (v, e))| json!({"role": role, "version": v, "expires": e}));
        let entry = r.entry.as_ref().map(|e| {
            json!({"id": e.id, "at": e.at, "by": e.by, "reason": e.reason, "subject": e.digest, "undoes": e.undoes})
        });
        json!({
            "status": word(r.status),
            "collection": r.collection,
            "state": {"reference": r.state.to_string(), "digest": r.digest},
            "bundle": r.bundle,
            "entry": entry,
            "removed": r.removed,
            "listed": r.listed,
            "lacking": r.lacking.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "seal": r.seal,
            "signed": signed.collect::<Vec<_>>(),
            "submitted": r.submitted,
            "gathering": gathering_json(r.gathering.as_ref()),
            "pending": pending_json(&r.pending),
            "open": r.open.iter().map(open_line).collect::<Vec<_>>(),
        })
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
                .next("bulla verify shows the id of the entry that takes a bundle back"),
            RevokeError::SeveralBundles { .. } => {
                Self::new(Exit::No, "revoke.ambiguous", "the tag names several bundles; nothing was signed")
                    .reason(e)
                    .next("name the one that is meant by its digest")
            }
            RevokeError::SeveralEntries { .. } => {
                Self::new(Exit::No, "revoke.ambiguous", "several entries bear this id; nothing was signed")
                    .reason(e)
                    .next("name the bundle, too: bulla revoke REPO@sha256:… --undo ID")
            }
            RevokeError::Undone(_) => Self::new(Exit::No, "revoke.undone", "an undoing is not undone")
                .reason(e)
                .next("take the bundle back again: bulla revoke with its reference"),
            RevokeError::NoRole(_) => {
                Self::new(Exit::No, "revoke.no-role", "the collection has no revocation list").reason(e)
            }
            RevokeError::Work(e) => e.into(),
            RevokeError::Store(e) => e.into(),
            RevokeError::Key(e) => e.into(),
        }
    }
}
