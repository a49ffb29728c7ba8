//! `bulla tuf propose`: a change of who may sign what, as a proposal that travels.

mod wanted;

use std::io::{self, Write};

use serde_json::{Value, json};

use wanted::EditArgs;

use super::proposal::{LeaveArgs, signers_json, signers_text, write};
use super::recovery::{Discarded, GoodState};
use crate::cli::context::{Context, block_on};
use crate::cli::error::CliError;
use crate::cli::registry::RegistryArgs;
use crate::cli::render::Outcome;
use crate::cli::signing::{SigningArgs, state_place};
use crate::client::ceremony::Desk;
use crate::client::places::Places as _;
use crate::client::whole::Whole;
use crate::oci::Reference;
use crate::tuf::proposal::{About, Difference, Needed, Proposal};

/// Propose a change of who may sign what, to be signed on several machines
///
/// Nothing is signed and nothing published. The proposal holds the next versions of the roles that change, and the
/// published files, so that its signers need no network.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  bulla tuf propose registry.example.com/team/app --add-key root=./carol.pub --threshold root=2 --description \"carol joins\"\n  bulla tuf propose registry.example.com/team/app --remove-key releases=1f3a09c2 --add-key releases=./new.pub --output oci:/media/stick/app --description \"key stolen\"\n  bulla tuf propose registry.example.com/team/app --demand 2=releases,targets/security --description \"security must agree\"\n  bulla tuf propose registry.example.com/team/app --from-file changes.json --description \"the new team\""
)]
pub(in crate::cli) struct Args {
    /// Where the state lies: host/repository or oci:DIR
    #[arg(value_name = "REPO")]
    place: Reference,
    #[command(flatten)]
    edits: EditArgs,
    /// Recovery: stand on this earlier state, known to be good, and let what was published since fall away; memory is what this installation remembers
    #[arg(long, value_name = "memory|REPO|oci:DIR")]
    on_good: Option<GoodState>,
    /// Why, in your words; its readers go by what changes
    #[arg(long, value_name = "TEXT")]
    description: String,
    /// Who proposes it, in your words
    #[arg(long, value_name = "NAME", default_value = "")]
    by: String,
    #[command(flatten)]
    leave: LeaveArgs,
    #[command(flatten)]
    signing: SigningArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

pub(in crate::cli) fn run(args: Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    if args.place.selector().is_some() {
        return Err(CliError::usage(format!("{} names a bundle", args.place))
            .next("write the repository or OCI layout alone, without tag and digest"));
    }
    let desk = args.signing.desk(cx, &args.registry, &args.place, &[])?;
    let wanted = args.edits.read(&desk.anchor.collection, cx)?;
    let mut places = vec![&args.place];
    if let Some(GoodState::Place(good)) = &args.on_good {
        places.push(good);
    }
    let stores = args.registry.places(cx, &places)?;
    let about = About { description: args.description.clone(), by: args.by.clone(), at: cx.now() };
    let clock = cx.clock();
    let proposed = block_on(async {
        let own = stores.open(&args.place).await?;
        let store = state_place(&stores, &own, &desk.anchor).await?;
        let ceremony = Desk {
            collection: &desk.anchor.collection,
            anchor: desk.anchor.root.bytes(),
            store: &*store,
            memories: &desk.memories,
            without_memory: desk.without_memory,
            keys: &desk.ring,
            clock: &*clock,
        };
        let edits = |whole: &Whole| wanted.edits(whole);
        let Some(on) = &args.on_good else {
            let (proposal, base) = ceremony.propose(edits, about).await?;
            return Ok((proposal, base, None));
        };
        let good = match on {
            GoodState::Memory => ceremony.good(None).await?,
            GoodState::Place(at) => {
                let at = stores.open(at).await?;
                ceremony.good(Some(&*at)).await?
            }
        };
        let (proposal, base) = ceremony.propose_on(&good, &edits(&good)?, about).await?;
        let discarded = Discarded::of(
            ceremony.live(&good).await?,
            ceremony.entered_since(&good).await?,
            &good,
            &proposal,
        )?;
        Ok::<_, CliError>((proposal, base, Some(discarded)))
    });
    let (proposal, base, discards) = proposed??;
    let to = args.leave.to(&args.place, &proposal);
    let difference = proposal.difference(&base);
    let needed = proposal.signers(&base).map_err(crate::client::ceremony::CeremonyError::from)?;
    let at = write(&proposal, &to, &args.registry, cx)?;
    Ok(Box::new(Done { proposal, difference, needed, at, discards }))
}

struct Done {
    proposal: Proposal,
    difference: Difference,
    needed: Vec<Needed>,
    at: String,
    /// Of a recovery: what falls away.
    discards: Option<Discarded>,
}

impl Outcome for Done {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "proposed  {}  {}", self.proposal.collection(), self.at)?;
        if let Some(discards) = &self.discards {
            discards.text(out)?;
            writeln!(out, "changes on that earlier state")?;
        }
        write!(out, "{}", self.difference)?;
        signers_text(&self.needed, out)
    }

    fn json(&self) -> Value {
        json!({
            "collection": self.proposal.collection(), "id": self.proposal.id(), "at": self.at,
            "difference": self.difference.to_json(), "signers": signers_json(&self.needed),
            "discards": self.discards.as_ref().map(Discarded::json),
        })
    }
}
