//! `bulla tuf propose`: a change of who may sign what, as a proposal that travels.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::proposal::{LeaveArgs, role, signers_json, signers_text, write};
use super::recovery::{Discarded, GoodState};
use crate::cli::context::{Context, block_on};
use crate::cli::error::CliError;
use crate::cli::registry::RegistryArgs;
use crate::cli::render::Outcome;
use crate::cli::signing::{SigningArgs, state_place};
use crate::client::ceremony::Desk;
use crate::client::places::Places as _;
use crate::client::whole::Whole;
use crate::keys::KeyRef;
use crate::oci::Reference;
use crate::sig::{KeyId, PublicKey};
use crate::trust::Duration;
use crate::tuf::RoleName;
use crate::tuf::proposal::{About, Difference, Edit, EditError, Needed, Proposal};

/// Propose a change of keys, thresholds or lifetimes, to be signed on several machines
///
/// Nothing is signed and nothing published. The proposal holds the next versions of the roles that change, and the
/// published files, so that its signers need no network.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  bulla tuf propose registry.example.com/team/app --add-key root=./carol.pub --threshold root=2 --description \"carol joins\"\n  bulla tuf propose registry.example.com/team/app --remove-key releases=1f3a09c2 --add-key releases=./new.pub --output oci:/media/stick/app --description \"key stolen\""
)]
pub(in crate::cli) struct Args {
    /// Where the state lies: host/repository or oci:DIR
    #[arg(value_name = "REPO")]
    place: Reference,
    /// Let a key sign a role, as in root=./carol.pub (can be repeated)
    #[arg(long, value_name = "ROLE=KEY", value_parser = role_key)]
    add_key: Vec<(RoleName, KeyRef)>,
    /// Let a key sign a role no longer: the id, or its first 8 digits or more (can be repeated)
    #[arg(long, value_name = "ROLE=ID", value_parser = role_id)]
    remove_key: Vec<(RoleName, String)>,
    /// How many keys must sign a role (can be repeated)
    #[arg(long, value_name = "ROLE=N", value_parser = role_number)]
    threshold: Vec<(RoleName, u32)>,
    /// Sign root or a targets role again, valid this long, as in root=365d (can be repeated)
    #[arg(long, value_name = "ROLE=DURATION", value_parser = role_lifetime)]
    expires: Vec<(RoleName, Duration)>,
    /// Sign root or a targets role again, valid as long as before (can be repeated)
    #[arg(long, value_name = "ROLE", value_parser = role)]
    resign: Vec<RoleName>,
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
    let mut added: Vec<(RoleName, PublicKey)> = Vec::new();
    for (role, key) in &args.add_key {
        let public = cx.keys().look(key)?.public.ok_or_else(|| {
            CliError::failed("key.public", format!("only the encrypted private key of {key} is here"))
                .next("name its public key, the .pub file")
        })?;
        added.push((role.clone(), public));
    }
    let desk = args.signing.desk(cx, &args.registry, &args.place, &[])?;
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
        let edits = |whole: &Whole| edits(&args, &added, whole);
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
        let discarded = Discarded::of(ceremony.live(&good).await?, &good, &proposal)?;
        Ok::<_, CliError>((proposal, base, Some(discarded)))
    });
    let (proposal, base, discards) = proposed??;
    let to = args.leave.to(&args.place, &proposal);
    let difference = proposal.difference(&base);
    let needed = proposal.signers(&base).map_err(crate::client::ceremony::CeremonyError::from)?;
    let at = write(&proposal, &to, &args.registry, cx)?;
    Ok(Box::new(Done { proposal, difference, needed, at, discards }))
}

fn edits(args: &Args, added: &[(RoleName, PublicKey)], whole: &Whole) -> Result<Vec<Edit>, EditError> {
    let mut edits = Vec::new();
    for (role, key) in added {
        edits.push(Edit::AddKey { role: role.clone(), key: key.clone() });
    }
    for (role, id) in &args.remove_key {
        edits.push(Edit::RemoveKey { role: role.clone(), key: known_key(whole, role, id)? });
    }
    for (role, n) in &args.threshold {
        edits.push(Edit::Threshold { role: role.clone(), threshold: *n });
    }
    for (role, life) in &args.expires {
        edits.push(Edit::Resign { role: role.clone(), life: Some(life.secs()) });
    }
    edits.extend(args.resign.iter().map(|role| Edit::Resign { role: role.clone(), life: None }));
    Ok(edits)
}

/// A key of a role by its id or the beginning of it.
fn known_key(whole: &Whole, role: &RoleName, id: &str) -> Result<KeyId, EditError> {
    let keys = whole.keys(role).ok_or_else(|| EditError::NoRole(role.clone()))?;
    let mut found =
        keys.keys.keys().filter(|k| k.as_str() == id || (id.len() >= 8 && k.as_str().starts_with(id)));
    match (found.next(), found.next()) {
        (Some(key), None) => Ok(key.clone()),
        _ => {
            let key = id.to_owned().try_into().map_err(|_| EditError::NoRole(role.clone()))?;
            Err(EditError::NoKey { role: role.clone(), key })
        }
    }
}

fn split(text: &str) -> Result<(RoleName, &str), String> {
    let (name, rest) = text.split_once('=').ok_or("expected ROLE=…")?;
    Ok((role(name)?, rest))
}

fn role_key(text: &str) -> Result<(RoleName, KeyRef), String> {
    let (role, key) = split(text)?;
    Ok((role, key.parse().map_err(|e| format!("{e}"))?))
}

fn role_id(text: &str) -> Result<(RoleName, String), String> {
    split(text).map(|(role, id)| (role, id.to_owned()))
}

fn role_number(text: &str) -> Result<(RoleName, u32), String> {
    let (role, n) = split(text)?;
    Ok((role, n.parse().map_err(|_| "expected ROLE=N, as in root=2".to_owned())?))
}

fn role_lifetime(text: &str) -> Result<(RoleName, Duration), String> {
    let (role, life) = split(text)?;
    Ok((role, life.parse().map_err(|e| format!("{e}"))?))
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
