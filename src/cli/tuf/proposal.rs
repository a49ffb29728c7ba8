//! What the commands around a proposal share: where it comes from and goes to, what it changes, and who must sign it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde_json::{Value, json};

use super::recovery::Discarded;
use crate::cli::context::{Context, block_on};
use crate::cli::error::{CliError, Exit};
use crate::cli::registry::RegistryArgs;
use crate::cli::signing::anchors_of;
use crate::client::ceremony::{CeremonyError, carried_by, file, travel};
use crate::client::commit::check_next;
use crate::client::commit::recalled::{Beside, Past};
use crate::client::init::is_first;
use crate::client::memory::Memory;
use crate::client::places::Places as _;
use crate::client::recover::{Live, check_floors};
use crate::client::state::{StateError, fetch_state};
use crate::client::whole::Whole;
use crate::oci::{Digest, Reference};
use crate::store::{Store, StoreError};
use crate::time::UnixTime;
use crate::trust::Anchor;
use crate::tuf::proposal::{
    BadSignature, Base, EditError, Incomplete, MAX_BYTES, MergeError, Needed, Proposal, SignedBy, merge,
    plain,
};
use crate::tuf::{CollectionName, Files, RoleName, TufError, Version};

/// A place of proposals: a file, or where artifacts lie. The form decides, not what exists.
#[derive(Debug, Clone)]
pub(in crate::cli) enum Source {
    File(PathBuf),
    Place(Reference),
}

impl FromStr for Source {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let place = s.starts_with("oci:") || s.starts_with("oci-archive:");
        if !place && (s.starts_with(['.', '/']) || s.ends_with(".json") || !s.contains('/')) {
            return Ok(Self::File(PathBuf::from(s)));
        }
        s.parse().map(Self::Place).map_err(|e| format!("{e}"))
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Place(place) => place.fmt(f),
        }
    }
}

/// Where a proposal is left.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct LeaveArgs {
    /// Write the proposal to FILE, or into an OCI layout: oci:DIR; otherwise to proposal-ID.json
    #[arg(long, value_name = "FILE|oci:DIR", conflicts_with = "push")]
    output: Option<Source>,
    /// Push the proposal beside the state
    #[arg(long)]
    push: bool,
}

impl LeaveArgs {
    /// Where `proposal` goes, of a collection whose state lies at `place`.
    pub(super) fn to(&self, place: &Reference, proposal: &Proposal) -> Source {
        match (&self.output, self.push) {
            (Some(output), _) => output.clone(),
            (None, true) => Source::Place(place.clone()),
            (None, false) => Source::File(format!("proposal-{}.json", &proposal.id()[..8]).into()),
        }
    }
}

/// Read every copy that the sources hold: of exactly one proposal.
pub(super) fn read(
    sources: &[Source],
    registry: &RegistryArgs,
    cx: &mut Context<'_, '_>,
) -> Result<Vec<Proposal>, CliError> {
    let places: Vec<&Reference> = sources
        .iter()
        .filter_map(|s| match s {
            Source::Place(place) => Some(place),
            Source::File(_) => None,
        })
        .collect();
    let stores = registry.places(cx, &places)?;
    let mut all: Vec<(String, Proposal)> = Vec::new();
    let mut overtaken: Vec<(String, String)> = Vec::new();
    for source in sources {
        match source {
            Source::File(path) => {
                let bytes = read_file(path)?;
                let proposal = Proposal::parse(&bytes).map_err(|e| invalid(source, e))?;
                all.push((source.to_string(), proposal));
            }
            Source::Place(place) => {
                let (found, standing) = block_on(async {
                    let store = stores.open(place).await?;
                    let found = travel::find(&*store, None, place.selector()).await?;
                    let read: Vec<Proposal> =
                        found.copies.iter().filter_map(|c| c.proposal.clone().ok()).collect();
                    let several = read.iter().any(|p| p.id() != read[0].id());
                    let standing = if several { standing(&*store, &read).await? } else { Vec::new() };
                    Ok::<_, StoreError>((found, standing))
                })??;
                if found.passed_over > 0 {
                    cx.note(
                        "proposal.passed-over",
                        format!("{place}: {} copies more than are read", found.passed_over),
                    );
                }
                let alone = found.copies.len() == 1;
                for copy in found.copies {
                    match copy.proposal {
                        Ok(p) if !standing.is_empty() && !standing.contains(&p.id()) => {
                            overtaken.push((format!("{place}: {}", copy.tag), p.id()));
                        }
                        Ok(proposal) => all.push((format!("{place} {}", copy.tag), proposal)),
                        Err(why) if alone && place.selector().is_some() => return Err(invalid(source, why)),
                        Err(why) => {
                            cx.note("proposal.skipped", format!("{place}: {}: {}", copy.tag, plain(&why)))
                        }
                    }
                }
            }
        }
    }
    for (at, id) in overtaken {
        cx.note("proposal.skipped", format!("{at}: {id} does not stand on what lies there"));
    }
    let mut ids: Vec<String> = all.iter().map(|(_, p)| p.id()).collect();
    ids.sort();
    ids.dedup();
    match ids.len() {
        0 => Err(CliError::new(Exit::No, "proposal.absent", format!("no proposal at {}", list(sources)))
            .next("make one: bulla tuf propose")),
        1 => Ok(all.into_iter().map(|(_, p)| p).collect()),
        _ => {
            let lines: Vec<String> = all.iter().map(|(at, p)| format!("{at} ({})", p.id())).collect();
            Err(CliError::new(Exit::Usage, "proposal.several", format!("{} proposals are there", ids.len()))
                .reason(lines.join("; "))
                .next("name one of them by its file or tag; the tag without its last part names all copies of one"))
        }
    }
}

/// Take the copies of a proposal away that is in, and say what is left of them: the next to ask there would find several.
pub(super) fn note_left(left: Result<usize, StoreError>, place: &Reference, cx: &mut Context<'_, '_>) {
    match left {
        Ok(0) => {}
        Ok(left) => {
            cx.note("proposal.left", format!("{left} copies of the proposal could not be deleted at {place}"))
        }
        Err(e) => cx.note(
            "proposal.left",
            format!("copies of the proposal may lie at {place} still; it could not be asked: {e}"),
        ),
    }
}

/// Of several proposals at a place, those that stand on what lies there: what was put in, or overtaken, is in nobody's way. Nothing
/// is verified here; whoever names a tag gets what lies there.
async fn standing(store: &dyn Store, all: &[Proposal]) -> Result<Vec<String>, StoreError> {
    let mut ids = Vec::new();
    let mut states: BTreeMap<&CollectionName, Option<Files>> = BTreeMap::new();
    for p in all {
        if !states.contains_key(p.collection()) {
            let files = match fetch_state(store, p.collection()).await {
                Ok(read) => read.map(|read| read.files),
                Err(StateError::Invalid { .. }) => None,
                Err(StateError::Store(e)) if e.is_not_found() => None,
                Err(StateError::Store(e)) => return Err(e),
            };
            states.insert(p.collection(), files);
        }
        let Some(Some(files)) = states.get(p.collection()) else { continue };
        if travel::stands_on(p, files) {
            ids.push(p.id());
        }
    }
    Ok(ids)
}

fn list(sources: &[Source]) -> String {
    sources.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn invalid(source: &Source, why: impl ToString) -> CliError {
    CliError::new(Exit::No, "proposal.invalid", format!("{source} is no proposal"))
        .reason(plain(&why.to_string()))
        .next("ask whoever sent it for another copy")
}

fn read_file(path: &Path) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|f| f.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes));
    read.map(|_| bytes).map_err(|e| CliError::io("read", path, e))
}

/// Write a proposal to a file, replacing it at once, or push it as one more copy; where it is now.
pub(in crate::cli) fn write(
    proposal: &Proposal,
    to: &Source,
    registry: &RegistryArgs,
    cx: &mut Context<'_, '_>,
) -> Result<String, CliError> {
    match to {
        Source::File(path) => {
            file::replace(path, &proposal.to_bytes()).map_err(|e| CliError::io("write", path, e))?;
            Ok(path.display().to_string())
        }
        Source::Place(place) => {
            let stores = registry.places(cx, &[place])?;
            let tag = block_on(async {
                let store = stores.create(&place.at(None)).await?;
                travel::push(&*store, proposal).await
            })??;
            Ok(format!("{}:{tag}", place.at(None)))
        }
    }
}

/// What a proposal stands on, as far as it could be checked here.
pub(super) struct Ground {
    pub(super) base: Base,
    /// Under which root, by an anchor of this installation or a fingerprint that was given.
    pub(super) checked: Option<Version>,
    /// Whether it was the fingerprint.
    pub(super) compared: bool,
    /// Whether the memory knows the same files, or older ones.
    pub(super) remembered: bool,
    /// Of a recovery: what falls away of what is remembered here.
    pub(super) discards: Option<Discarded>,
    /// What it carries, verified; none for a first root.
    pub(super) published: Option<Whole>,
}

/// Judge the published files that a proposal carries, from the anchor and the memory of this installation and without any network.
/// Without an anchor they are judged by their own first root, which anybody could have made.
/// With `discard` it may stand on an earlier state than the one remembered, when it replaces the online keys.
pub(super) fn ground(
    proposal: &Proposal,
    now: UnixTime,
    discard: bool,
    fingerprint: Option<&Digest>,
    cx: &Context<'_, '_>,
) -> Result<Ground, CliError> {
    let collection = proposal.collection().clone();
    let stale = |why: String| {
        CliError::new(Exit::No, "proposal.stale", "the proposal does not stand on what is published")
            .reason(why)
            .next("propose again on what is published now: bulla tuf propose")
    };
    let carried = proposal.published();
    if carried.is_empty() {
        if is_first(proposal) {
            let knows = if !anchors_of(&cx.trust(), &collection)?.is_empty() {
                Some("trusts")
            } else {
                let chains = Memory::in_dir(cx.memory(), &collection).chains()?;
                (!chains.is_empty()).then_some("remembers")
            };
            if let Some(knows) = knows {
                return Err(CliError::new(
                    Exit::No,
                    "proposal.stale",
                    format!("{collection} has a root already"),
                )
                .reason(format!("this is the proposal of a first root, and this installation {knows} one"))
                .next("sign nothing; ask whoever sent it"));
            }
            return Ok(Ground {
                base: Base::nothing(collection),
                checked: None,
                compared: false,
                remembered: false,
                discards: None,
                published: None,
            });
        }
        return Err(CliError::new(Exit::No, "proposal.invalid", "the proposal carries no published files")
            .next("ask for one as bulla tuf propose wrote it"));
    }
    let anchor = anchors_of(&cx.trust(), &collection)?.into_iter().next();
    let memory = Memory::in_dir(cx.memory(), &collection);
    let first = carried.root(Version::ONE).cloned().unwrap_or_default();
    let given = match fingerprint.filter(|_| anchor.is_none()) {
        None => None,
        Some(fingerprint) => {
            let mut roots = carried.metadata().iter().filter(|(name, _)| *name.role() == RoleName::root());
            let given = roots.find(|(_, bytes)| Digest::sha256(bytes) == *fingerprint);
            Some(given.map(|(_, bytes)| bytes.clone()).ok_or_else(|| {
                CliError::new(Exit::No, "proposal.base", "the proposal carries no root with that fingerprint")
                    .reason(fingerprint)
                    .next("sign nothing; ask whoever sent it")
            })?)
        }
    };
    let compared = given.is_some();
    let root = given.unwrap_or_else(|| anchor.as_ref().map_or(first, |a| a.root.bytes().clone()));
    // The roots that come along may lie between those that are remembered and the one that is trusted.
    let trusted = anchor.is_some() || compared;
    let memories = if trusted { std::slice::from_ref(&memory) } else { &[] };
    let past = Past::load(memories, &root, &collection, &[carried])?;
    let known: Option<&Files> = past.own.as_ref().map(|r| &r.files);
    let newer = || stale("this installation remembers a newer state than the one it carries".into());
    if known.and_then(Files::newest_root) > carried.newest_root() {
        return Err(newer());
    }
    let (chain, whole) = carried_by(proposal, &root, known, now).map_err(unverified)?;
    if let Some(fingerprint) = fingerprint
        && !chain.roots().iter().any(|root| root.digest() == *fingerprint)
    {
        return Err(CliError::new(
            Exit::No,
            "proposal.base",
            "no root of the collection has that fingerprint",
        )
        .reason(format!("{fingerprint}; the roots were walked from the one that is trusted here"))
        .next("sign nothing; compare the fingerprint with the collection's owner again"));
    }
    let mut falls = discard.then_some(Live::Nothing);
    let Beside { memory, floor, .. } = past.beside(&chain, [carried], now)?;
    let known = floor.is_some();
    if floor.is_some_and(|floor| floor.fallen(whole.trusted()).is_some()) {
        if !discard {
            return Err(newer());
        }
        let live = memory.map_or_else(
            || Live::Fault("what is remembered lacks files, or is from before a rotation of keys".into()),
            |memory| Live::State(Box::new(memory)),
        );
        falls = Some(live);
    }
    let discards = falls.map(|live| Discarded::of(live, BTreeSet::new(), &whole, proposal)).transpose()?;
    let base = whole.base(&collection);
    if discard {
        check_floors(proposal, &base)?;
    }
    proposal.check_base(&base).map_err(|e| stale(e.to_string()))?;
    let checked = trusted.then(|| chain.last().version());
    Ok(Ground { base, checked, compared, remembered: known, discards, published: Some(whole) })
}

/// That whoever has a key of snapshot or timestamp may sign this next state.
pub(super) fn check_next_state(
    proposal: &Proposal,
    published: Option<&Whole>,
    now: UnixTime,
) -> Result<(), CliError> {
    let refuse = |why: String| {
        CliError::new(
            Exit::No,
            "proposal.unfit",
            "this is no next snapshot and timestamp; nothing was signed",
        )
        .reason(plain(&why))
        .next("sign nothing; ask for another one, made on what is published now: bulla renew --output")
    };
    let published = published.ok_or_else(|| refuse("it stands on nothing that is published".into()))?;
    check_next(proposal, published, now).map_err(|e| refuse(e.to_string()))
}

/// That it breaks no rule that what is published keeps, whatever way it was drafted.
pub(super) fn check_rules(proposal: &Proposal, base: &Base) -> Result<(), CliError> {
    proposal.check_rules(base)?;
    let invalid = |thing: &str, why: &str| {
        CliError::new(Exit::No, "proposal.invalid", thing)
            .reason(plain(why))
            .next("sign nothing; ask for a copy that bulla tuf propose wrote: it carries the files that its drafts list, and both lists")
    };
    let (list, difference) = (base.collection().revocations_path(), proposal.difference(base));
    if let Some(file) = difference.along.iter().find(|a| a.listed_by.is_empty()) {
        return Err(invalid("a file comes along that no draft lists; nothing was signed", &file.path));
    }
    if let Some(why) = difference.contents.into_iter().filter(|c| c.path == list).find_map(|c| c.unseen) {
        return Err(invalid("what becomes of the revocations cannot be shown; nothing was signed", &why));
    }
    proposal.check_apart(base).map_err(|e| {
        CliError::new(
            Exit::No,
            "proposal.invalid",
            "roles that must not share a key would share one; nothing was signed",
        )
        .reason(e)
        .next("sign nothing; ask whoever sent it")
    })
}

/// The first copy that `judge` takes comes first: what is carried along differs from copy to copy, and anybody can push one.
pub(super) fn settled<T>(
    copies: &mut [Proposal],
    mut judge: impl FnMut(&Proposal) -> Result<T, CliError>,
) -> Result<T, CliError> {
    let mut first = None;
    for i in 0..copies.len() {
        match judge(&copies[i]) {
            Ok(ground) => {
                copies.swap(0, i);
                return Ok(ground);
            }
            Err(e) => drop(first.get_or_insert(e)),
        }
    }
    Err(first.unwrap_or_else(|| CliError::new(Exit::No, "proposal.absent", "no proposal")))
}

/// What a proposal stands on, by a trusted root alone: who must sign it. Whether that is still published, the commit finds out.
pub(super) fn stands_on(proposal: &Proposal, anchor: &Anchor, now: UnixTime) -> Result<Base, CliError> {
    let (_, whole) = carried_by(proposal, anchor.root.bytes(), None, now).map_err(unverified)?;
    let base = whole.base(proposal.collection());
    proposal.check_base(&base).map_err(|e| {
        CliError::new(Exit::No, "proposal.base", "the proposal does not stand on the files that it carries")
            .reason(e)
            .next("sign nothing; ask whoever sent it")
    })?;
    Ok(base)
}

fn unverified(e: TufError) -> CliError {
    CliError::new(Exit::No, "proposal.base", "the published files that the proposal carries do not verify")
        .reason(plain(&e.to_string()))
        .next("sign nothing; ask whoever sent it")
}

/// The valid signatures of all copies; what was wrong with the others is noted.
pub(super) fn together(
    copies: &[Proposal],
    base: &Base,
    cx: &mut Context<'_, '_>,
) -> Result<Proposal, CliError> {
    let merged = merge(copies, base)?;
    for bad in &merged.bad {
        let BadSignature { copy, role, key, known } = bad;
        let why = if *known { "is not valid" } else { "is of a key that need not sign" };
        let (copy, role, key) = (copy + 1, plain(role.as_str()), plain(key.short()));
        cx.note(
            "proposal.signature",
            format!("copy {copy}: the signature of {key} on {role} {why}; left out"),
        );
    }
    Ok(merged.proposal)
}

/// Lines on who signed and who is missing.
pub(in crate::cli) fn signers_text(needed: &[Needed], out: &mut dyn Write) -> io::Result<()> {
    for n in needed {
        let whose = match &n.by {
            SignedBy::PublishedRoot => "keys of the published root".to_owned(),
            SignedBy::ProposedRoot => "keys of the proposed root".to_owned(),
            SignedBy::Delegator(by) => format!("keys that {} names", plain(by.as_str())),
        };
        let (have, need) = (n.count.signed.len(), n.count.threshold);
        let of = n.keys.distinct();
        writeln!(
            out,
            "{:<10}{} needs {need} of {of} {whose}: {have} signed",
            word(n),
            plain(n.role.as_str())
        )?;
        for (word, keys) in [("signed", &n.count.signed), ("missing", &n.count.missing)] {
            if !keys.is_empty() && (word == "signed" || !n.is_met()) {
                let ids: Vec<String> = keys.iter().map(|k| plain(k.short())).collect();
                writeln!(out, "          {word} {}", ids.join(", "))?;
            }
        }
    }
    Ok(())
}

fn word(n: &Needed) -> &'static str {
    if n.is_met() { "enough" } else { "missing" }
}

pub(in crate::cli) fn signers_json(needed: &[Needed]) -> Value {
    let one = |n: &Needed| {
        let by = match &n.by {
            SignedBy::PublishedRoot => "published-root".to_owned(),
            SignedBy::ProposedRoot => "proposed-root".to_owned(),
            SignedBy::Delegator(by) => by.to_string(),
        };
        json!({
            "role": n.role, "keysOf": by, "threshold": n.count.threshold, "enough": n.is_met(),
            "signed": n.count.signed, "missing": n.count.missing,
        })
    };
    needed.iter().map(one).collect()
}

/// Who must sign still, in one line a role.
pub(super) fn lacking(needed: &[Needed]) -> String {
    let lines = needed.iter().filter(|n| !n.is_met()).map(|n| {
        let ids: Vec<String> = n.count.missing.iter().map(|k| plain(k.short())).collect();
        let whose = match n.by {
            SignedBy::PublishedRoot => " (published root)",
            SignedBy::ProposedRoot => " (proposed root)",
            SignedBy::Delegator(_) => "",
        };
        format!("{}{whose}: {} more of {}", plain(n.role.as_str()), n.lacking(), ids.join(", "))
    });
    lines.collect::<Vec<_>>().join("; ")
}

impl From<MergeError> for CliError {
    fn from(e: MergeError) -> Self {
        Self::new(Exit::No, "proposal.differs", "the copies are not of one proposal")
            .reason(e)
            .next("sign nothing that differs from what you read; ask its signers which proposal they signed")
    }
}

impl From<CeremonyError> for CliError {
    fn from(e: CeremonyError) -> Self {
        match e {
            CeremonyError::Work(e) => e.into(),
            CeremonyError::Sign(e) => e.into(),
            CeremonyError::Edit(e) => e.into(),
            CeremonyError::Incomplete(e) => e.into(),
        }
    }
}

impl From<EditError> for CliError {
    fn from(e: EditError) -> Self {
        let next = match &e {
            EditError::Rule(rule) => return rule.clone().into(),
            EditError::Delegation { .. } => {
                return Self::new(
                    Exit::No,
                    "delegation.refused",
                    "this is not delegated; nothing was signed",
                )
                .reason(e)
                .next("bulla tuf list shows who may speak for what");
            }
            EditError::NoRole(_) => {
                return Self::new(Exit::Usage, "role.unknown", "there is no such role")
                    .reason(e)
                    .next("bulla tuf list shows the roles of the collection");
            }
            EditError::NothingChanges => "see what is published: bulla status",
            EditError::SharedKey { .. } => "use a key of its own for each of them: bulla key generate",
            EditError::Threshold { .. } => "add keys first, or in the same proposal: --add-key",
            _ => "see what is published: bulla status, bulla inspect",
        };
        Self::usage("this cannot be proposed").reason(e).next(next)
    }
}

impl From<Incomplete> for CliError {
    fn from(e: Incomplete) -> Self {
        match e {
            Incomplete::Missing(needed) => {
                Self::new(Exit::No, "proposal.incomplete", "signatures are missing; nothing was published")
                    .reason(lacking(&needed))
                    .next("their holders run bulla tuf approve; then run this again with their copies")
            }
            Incomplete::Tuf(e) => {
                Self::new(Exit::No, "proposal.invalid", "the proposal leads nowhere").reason(e)
            }
        }
    }
}
