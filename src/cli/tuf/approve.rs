//! `bulla tuf approve`: read what a proposal changes, and sign exactly that.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::proposal::{
    Ground, Source, check_next_state, check_rules, ground, read, settled, signers_json, signers_text,
    together, write,
};
use super::recovery::{Discarded, ask};
use crate::cli::context::{Context, block_on};
use crate::cli::error::{CliError, Exit};
use crate::cli::registry::RegistryArgs;
use crate::cli::render::Outcome;
use crate::cli::signing::ring;
use crate::client::ceremony::{CeremonyError, sign, signable};
use crate::client::init::is_first;
use crate::keys::KeyRef;
use crate::oci::Digest;
use crate::sig::KeyId;
use crate::tuf::RoleName;
use crate::tuf::proposal::{Difference, Needed, Proposal, plain};

/// Read what a proposal changes, and sign exactly that
///
/// Shows the difference between what is published and the very bytes that are signed, who has signed and who is
/// missing; asks; and signs. Needs no network for a file or an OCI layout: what is published comes along and is verified
/// by the anchor and the memory of this installation.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  bulla tuf approve proposal-1f3a09c2.json\n  bulla tuf approve oci:/media/stick/app --with ./carol.pem --yes"
)]
pub(in crate::cli) struct Args {
    /// The proposal: a file, oci:DIR[:TAG] or host/repository[:TAG]
    #[arg(value_name = "PROPOSAL")]
    proposal: Source,
    /// Sign with this key only; otherwise with every key of the key folder that is asked for (can be repeated)
    #[arg(long, value_name = "KEY")]
    with: Vec<KeyRef>,
    /// Recovery: it stands on an earlier state than the one remembered here, and what came since falls away
    #[arg(long)]
    discard_newer: bool,
    /// Where no anchor of the collection is here: the fingerprint of a root that you trust, to judge the proposal from
    #[arg(long, value_name = "sha256:HEX")]
    root_fingerprint: Option<Digest>,
    /// Sign without asking; never what could not be checked here
    #[arg(long)]
    yes: bool,
    /// Sign only what has this digest, as the line `signs` shows it: what was compared with the other signers. A first root
    /// is signed with --yes only so (can be repeated)
    #[arg(long, value_name = "sha256:HEX")]
    signs: Vec<Digest>,
    /// Only show; sign nothing
    #[arg(long, conflicts_with = "yes")]
    show: bool,
    /// Write the signed copy there: FILE or oci:DIR; otherwise where it was read
    #[arg(long, value_name = "FILE|oci:DIR")]
    output: Option<Source>,
    #[command(flatten)]
    registry: RegistryArgs,
}

pub(in crate::cli) fn run(args: Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    let mut copies = read(std::slice::from_ref(&args.proposal), &args.registry, cx)?;
    let (now, fingerprint) = (cx.now(), args.root_fingerprint.as_ref());
    let ground = settled(&mut copies, |copy| ground(copy, now, args.discard_newer, fingerprint, cx))?;
    let mut proposal = together(&copies, &ground.base, cx)?;
    // The roles of a next state are finished, and judged as whoever commits judges them.
    match proposal.is_next_state() {
        true if args.discard_newer => {
            return Err(CliError::usage("a next snapshot and timestamp discard nothing")
                .next("leave --discard-newer out"));
        }
        true => check_next_state(&proposal, ground.published.as_ref(), now)?,
        false => check_rules(&proposal, &ground.base)?,
    }
    let difference = proposal.difference(&ground.base);
    let before = proposal.signers(&ground.base).map_err(CeremonyError::from)?;
    let mut done =
        Done { proposal: proposal.clone(), difference, needed: before, signed: Vec::new(), at: None, ground };
    if args.show {
        return Ok(Box::new(done));
    }
    let passwords = args.registry.passwords(cx)?;
    let ring = ring(cx, passwords, &args.with)?;
    let only: Vec<_> = ring.given();
    let only = if only.is_empty() { None } else { Some(only) };
    let first = is_first(&done.proposal);
    if first && args.root_fingerprint.is_some() {
        return Err(CliError::usage("a first root has no fingerprint yet")
            .reason("its file, and with it the fingerprint, is made when enough have signed")
            .next("compare the digest that root signs, and pass that: --signs sha256:HEX"));
    }
    if args.yes && done.ground.checked.is_none() && !first {
        return Err(unchecked("no anchor of the collection is here, so its published files could be anybody's")
            .next("anchor the collection's root with bulla trust add, or pass --root-fingerprint, got by another way than the proposal"));
    }
    if !args.signs.is_empty() || (args.yes && first) {
        let would = signable(&proposal, &done.ground.base, &ring, only.as_deref())?;
        // Everybody who signs a first root has compared it, whichever role the key here is of.
        named(&done.difference, would.iter().chain(first.then_some(&RoleName::root())), &args.signs)?;
    }
    if !args.yes {
        confirm(&done, cx)?;
    }
    let signed = block_on(sign(&mut proposal, &done.ground.base, &ring, only.as_deref()))?;
    ring.note_warnings(cx);
    done.signed = signed?;
    if done.signed.is_empty() {
        return Err(CliError::new(Exit::No, "proposal.no-key", "no key here must sign this, or all have")
            .next("name the key with --with, or run this where it is"));
    }
    let to = args.output.clone().unwrap_or_else(|| args.proposal.clone());
    done.at = Some(write(&proposal, &to, &args.registry, cx)?);
    done.needed = proposal.signers(&done.ground.base).map_err(CeremonyError::from)?;
    done.proposal = proposal;
    Ok(Box::new(done))
}

fn unchecked(why: impl ToString) -> CliError {
    let thing = "what is to be signed could not be checked here; nothing was signed";
    CliError::new(Exit::No, "proposal.unchecked", thing).reason(why)
}

/// Every one of `roles` has a draft of a digest that was compared.
fn named<'a>(
    difference: &Difference,
    roles: impl Iterator<Item = &'a RoleName>,
    compared: &[Digest],
) -> Result<(), CliError> {
    for role in roles {
        let draft = difference.files.iter().find(|file| file.role == *role);
        if !draft.is_some_and(|file| compared.contains(&file.message)) {
            return Err(unchecked(format!("--signs does not name the digest that {} signs here", plain(role.as_str())))
                .next("read it with --show; compare that digest with the other signers, by another way than the proposal came; then pass it: --signs sha256:HEX"));
        }
    }
    Ok(())
}

/// Show everything, and ask.
fn confirm(done: &Done, cx: &Context<'_, '_>) -> Result<(), CliError> {
    let mut text = Vec::new();
    done.text(&mut text).map_err(|e| CliError::failed("internal", e.to_string()))?;
    ask(&text, "Sign exactly this?", "read it with --show, then pass --yes", cx)
}

struct Done {
    proposal: Proposal,
    difference: Difference,
    needed: Vec<Needed>,
    signed: Vec<(RoleName, KeyId)>,
    at: Option<String>,
    ground: Ground,
}

impl Outcome for Done {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let p = &self.proposal;
        let about = p.about();
        writeln!(out, "proposal  {}  {}", p.collection(), p.id())?;
        let who = if about.by.is_empty() { "nobody".to_owned() } else { plain(&about.by) };
        writeln!(
            out,
            "says      \"{}\" (by {who}, {}; nobody has checked these words)",
            plain(&about.description),
            about.at
        )?;
        match (self.ground.checked, self.ground.remembered) {
            _ if is_first(p) => writeln!(
                out,
                "stands on nothing: it is the first root of {}, and nobody can check it for you.\n          Compare with its other signers, by voice or on paper: the name, every key, and what root signs",
                p.collection()
            )?,
            (Some(root), remembered) => {
                let from = match self.ground.compared {
                    true => "the root with the fingerprint given",
                    false => "the anchor here",
                };
                let age = match remembered {
                    true if self.ground.discards.is_some() => "",
                    true => ", not older than what is remembered",
                    false => "; nothing is remembered, so newer ones may be published",
                };
                writeln!(out, "stands on files verified from {from} (root {root}){age}")?
            }
            (None, _) => {
                writeln!(out, "stands on files that were NOT CHECKED: no anchor of this collection is here")?
            }
        }
        if let Some(discards) = &self.ground.discards {
            discards.text(out)?;
        }
        writeln!(out, "changes")?;
        write!(out, "{}", self.difference)?;
        signers_text(&self.needed, out)?;
        for (role, key) in &self.signed {
            writeln!(out, "signed    {} with {}", plain(role.as_str()), plain(key.as_str()))?;
        }
        if let Some(at) = &self.at {
            writeln!(out, "written   {at}")?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let signed = self.signed.iter().map(|(role, key)| json!({"role": role, "key": key}));
        let about = self.proposal.about();
        json!({
            "collection": self.proposal.collection(), "id": self.proposal.id(), "at": self.at,
            "says": {"description": about.description, "by": about.by, "at": about.at},
            "base": {"checkedUnderRoot": self.ground.checked, "remembered": self.ground.remembered, "first": is_first(&self.proposal)},
            "difference": self.difference.to_json(), "signers": signers_json(&self.needed),
            "signed": signed.collect::<Vec<_>>(),
            "discards": self.ground.discards.as_ref().map(Discarded::json),
        })
    }
}
