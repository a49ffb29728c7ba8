//! The first root of a collection, which enough have signed, becomes its first state.

use super::Args;
use crate::cli::context::{Context, block_on};
use crate::cli::error::{CliError, Exit};
use crate::cli::init::Made;
use crate::cli::render::Outcome;
use crate::cli::signing::anchors_of;
use crate::cli::tuf::proposal::{check_rules, note_left, signers_text, together};
use crate::client::ceremony::travel;
use crate::client::init::{Founding, InitError, Lifetimes, check_tags, found};
use crate::client::places::Places as _;
use crate::client::signing::KeyRing;
use crate::client::state;
use crate::oci::Reference;
use crate::sig::{KeyId, json};
use crate::trust::Duration;
use crate::tuf::RoleName;
use crate::tuf::proposal::{Base, Needed, Proposal};

pub(super) fn run(
    args: &Args,
    copies: &[Proposal],
    first: &Proposal,
    place: &Reference,
    cx: &mut Context<'_, '_>,
) -> Result<Box<dyn Outcome>, CliError> {
    let collection = first.collection().clone();
    let base = Base::nothing(collection.clone());
    let (memories, ring) = args.signing.unanchored(cx, &args.registry, &collection, &args.with)?;
    let proposal = together(copies, &base, cx)?;
    check_rules(&proposal, &base)?;
    let needed = proposal.signers(&base).map_err(InitError::from)?;
    let group = proposal.complete(&base)?;
    // Run again, it is anchored by this very root. Another one would be trusted beside it.
    let signed = |bytes: &[u8]| json::parse(bytes).ok().map(|file| file["signed"].clone());
    let ours = group.root.as_ref().and_then(|root| signed(root));
    let anchors = anchors_of(&cx.trust(), &collection)?;
    if !anchors.is_empty() && !anchors.iter().any(|a| signed(a.root.bytes()) == ours) {
        return Err(CliError::new(Exit::No, "proposal.stale", format!("{collection} has a root already"))
            .reason("this is the proposal of a first root, and this installation trusts another one")
            .next("publish nothing; ask whoever sent it"));
    }
    // Whoever signed the root has read it. Anybody else could be publishing whatever lay there.
    if !args.yes && !signed_here(&needed, &ring) {
        confirm(&proposal, &base, &needed, cx)?;
    }
    let lives = Lifetimes::default();
    let life = |role: RoleName, default: Duration| {
        args.expires.iter().rev().find(|(r, _)| *r == role).map_or(default, |(_, life)| *life)
    };
    let clock = cx.now();
    let stores = args.registry.places(cx, &[place])?;
    let created = block_on(async {
        let store = stores.create(place).await?;
        let there = match state::resolve_state(&*store, &collection).await {
            Err(state::StateError::Store(e)) if e.is_not_found() => None,
            other => other?,
        };
        if there.is_none() {
            check_tags(&*store, &collection).await?;
        }
        let founding = Founding {
            collection: &collection,
            store: &*store,
            keys: &ring,
            snapshot: life(RoleName::snapshot(), lives.snapshot),
            timestamp: life(RoleName::timestamp(), lives.timestamp),
            root_file: &args.root_file,
            anew: false,
            resume: true,
            memories: &memories,
            now: clock,
        };
        let created = found(&founding, &group).await.map_err(|e| match e {
            InitError::Tuf(e) => CliError::new(
                Exit::No,
                "proposal.invalid",
                "the proposal leads nowhere; nothing was published",
            )
            .reason(e),
            other => other.into(),
        })?;
        Ok::<_, CliError>((created, travel::clear(&*store, &proposal).await))
    });
    ring.note_warnings(cx);
    let (created, left) = created??;
    note_left(left, place, cx);
    for anchor in &created.anchors {
        crate::cli::trust::add_noting(cx, std::slice::from_ref(anchor))?;
    }
    let names = cx.keys().list().unwrap_or_default().into_iter().filter_map(|listed| {
        let public = listed.entry.ok()?.public?;
        Some((public.key_id(), listed.name.to_string()))
    });
    let (names, folder): (Vec<(KeyId, String)>, _) = (names.collect(), cx.keys().path().to_owned());
    Ok(Box::new(Made { created, names, generated: Vec::new(), folder, organisation: false }))
}

/// Whether a key that is here has signed the root.
fn signed_here(needed: &[Needed], ring: &dyn KeyRing) -> bool {
    let root = needed.iter().filter(|n| n.role == RoleName::root());
    root.flat_map(|n| n.count.signed.iter().filter_map(|id| n.keys.keys.get(id)?.as_ref()))
        .any(|key| ring.holds(key))
}

fn confirm(
    proposal: &Proposal,
    base: &Base,
    needed: &[Needed],
    cx: &Context<'_, '_>,
) -> Result<(), CliError> {
    let mut signers = Vec::new();
    signers_text(needed, &mut signers).map_err(|e| CliError::failed("internal", e.to_string()))?;
    let question = format!(
        "the first root of {}, signed by no key that is here\n{}{}\nPublish exactly this? Type yes: ",
        proposal.collection(),
        proposal.difference(base),
        String::from_utf8_lossy(&signers)
    );
    match cx.ask_openly(&question) {
        Ok(answer) if answer.trim() == "yes" => Ok(()),
        Ok(_) => Err(CliError::new(Exit::No, "proposal.declined", "nothing was published")),
        Err(_) => Err(CliError::failed("proposal.unasked", "there is nobody to ask; nothing was published")
            .reason("no key here has signed this root, so it may be anybody's")
            .next("read it with bulla tuf approve --show, compare it with its signers, then pass --yes")),
    }
}
