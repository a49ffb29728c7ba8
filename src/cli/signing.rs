//! What `publish` and `renew` share: which collection is meant, the keys at hand, the memory that signing needs.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use serde_json::{Value, json};

use super::context::Context;
use super::error::{CliError, Exit, TAG_RULE};
use super::registry::RegistryArgs;
use crate::client::anchors::TrustStore;
use crate::client::commit::{Gathering, Pending, Reason, Refusal, WorkError};
use crate::client::duties::{Duty, Open};
use crate::client::memory::Memory;
use crate::client::places::Places;
use crate::client::signing::KeyRing;
use crate::client::state;
use crate::keys::{self, KeyError, KeyFolder, KeyRef, KeyWarning, Passwords, Signer};
use crate::oci::Reference;
use crate::sig::PublicKey;
use crate::store::{Failure, Manage};
use crate::trust::{Anchor, Subject};
use crate::tuf::grant::GrantError;
use crate::tuf::lineage::Loser;
use crate::tuf::{CollectionName, plain};

/// Flags of the commands that sign.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct SigningArgs {
    /// The collection, where several are anchored
    #[arg(long = "as", value_name = "NAME")]
    pub(super) named: Option<CollectionName>,
    /// Sign releases and revocations with this key; otherwise with the one of the key folder that the role lists
    #[arg(long, value_name = "KEY")]
    releases_key: Option<KeyRef>,
    /// Commit with this key
    #[arg(long, value_name = "KEY")]
    online_key: Option<KeyRef>,
    /// Use and update the memory in FILE besides the one in the home
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
    /// Sign although this installation has no memory of the collection
    #[arg(long, value_name = "REASON")]
    dangerously_without_memory: Option<String>,
}

/// What signing works with.
pub(super) struct Desk {
    pub(super) anchor: Anchor,
    pub(super) memories: Vec<Memory>,
    pub(super) without_memory: bool,
    pub(super) ring: Ring,
}

impl SigningArgs {
    /// Of a command that signs nothing.
    pub(super) fn reading(named: Option<CollectionName>, lock: Option<PathBuf>) -> Self {
        Self { named, releases_key: None, online_key: None, lock, dangerously_without_memory: None }
    }

    /// The memories and the keys for a collection that has no anchor yet.
    pub(super) fn unanchored(
        &self,
        cx: &mut Context<'_, '_>,
        registry: &RegistryArgs,
        collection: &CollectionName,
        more: &[KeyRef],
    ) -> Result<(Vec<Memory>, Ring), CliError> {
        let mut memories = vec![Memory::in_dir(cx.memory(), collection)];
        memories.extend(self.lock.iter().map(|file| Memory::in_file(file, collection)));
        let passwords = registry.passwords(cx)?;
        let ring = ring(cx, passwords, self.releases_key.iter().chain(&self.online_key).chain(more))?;
        Ok((memories, ring))
    }

    /// Everything for the collection that `place` belongs to. `more` are keys that only one command knows.
    pub(super) fn desk(
        &self,
        cx: &mut Context<'_, '_>,
        registry: &RegistryArgs,
        place: &Reference,
        more: &[KeyRef],
    ) -> Result<Desk, CliError> {
        let anchor = anchor(&cx.trust(), place, self.named.as_ref())?;
        let mut memories = vec![Memory::in_dir(cx.memory(), &anchor.collection)];
        memories.extend(self.lock.iter().map(|file| Memory::in_file(file, &anchor.collection)));
        for rival in memories.iter().map(|m| m.rivals(anchor.root.bytes())) {
            for rival in rival? {
                cx.note(
                    "memory.contradiction",
                    format!("{rival}: the first is gone by; ask the collection's owner whether it is theirs, and if it is not: bulla trust replace"),
                );
            }
        }
        if let Some(reason) = &self.dangerously_without_memory {
            cx.note("memory.waived", format!("signing does not need a memory: {reason}"));
        }
        let passwords = registry.passwords(cx)?;
        let given = self.releases_key.iter().chain(&self.online_key).chain(more);
        let ring = ring(cx, passwords, given)?;
        Ok(Desk { anchor, memories, without_memory: self.dangerously_without_memory.is_some(), ring })
    }
}

/// The anchors of a collection, whatever they cover.
pub(super) fn anchors_of(trust: &TrustStore, collection: &CollectionName) -> Result<Vec<Anchor>, CliError> {
    Ok(trust.load()?.all_anchors().filter(|a| a.collection == *collection).cloned().collect())
}

/// The keys `given` on the command line, and those of the key folder.
pub(super) fn ring<'k>(
    cx: &mut Context<'_, '_>,
    passwords: Passwords,
    given: impl IntoIterator<Item = &'k KeyRef>,
) -> Result<Ring, CliError> {
    let mut open = HashMap::new();
    for key in given {
        let opened = keys::open(key, &cx.keys(), &passwords)?;
        opened.warnings.iter().for_each(|w| cx.note(w.code(), w));
        let signer: Arc<dyn Signer> = opened.signer.into();
        open.insert(signer.public_key().clone(), signer);
    }
    for listed in cx.keys().list()? {
        if let Err(e) = listed.entry {
            cx.note("key.unreadable", format!("{} cannot be read, and counts as not here: {e}", listed.name));
        }
    }
    Ok(Ring { folder: cx.keys(), passwords, open: Mutex::new(open), warnings: Mutex::default() })
}

/// The anchor that covers a place: it says which collection, under which root.
pub(super) fn anchor(
    trust: &TrustStore,
    place: &Reference,
    named: Option<&CollectionName>,
) -> Result<Anchor, CliError> {
    let file = trust.load()?;
    let covers = |a: &&Anchor| match place {
        Reference::Registry(r) => a.scope.covers(&Subject { repository: r.repository.clone(), tag: None }),
        Reference::Layout(_) | Reference::Archive(_) => true,
    };
    // An organisation's anchor says who its members are, not whose place this is.
    let fits = |a: &&Anchor| !a.organisation && covers(a) && named.is_none_or(|n| a.collection == *n);
    let found: Vec<&Anchor> = file.all_anchors().filter(fits).collect();
    let mut collections: Vec<String> = found.iter().map(|a| a.collection.to_string()).collect();
    collections.sort();
    collections.dedup();
    match (found.first(), collections.len()) {
        (Some(anchor), 1) => Ok((*anchor).clone()),
        (None, _) => {
            let anchored: Vec<String> = file.all_anchors().map(|a| a.scope.to_string()).collect();
            let anchored = if anchored.is_empty() { "none".to_owned() } else { anchored.join(", ") };
            let scope = match place {
                Reference::Registry(r) => r.repository.to_string(),
                Reference::Layout(_) | Reference::Archive(_) => "NAME".to_owned(),
            };
            Err(CliError::new(Exit::Usage, "anchor.none", format!("no anchor covers {place}"))
                .reason(format!("anchored here: {anchored}"))
                .next(format!(
                    "say whose collection it is: bulla trust add {scope} --root FILE --collection NAME"
                )))
        }
        _ => Err(CliError::new(
            Exit::Usage,
            "anchor.ambiguous",
            format!("{place} may belong to several collections"),
        )
        .reason(format!("anchored are {}", collections.join(", ")))
        .next("pass --as NAME with one of them")),
    }
}

/// Where the state lies: at the bundles, unless only a place that the anchor lists has it.
pub(super) async fn state_place(
    places: &dyn Places,
    own: &Arc<dyn Manage>,
    anchor: &Anchor,
) -> Result<Arc<dyn Manage>, CliError> {
    if anchor.state_at.is_empty() || has_state(&**own, anchor).await? {
        return Ok(own.clone());
    }
    for place in &anchor.state_at {
        let store = places.open(place).await?;
        if has_state(&*store, anchor).await? {
            return Ok(store);
        }
    }
    Ok(own.clone())
}

async fn has_state(store: &dyn Manage, anchor: &Anchor) -> Result<bool, CliError> {
    match state::resolve_state(store, &anchor.collection).await {
        Ok(found) => Ok(found.is_some()),
        Err(state::StateError::Store(e)) if e.is_not_found() => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Keys given on the command line, and those of the key folder, opened when they are first needed.
pub(super) struct Ring {
    folder: KeyFolder,
    passwords: Passwords,
    open: Mutex<HashMap<PublicKey, Arc<dyn Signer>>>,
    warnings: Mutex<Vec<KeyWarning>>,
}

impl Ring {
    /// Say what there is to say about the keys that were opened on the way.
    pub(super) fn note_warnings(&self, cx: &mut Context<'_, '_>) {
        let warnings = std::mem::take(&mut *self.warnings.lock().unwrap_or_else(PoisonError::into_inner));
        warnings.iter().for_each(|w| cx.note(w.code(), w));
    }

    /// The keys that are open: at first those that were given on the command line.
    pub(super) fn given(&self) -> Vec<PublicKey> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    fn opened(&self, key: &PublicKey) -> Option<Arc<dyn Signer>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }
}

#[async_trait]
impl KeyRing for Ring {
    fn holds(&self, key: &PublicKey) -> bool {
        self.opened(key).is_some() || matches!(self.folder.find(key), Ok(Some(_)))
    }

    async fn signer(&self, key: &PublicKey) -> Result<Arc<dyn Signer>, KeyError> {
        if let Some(signer) = self.opened(key) {
            return Ok(signer);
        }
        let name = self.folder.find(key)?.ok_or_else(|| KeyError::Absent {
            key: key.key_id().to_string(),
            path: self.folder.path().to_owned(),
            known: Vec::new(),
        })?;
        let opened = self.folder.open(&KeyRef::Name(name), &self.passwords)?;
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).extend(opened.warnings);
        let signer: Arc<dyn Signer> = opened.signer.into();
        // It was found by its .pub file, which could say anything.
        if signer.public_key() != key {
            return Err(KeyError::BadSignature { key_id: key.key_id() });
        }
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), signer.clone());
        Ok(signer)
    }
}

/// Why a submission is not in, as one word.
pub(super) fn reason(pending: &Pending) -> &'static str {
    match pending.reason {
        Reason::Fork => "fork",
        Reason::Stale => "stale",
        Reason::Ahead => "ahead",
        Reason::Invalid(_) => "invalid",
        Reason::NotLookedAt => "not-looked-at",
        Reason::Rotated => "rotated",
        Reason::Keys(_) => "keys",
        Reason::Online => "online",
    }
}

/// Lines on what did not stay where two stood for one path: whoever released it must know.
pub(super) fn losers_text(losers: &[Loser], out: &mut dyn Write) -> io::Result<()> {
    let digest = |value: &Value| match value["hashes"]["sha256"].as_str() {
        Some(hex) => format!("sha256:{}", plain(hex)),
        None => "another value".to_owned(),
    };
    for Loser { path, kept, lost } in losers {
        let path = if path.is_empty() { "delegations".to_owned() } else { plain(path) };
        writeln!(out, "displaced {path}: {} stays, {} does not", digest(kept), digest(lost))?;
    }
    Ok(())
}

pub(super) fn losers_json(losers: &[Loser]) -> Value {
    let one = |l: &Loser| json!({"path": l.path, "kept": l.kept, "lost": l.lost});
    losers.iter().map(one).collect()
}

/// Submissions that are not in, for machines.
pub(super) fn pending_json(pending: &[Pending]) -> Value {
    let one = |p: &Pending| {
        let why = match &p.reason {
            Reason::Invalid(why) => Some(why.as_str()),
            _ => None,
        };
        json!({"tag": p.tag, "role": p.role, "version": p.version, "reason": reason(p), "why": why})
    };
    pending.iter().map(one).collect()
}

/// Who must sign the next snapshot and timestamp still, a line a role.
pub(super) fn gathering_text(
    gathering: Option<&Gathering>,
    out: &mut dyn std::io::Write,
) -> std::io::Result<()> {
    let Some(gathering) = gathering else { return Ok(()) };
    for (role, more, keys) in &gathering.lacking {
        let ids: Vec<&str> = keys.iter().map(|k| k.short()).collect();
        let ids = ids.join(", ");
        writeln!(out, "waits     {role}: {more} more of {ids}: bulla renew where they are")?;
    }
    if gathering.hidden {
        writeln!(
            out,
            "hidden    more candidates lie here than are looked at; somebody may hide what others signed"
        )?;
    }
    Ok(())
}

/// The same for machines.
pub(super) fn gathering_json(gathering: Option<&Gathering>) -> Value {
    let Some(g) = gathering else { return Value::Null };
    let lacking =
        g.lacking.iter().map(|(role, more, keys)| json!({"role": role, "more": more, "keys": keys}));
    json!({"tag": g.tag, "version": g.version, "lacking": lacking.collect::<Vec<_>>(), "hidden": g.hidden})
}

/// A duty that was not done, as a line.
pub(super) fn open_line(open: &Open) -> String {
    let what = match &open.duty {
        Duty::Seal(digest) => format!("the seal on {digest}"),
        Duty::Tag(tag) => format!("the tag {tag}"),
        Duty::Delete(tag) => format!("the deletion of {tag}"),
    };
    let rule = match (&open.duty, &open.error.failure) {
        (Duty::Tag(tag), Failure::Refused { .. } | Failure::Denied(_)) => {
            format!(
                " (exclude {tag} from a rule of the registry against moving tags, or publish under another tag)"
            )
        }
        _ => String::new(),
    };
    format!("{what}: {}{rule}", open.error)
}

/// What to do about a live state that is damaged or does not verify.
const REPAIR: &str = "run bulla renew where the newest state is remembered: it puts the state right";

impl From<GrantError> for CliError {
    fn from(e: GrantError) -> Self {
        match e {
            GrantError::Scope { .. } | GrantError::Text(..) | GrantError::Nothing => {
                Self::usage(e.to_string())
            }
            _ => Self::new(Exit::No, "delegation.refused", "this is not delegated; nothing was signed")
                .reason(e)
                .next("bulla tuf list shows who may speak for what"),
        }
    }
}

impl From<WorkError> for CliError {
    fn from(e: WorkError) -> Self {
        let live = |why: String| {
            Self::new(Exit::No, "state.invalid", "the live state does not verify; nothing was signed")
                .reason(why)
                .next(REPAIR)
        };
        match e {
            WorkError::NoMemory(collection) => {
                Self::failed("memory.missing", format!("this installation remembers no state of {collection}"))
                    .reason("without one, an old state could be served and would be signed as today's")
                    .next("pass --lock with the file that bulla init --lock wrote, or verify a bundle of the collection here first")
            }
            WorkError::Memory(e) => e.into(),
            WorkError::Absent { collection, place } => {
                Self::new(Exit::No, "state.absent", format!("there is no state of {collection} at {place}"))
                    .reason("and none is remembered here")
                    .next("name the place that was given to bulla init --at")
            }
            WorkError::State(state::StateError::Store(e)) => Self::from(e).next(REPAIR),
            WorkError::State(e) => live(e.to_string()),
            WorkError::Live(e) => live(e.to_string()),
            WorkError::Remembered(e) => {
                Self::failed("memory.invalid", "the remembered state does not verify").reason(e)
            }
            WorkError::Older(_) => Self::failed("state.older", "the live state is older than what is remembered here")
                .reason(e)
                .next("run bulla renew where the newest state is remembered whole, and find out who moved it"),
            WorkError::Tuf(e) => Self::new(Exit::No, "state.invalid", "the state does not verify; it was not pushed").reason(e),
            WorkError::Unrelated { .. } => Self::failed("state.unrelated", "the live state and the memory have no common history; nothing was signed")
                .reason(e)
                .next("find out which of the two is right before anything is signed"),
            WorkError::Damaged { .. } => Self::failed("state.damaged", "the live state is damaged and newer than what is remembered here; nothing was signed")
                .reason(e)
                .next("run bulla renew where the newest state is remembered, or put the missing files back"),
            WorkError::TargetFile { .. } => {
                Self::new(Exit::No, "state.invalid", "the live state is incomplete; nothing was signed")
                    .reason(e)
                    .next(REPAIR)
            }
            WorkError::Sign(e) => e.into(),
            WorkError::Partly(e) => e.lacking.into(),
            WorkError::Refused(Refusal::Revocations(_)) => {
                Self::failed("revocation.unreadable", "whether the bundle is revoked cannot be told").reason(e)
            }
            WorkError::Refused(Refusal::ListFull(_)) => {
                Self::new(Exit::No, "revocation.full", "the revocation list is full; nothing was signed")
                    .reason(e)
                    .next("if a thief filled it, go back to a state from before: docs/recovery.md, case 3; otherwise begin the collection anew: bulla init --replace")
            }
            WorkError::Refused(Refusal::NoRole(_)) => Self::new(Exit::Usage, "role.unknown", "there is no such role")
                .reason(e)
                .next("bulla tuf list shows the roles of the collection"),
            WorkError::Refused(Refusal::OutOfScope { .. } | Refusal::TagsOnly(_)) => {
                Self::new(Exit::No, "publish.scope", "no key here may publish this; nothing was signed")
                    .reason(e)
                    .next("choose a tag of your scope, or ask for another one: bulla tuf request")
            }
            WorkError::Refused(Refusal::Hidden { .. }) => {
                Self::new(Exit::No, "publish.hidden", "readers would not see this; nothing was signed")
                    .reason(e)
                    .next("choose another tag, or let the other role give this one up")
            }
            WorkError::Refused(e) => Self::new(Exit::No, "publish.withdrawn", "the bundle is not published")
                .reason(e)
                .next("publish another build"),
            WorkError::Store(e) => e.into(),
            WorkError::TagImmutable { .. } => Self::failed("state.tag-immutable", "the state's tag cannot be moved; what was signed waits as a submission")
                .reason(e)
                .next(TAG_RULE),
            WorkError::Oversize(_) => Self::failed("state.too-large", "the collection has grown past what a state holds; the live state stays as it is")
                .reason(e)
                .next("release further bundles in another collection"),
            WorkError::StaleBase { .. } => Self::new(Exit::No, "proposal.stale", "what is published has moved on; nothing was overwritten")
                .reason(e)
                .next("propose again on what is published now: bulla tuf propose"),
            WorkError::RootApart => Self::failed("key.missing", "cannot publish a root from here alone; nothing was signed")
                .reason(e)
                .next("propose it: bulla tuf propose REPO --resign root --description TEXT; then bulla tuf approve and commit"),
            WorkError::AnotherRoot(_) => Self::new(Exit::No, "proposal.rival", "two changes of the root meet; this one was not installed")
                .reason(e)
                .next("wait until the other one is in, then propose again: bulla tuf propose"),
            WorkError::Good(_) => Self::new(Exit::No, "recovery.unverified", "the state that is named as good does not verify; nothing was written")
                .reason(e)
                .next("name another one: what is remembered elsewhere, a mirror, a stick"),
            WorkError::FloorsStand => Self::new(Exit::No, "recovery.floors", "what a thief published cannot be gone back behind with these keys")
                .reason(format!("{e}; whoever saw it would refuse an older state"))
                .next("replace the keys of timestamp and snapshot in the same change"),
            WorkError::Exhausted { .. } => Self::new(Exit::No, "state.exhausted", "no version is left to sign; the live state stays as it is")
                .reason(format!("{e}; whoever has its key drove the versions up"))
                .next("give the collection other keys of timestamp and snapshot through its root: bulla tuf propose"),
            WorkError::Returned(why) => Self::new(Exit::No, "proposal.stale", "this is not the next snapshot and timestamp; nothing was published")
                .reason(why)
                .next("begin again on what is published now: bulla renew --output"),
            WorkError::Unfit(why) => Self::new(Exit::No, "proposal.unfit", "the next snapshot and timestamp cannot travel; no proposal was written")
                .reason(why)
                .next("run bulla renew where more keys are, then try again"),
            WorkError::SingleWriter(_) => Self::failed("key.missing", "one machine must have all keys of snapshot and timestamp here")
                .reason(e)
                .next("name them with --online-key, or begin a collection without --single-writer"),
            WorkError::Contended(_) => Self::failed("publish.contended", "the state kept moving")
                .reason(e)
                .next("what was submitted lies there, and the next commit admits it; or run the command again"),
        }
    }
}
