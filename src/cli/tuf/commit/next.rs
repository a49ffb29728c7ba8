//! A next snapshot and timestamp that came back from machines without network: their signatures join those of the others, and where
//! they are enough the state is committed as `bulla renew` does.

use super::Args;
use crate::cli::context::{Context, block_on};
use crate::cli::error::CliError;
use crate::cli::render::Outcome;
use crate::cli::renew::Done;
use crate::cli::signing::state_place;
use crate::cli::tuf::proposal::{settled, stands_on, together};
use crate::client::commit::{AS_BEFORE, cosigned};
use crate::client::places::Places as _;
use crate::client::renew::{Cosign, Request, renew};
use crate::oci::Reference;
use crate::tuf::proposal::Proposal;

pub(super) fn run(
    args: &Args,
    mut copies: Vec<Proposal>,
    first: &Proposal,
    place: &Reference,
    cx: &mut Context<'_, '_>,
) -> Result<Box<dyn Outcome>, CliError> {
    if args.yes || args.discard_newer || !args.expires.is_empty() {
        return Err(CliError::usage(
            "a next snapshot and timestamp discard nothing, and say themselves how long they are valid",
        )
        .next("leave --yes, --discard-newer and --expires out"));
    }
    let desk = args.signing.desk(cx, &args.registry, place, &args.with)?;
    super::of_collection(first, &desk.anchor.collection, place)?;
    let base = settled(&mut copies, |copy| stands_on(copy, &desk.anchor, cx.now()))?;
    let proposal = together(&copies, &base, cx)?;
    let files = cosigned(&proposal);
    let stores = args.registry.places(cx, &[place])?;
    let clock = cx.clock();
    let renewed = block_on(async {
        let own = stores.open(place).await?;
        let store = state_place(&stores, &own, &desk.anchor).await?;
        let request = Request {
            collection: desk.anchor.collection.clone(),
            anchor: desk.anchor.root.bytes().clone(),
            store: &*store,
            roles: std::collections::BTreeSet::new(),
            reseal: false,
            memories: &desk.memories,
            without_memory: desk.without_memory,
            lives: AS_BEFORE,
            cosign: Cosign::Returned(&files),
            keys: &desk.ring,
            clock: &*clock,
        };
        renew(request).await.map_err(CliError::from)
    });
    desk.ring.note_warnings(cx);
    Ok(Box::new(Done::new(renewed??, cx.now())))
}
