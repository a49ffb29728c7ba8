//! `bulla tuf commit`: put the signatures of all copies together, and publish.

mod first;
mod next;

use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::{Value, json};

use super::proposal::{
    Source, check_rules, note_left, read, settled, signers_json, signers_text, stands_on, together,
};
use super::recovery::{Discarded, ask};
use crate::cli::context::{Context, block_on};
use crate::cli::error::{CliError, Exit};
use crate::cli::registry::RegistryArgs;
use crate::cli::render::Outcome;
use crate::cli::signing::{
    SigningArgs, gathering_json, gathering_text, losers_json, losers_text, pending_json, reason, state_place,
};
use crate::client::ceremony::{CeremonyError, Desk, carried_by};
use crate::client::commit::{WorkError, Worked};
use crate::client::init::is_first;
use crate::client::places::Places as _;
use crate::client::recover::check_floors;
use crate::keys::KeyRef;
use crate::oci::{Reference, RegistryRef};
use crate::trust::Duration;
use crate::tuf::proposal::{Needed, Proposal, plain};
use crate::tuf::{CollectionName, RoleName};

/// Put the signatures of all copies of a proposal together, and publish it once enough have signed
///
/// Nothing is overwritten: where what is published has moved on since it was proposed, it is refused. Without the online
/// key it is submitted, and whoever has that key admits it.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  bulla tuf commit proposal-1f3a09c2.json bobs-copy.json\n  bulla tuf commit oci:/media/stick/app --at registry.example.com/team/app"
)]
pub(in crate::cli) struct Args {
    /// Copies of one proposal: files, oci:DIR[:TAG] or host/repository[:TAG]
    #[arg(value_name = "PROPOSAL", required = true)]
    proposals: Vec<Source>,
    /// Where the state lies; the collection's name read as a repository if not given
    #[arg(long, value_name = "REPO")]
    at: Option<Reference>,
    /// Recovery: put it in the place of what is published, which falls away, after the question; it must replace the keys of snapshot and timestamp
    #[arg(long)]
    discard_newer: bool,
    /// A key of a role that must be signed again, when it is not in the key folder (can be repeated)
    #[arg(long, value_name = "KEY")]
    with: Vec<KeyRef>,
    /// Of a first root: where it is written for handing out
    #[arg(long, value_name = "FILE", default_value = "1.root.json")]
    root_file: PathBuf,
    /// Of a first root: how long snapshot and timestamp are valid, as in timestamp=1d (can be repeated)
    #[arg(long, value_name = "ROLE=DURATION", value_parser = online_lifetime)]
    expires: Vec<(RoleName, Duration)>,
    /// With --discard-newer, and of a first root that no key here has signed: do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    signing: SigningArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

fn online_lifetime(text: &str) -> Result<(RoleName, Duration), String> {
    let (role, life) = text.split_once('=').ok_or("expected ROLE=DURATION, as in timestamp=1d")?;
    let role: RoleName = role.parse().map_err(|e| format!("{e}"))?;
    if ![RoleName::snapshot(), RoleName::timestamp()].contains(&role) {
        return Err("only snapshot and timestamp are signed by whoever commits".into());
    }
    Ok((role, life.parse().map_err(|e| format!("{e}"))?))
}

pub(in crate::cli) fn run(args: Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    let mut copies = read(&args.proposals, &args.registry, cx)?;
    let Some(first) = copies.iter().find(|copy| is_first(copy)).or_else(|| copies.first()).cloned() else {
        return Err(CliError::new(Exit::No, "proposal.absent", "no proposal"));
    };
    let place = args.at.clone().unwrap_or_else(|| {
        let repository = first.collection().as_repository().clone();
        Reference::Registry(RegistryRef { repository, selector: None })
    });
    if first.is_next_state() {
        return next::run(&args, copies, &first, &place, cx);
    }
    if is_first(&first) {
        return first::run(&args, &copies, &first, &place, cx);
    }
    if args.yes && !args.discard_newer {
        return Err(CliError::usage("--yes has nothing to answer here")
            .next("nothing is asked without --discard-newer; leave it out"));
    }
    let desk = args.signing.desk(cx, &args.registry, &place, &args.with)?;
    of_collection(&first, &desk.anchor.collection, &place)?;
    // Who must sign is judged by what it stands on; whether that is still published, by the commit.
    let base = settled(&mut copies, |copy| stands_on(copy, &desk.anchor, cx.now()))?;
    let first = copies.first().cloned().unwrap_or(first);
    let proposal = together(&copies, &base, cx)?;
    check_rules(&proposal, &base)?;
    let needed = proposal.signers(&base).map_err(CeremonyError::from)?;
    let group = proposal.complete(&base)?;
    let stores = args.registry.places(cx, &[&place])?;
    let clock = cx.clock();
    let store = block_on(async {
        let own = stores.open(&place).await?;
        state_place(&stores, &own, &desk.anchor).await
    })??;
    let ceremony = Desk {
        collection: &desk.anchor.collection,
        anchor: desk.anchor.root.bytes(),
        store: &*store,
        memories: &desk.memories,
        without_memory: desk.without_memory,
        keys: &desk.ring,
        clock: &*clock,
    };
    let mut discards = None;
    let worked = if args.discard_newer {
        check_floors(&proposal, &base)?;
        let root = desk.anchor.root.bytes();
        let (_, good) = carried_by(&first, root, None, cx.now()).map_err(WorkError::Good)?;
        let (live, since) = (block_on(ceremony.live(&good))??, block_on(ceremony.entered_since(&good))??);
        let fallen = Discarded::of(live, since, &good, &proposal)?;
        if !args.yes {
            let mut shown = Vec::new();
            fallen.text(&mut shown).map_err(|e| CliError::failed("internal", e.to_string()))?;
            ask(&shown, "Let it fall away?", "read it with bulla tuf approve --show, then pass --yes", cx)?;
        }
        discards = Some(fallen);
        block_on(ceremony.restart(&group, &good))?
    } else {
        block_on(ceremony.commit(&group))?
    };
    desk.ring.note_warnings(cx);
    let worked = worked?;
    if worked.installed {
        note_left(block_on(ceremony.clear(&proposal))?, &place, cx);
    }
    Ok(Box::new(Done { proposal, needed, worked, discards }))
}

/// That a proposal is for the collection that is anchored at a place.
fn of_collection(proposal: &Proposal, anchored: &CollectionName, place: &Reference) -> Result<(), CliError> {
    let of = proposal.collection();
    if of == anchored {
        return Ok(());
    }
    Err(CliError::new(Exit::No, "proposal.collection", "the proposal is for another collection")
        .reason(format!("it is for {of}, and {place} is anchored as {anchored}"))
        .next("name the place of its state with --at"))
}

struct Done {
    proposal: Proposal,
    needed: Vec<Needed>,
    worked: Worked,
    /// Of a recovery: what fell away.
    discards: Option<Discarded>,
}

impl Done {
    fn status(&self) -> &'static str {
        if self.worked.installed { "committed" } else { "submitted" }
    }
}

impl Outcome for Done {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let w = &self.worked;
        let drafts: Vec<String> = self
            .proposal
            .drafts()
            .iter()
            .map(|(role, d)| format!("{} {}", plain(role.as_str()), d.version()))
            .collect();
        writeln!(out, "{:<9} {}   {}", self.status(), self.proposal.collection(), drafts.join("   "))?;
        if let Some(discards) = &self.discards {
            discards.text(out)?;
        }
        signers_text(&self.needed, out)?;
        for (role, (version, _)) in &w.signed {
            writeln!(out, "signed    {} {version}", plain(role.as_str()))?;
        }
        for p in &w.pending {
            writeln!(out, "pending   {}  {}", p.tag, reason(p))?;
        }
        losers_text(&w.losers, out)?;
        if w.gathering.is_some() {
            gathering_text(w.gathering.as_ref(), out)?;
        } else if !w.installed {
            writeln!(out, "waits     for the online key: bulla renew where it is")?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let w = &self.worked;
        let drafts =
            self.proposal.drafts().iter().map(|(role, d)| json!({"role": role, "version": d.version()}));
        let signed = w.signed.iter().map(|(role, (v, e))| json!({"role": role, "version": v, "expires": e}));
        json!({
            "status": self.status(), "collection": self.proposal.collection(), "id": self.proposal.id(),
            "state": {"digest": w.manifest.digest()},
            "installs": drafts.collect::<Vec<_>>(), "signed": signed.collect::<Vec<_>>(),
            "signers": signers_json(&self.needed), "pending": pending_json(&w.pending),
            "gathering": gathering_json(w.gathering.as_ref()),
            "displaced": losers_json(&w.losers),
            "discards": self.discards.as_ref().map(Discarded::json),
        })
    }
}
