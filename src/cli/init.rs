//! `bulla init`: create a collection.

mod keys;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::ValueEnum;
use serde_json::{Value, json};

use super::context::{Context, block_on};
use super::error::{CliError, Exit};
use super::registry::RegistryArgs;
use super::render::Outcome;
use super::signing::anchors_of;
use super::tuf::proposal::{self, Source};
use super::tuf::recovery::worded;
use crate::client::init::{
    Created, Founding, InitError, Lifetimes, NextStep, Plan, Retired, check_tags, found, retired,
};
use crate::client::memory::Memory;
use crate::client::places::Places as _;
use crate::client::revoke::{Lists, list_under};
use crate::client::signing::KeyRing as _;
use crate::client::state;
use crate::keys::{KeyName, KeyRef};
use crate::oci::{ArchiveRef, LayoutRef, Reference, RegistryRef};
use crate::sig::KeyId;
use crate::store::Manage;
use crate::time::UnixTime;
use crate::trust::{
    Anchor, Duration, PinnedRoot, RevocationEntry, RevocationList, is_nearly_full, join_revocations,
    recovered_revocations,
};
use crate::tuf::CollectionName;
use crate::tuf::proposal::{Base, Difference, Incomplete, Needed, Proposal};

use keys::Keys;

/// Most entries that are named one by one.
const LEFT_OUT: usize = 100;

/// Create a collection: its keys, its root of trust and its first state
///
/// NAME is signed into every role and stays when bundles move to other registries. A key that is not given is
/// generated in the key folder. The root is written to a file for handing out, and anchored here.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  bulla init registry.example.com/team/app\n  bulla init example.com/team/app --at registry.example.com/team/app --root-key ./root.pem"
)]
pub(super) struct Args {
    /// The collection's name, which has the form of a repository
    name: CollectionName,
    /// Where the state is written; NAME read as a repository if not given
    #[arg(long, value_name = "REPO")]
    at: Option<Reference>,
    /// It is an organisation, which lists the roots of other collections
    #[arg(long)]
    organisation: bool,
    /// A key of the root role (can be repeated)
    #[arg(long, value_name = "KEY")]
    root_key: Vec<KeyRef>,
    /// How many root keys must sign
    #[arg(long, value_name = "N")]
    root_threshold: Option<u32>,
    /// The key of top-level targets
    #[arg(long, value_name = "KEY")]
    targets_key: Option<KeyRef>,
    /// The key of releases and revocations: whoever publishes holds it
    #[arg(long, value_name = "KEY")]
    releases_key: Option<KeyRef>,
    /// The key of snapshot and timestamp: the scheduled renew job holds it
    #[arg(long, value_name = "KEY")]
    online_key: Option<KeyRef>,
    /// Lifetimes of the roles
    #[arg(long, value_name = "PROFILE", default_value = "default")]
    profile: Profile,
    /// Another lifetime for one role, as in root=730d (can be repeated)
    #[arg(long, value_name = "ROLE=DURATION", value_parser = role_lifetime)]
    expires: Vec<(String, Duration)>,
    /// Promise that one process at a time publishes: submissions are skipped
    #[arg(long)]
    single_writer: bool,
    /// Begin anew with another root where the collection's root keys were lost or stolen: every deployer must replace it
    #[arg(long)]
    replace: bool,
    /// Write the memory of this collection to FILE too
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
    /// Where the root is written for handing out
    #[arg(long, value_name = "FILE", default_value = "1.root.json")]
    root_file: PathBuf,
    /// Where keys are missing here: write the proposal for the others to FILE, or into an OCI layout; otherwise to proposal-ID.json
    #[arg(long, value_name = "FILE|oci:DIR", conflicts_with = "push")]
    output: Option<Source>,
    /// Where keys are missing here: push the proposal to the place of the state
    #[arg(long)]
    push: bool,
    /// Allow a root key to be the online or releases key as well; the reason is signed into the root
    #[arg(long, value_name = "REASON")]
    dangerously_share_root_key: Option<String>,
    #[command(flatten)]
    registry: RegistryArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Profile {
    /// root and targets 365d, releases and revocations 90d, snapshot 30d, timestamp 7d
    Default,
    /// root 365d, targets, releases and revocations 30d, snapshot and timestamp 1d
    #[value(name = "cnab-301")]
    Cnab301,
}

pub(super) fn run(args: Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    let at = place(&args)?;
    let lifetimes = lifetimes(&args)?;
    let root_threshold = match (args.root_threshold, args.root_key.len()) {
        (Some(n), _) => n,
        (None, 0 | 1) => 1,
        (None, n) => {
            return Err(CliError::usage(format!("{n} root keys and no --root-threshold"))
                .next("say how many of them must sign, as in --root-threshold 2"));
        }
    };
    // Whatever would stop it later is found before keys are made.
    let trust = cx.trust();
    trust.load()?;
    let mut memories = vec![Memory::in_dir(cx.memory(), &args.name)];
    memories.extend(args.lock.iter().map(|file| Memory::in_file(file, &args.name)));
    if let Some(memory) = memories.iter().find(|m| !args.replace && m.path().exists()) {
        let path = memory.path().to_owned();
        return Err(InitError::Remembered { collection: args.name, path }.into());
    }
    if !args.replace && !anchors_of(&trust, &args.name)?.is_empty() {
        return Err(CliError::new(Exit::No, "init.exists", "the collection exists already")
            .reason(format!("{} is anchored here", args.name))
            .next(
                "publish to it, or choose another name; where its root keys were lost or stolen: --replace",
            ));
    }
    if args.root_file.exists() {
        return Err(CliError::failed("file.unwritable", format!("{} exists", args.root_file.display()))
            .next("name another file with --root-file"));
    }
    let places = args.registry.places(cx, &[&at])?;
    let store = block_on(async {
        let store = places.create(&at).await?;
        match state::resolve_state(&*store, &args.name).await {
            Err(state::StateError::Store(e)) if e.is_not_found() => {}
            Ok(None) => {}
            Ok(Some(_)) if args.replace => {}
            Ok(Some(_)) => {
                return Err(InitError::Exists { collection: args.name.clone(), place: at.clone() }.into());
            }
            Err(e) => return Err(CliError::from(e)),
        }
        check_tags(&*store, &args.name).await?;
        Ok(store)
    })??;
    let old = if args.replace { old_roots(&args, cx)? } else { Vec::new() };
    let anew = match args.replace {
        true => Some(block_on(known_revocations(&*store, &args.name, &old, &memories, cx.now()))?.map_err(
            |why| {
                CliError::failed("revocation.unreadable", "the revocation list of before cannot be kept")
                    .reason(why)
                    .next("run it where the collection is remembered, or put back a state that verifies, from a mirror")
            },
        )?),
        false => None,
    };

    for entry in anew.iter().flat_map(|(_, left_out)| left_out).take(LEFT_OUT) {
        let about = "is not taken over, since whoever stole keys may have made it: what it undid counts again; enter it anew if it is right";
        cx.note("revocation.left-out", format!("revocation {} {about}", worded(entry)));
    }
    let anew = anew.map(|(list, _)| list);
    let mut given_up = Retired::new();
    for root in &old {
        let keys = block_on(retired(&*store, &args.name, root.bytes(), &memories, cx.now()))?;
        given_up.extend(keys?);
    }

    let mut keys = Keys::new();
    let roles = keys.all(&args, cx)?;
    let plan = Plan {
        collection: args.name.clone(),
        root_keys: roles.root,
        root_threshold,
        targets_key: roles.targets,
        releases_key: roles.releases,
        online_key: roles.online,
        lifetimes: lifetimes.clone(),
        single_writer: args.single_writer,
        shared_root_key: args.dangerously_share_root_key.clone(),
        anew: anew.map(Into::into),
        at: cx.now(),
    };
    plan.check_anew(&given_up).map_err(|e| keys.kept(e.into()))?;
    let proposed = block_on(plan.propose(&keys.here, String::new()))?;
    let (proposal, base) = proposed.map_err(|e| keys.kept(e.into()))?;
    let group = match proposal.complete(&base) {
        Ok(group) if keys.here.holds(&plan.online_key) => group,
        Ok(_) | Err(Incomplete::Missing(_)) => return proposed_first(&args, &at, proposal, &base, &keys, cx),
        Err(e) => return Err(keys.kept(e.into())),
    };
    let founding = Founding {
        collection: &args.name,
        store: &*store,
        keys: &keys.here,
        snapshot: lifetimes.snapshot,
        timestamp: lifetimes.timestamp,
        root_file: &args.root_file,
        anew: args.replace,
        resume: false,
        memories: &memories,
        now: cx.now(),
    };
    let mut created = block_on(found(&founding, &group))?.map_err(|e| keys.kept(e.into()))?;
    if args.replace {
        trust.replace_roots(&args.name, &created.root)?;
        let roots: Vec<_> = old.iter().map(|root| root.bytes().clone()).collect();
        for memory in &memories {
            memory.forget(&roots)?;
        }
    }
    if args.organisation {
        let members = created.anchors.iter().filter_map(Anchor::of_its_members).collect::<Vec<_>>();
        created.anchors.extend(members);
    }
    for anchor in &created.anchors {
        super::trust::add_noting(cx, std::slice::from_ref(anchor)).map_err(|e| {
            e.next(format!(
                "the collection is made, only its anchor is missing: bulla trust add {} --root {} --collection {}",
                anchor.scope,
                args.root_file.display(),
                created.collection
            ))
        })?;
    }
    if let Some(reason) = &args.dangerously_share_root_key {
        cx.note("init.shared-root-key", format!("a root key may sign online or releases: {reason}"));
    }
    let folder = cx.keys().path().to_owned();
    Ok(Box::new(Made {
        created,
        names: keys.names,
        generated: keys.generated,
        folder,
        organisation: args.organisation,
    }))
}

/// Keys are missing here: what is signed so far travels as a proposal, and nothing is made.
fn proposed_first(
    args: &Args,
    at: &Reference,
    proposal: Proposal,
    base: &Base,
    keys: &Keys,
    cx: &mut Context<'_, '_>,
) -> Result<Box<dyn Outcome>, CliError> {
    if args.replace {
        return Err(keys.kept(
            CliError::usage("--replace needs all keys here")
                .reason("it replaces a state, which a proposal for a first root cannot")
                .next("begin anew with keys that are here, and let the others in with bulla tuf propose"),
        ));
    }
    let to = match (&args.output, args.push) {
        (Some(output), _) => output.clone(),
        (None, true) => Source::Place(at.clone()),
        (None, false) => Source::File(format!("proposal-{}.json", &proposal.id()[..8]).into()),
    };
    let (difference, needed) = (proposal.difference(base), proposal.signers(base).map_err(InitError::from)?);
    let written = proposal::write(&proposal, &to, &args.registry, cx).map_err(|e| keys.kept(e))?;
    let generated = keys.generated.clone();
    let folder = cx.keys().path().to_owned();
    let (at, place) = (written, at.clone());
    Ok(Box::new(Proposed { proposal, difference, needed, at, place, generated, folder }))
}

/// A first root that others must sign still.
struct Proposed {
    proposal: Proposal,
    difference: Difference,
    needed: Vec<Needed>,
    at: String,
    place: Reference,
    generated: Vec<KeyName>,
    folder: PathBuf,
}

impl Outcome for Proposed {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "proposed  {}  {}", self.proposal.collection(), self.at)?;
        write!(out, "{}", self.difference)?;
        proposal::signers_text(&self.needed, out)?;
        if !self.generated.is_empty() {
            let names: Vec<&str> = self.generated.iter().map(KeyName::as_str).collect();
            writeln!(out, "keys      {}   in {}", names.join(", "), self.folder.display())?;
        }
        writeln!(out, "\nNothing is published. Next:")?;
        writeln!(
            out,
            "  1. Who holds a missing key, on a machine of their own: bulla tuf approve {}",
            self.at
        )?;
        writeln!(
            out,
            "  2. With all copies, where the online key is: bulla tuf commit {} --at {}",
            self.at, self.place
        )
    }

    fn json(&self) -> Value {
        json!({
            "status": "proposed", "collection": self.proposal.collection(), "id": self.proposal.id(), "at": self.at,
            "difference": self.difference.to_json(), "signers": proposal::signers_json(&self.needed),
            "generated": self.generated.iter().map(KeyName::as_str).collect::<Vec<_>>(),
        })
    }
}

/// The roots that are trusted here for the collection, which gives them up.
fn old_roots(args: &Args, cx: &Context<'_, '_>) -> Result<Vec<PinnedRoot>, CliError> {
    let file = cx.trust().load()?;
    let ours = file.all_anchors().filter(|a| a.collection == args.name);
    let roots: Vec<PinnedRoot> = ours.map(|a| a.root.clone()).collect();
    if roots.is_empty() {
        return Err(CliError::new(Exit::Usage, "anchor.none", format!("{} is not anchored here", args.name))
            .reason("--replace is for a collection that this installation trusts and gives up")
            .next("make a new collection without --replace"));
    }
    Ok(roots)
}

/// The revocations that were signed under the old roots: they hold for the new one, too. Whoever stole keys of them may have signed
/// what lies there, so that takes nothing back that is remembered; and what was left out of it.
async fn known_revocations(
    store: &dyn Manage,
    collection: &CollectionName,
    roots: &[PinnedRoot],
    memories: &[Memory],
    now: UnixTime,
) -> Result<(Vec<u8>, Vec<RevocationEntry>), String> {
    let mut known = Lists::default();
    for root in roots {
        let lists = list_under(store, collection, root.bytes(), memories, now).await?;
        known.remembered.extend(lists.remembered);
        known.live.extend(lists.live);
    }
    let live: Vec<&[u8]> = known.live.iter().map(|l| &l[..]).collect();
    let own: Vec<&[u8]> = known.remembered.iter().map(|l| &l[..]).collect();
    for list in own.iter().chain(&live) {
        RevocationList::parse(list)?;
    }
    let empty: &[u8] = br#"{"entries":[],"schemaVersion":1}"#;
    let joined = join_revocations(&[&[empty], &own[..]].concat(), &[]);
    // Nor can such a thief fill the list of the new root.
    let good =
        joined.ok().map(|list| list.unwrap_or_else(|| empty.to_vec())).filter(|list| !is_nearly_full(list));
    // The new root has none of the old keys.
    let none = BTreeSet::new();
    let list = match &good {
        Some(good) => recovered_revocations(Some(good), &live, &none),
        None => recovered_revocations(None, &[&own[..], &live[..]].concat(), &none),
    }
    .map_err(|e| e.to_string())?;
    let list = list.or(good).unwrap_or_else(|| empty.to_vec());
    let kept = RevocationList::parse(&list)?;
    let mut out: Vec<RevocationEntry> = Vec::new();
    for list in &live {
        let all = RevocationList::parse(list)?;
        out.extend(all.entries().iter().filter(|e| !kept.entries().contains(e)).cloned());
    }
    Ok((list, out))
}

/// Where the state goes: a repository or an OCI layout, without tag and digest.
fn place(args: &Args) -> Result<Reference, CliError> {
    let at = args.at.clone().unwrap_or_else(|| {
        Reference::Registry(RegistryRef { repository: args.name.as_repository().clone(), selector: None })
    });
    match at.selector() {
        None => Ok(at),
        Some(_) => Err(CliError::usage(format!("--at {at} names a bundle"))
            .next("write the repository or OCI layout alone, without tag and digest")),
    }
}

fn lifetimes(args: &Args) -> Result<Lifetimes, CliError> {
    let mut lifetimes = match args.profile {
        Profile::Default => Lifetimes::default(),
        Profile::Cnab301 => Lifetimes::cnab_301(),
    };
    for (role, lifetime) in &args.expires {
        if !lifetimes.set(role, *lifetime) {
            return Err(CliError::usage(format!("--expires {role}={lifetime}: there is no role {role}"))
                .next("roles: root, targets, releases, revocations, snapshot, timestamp"));
        }
    }
    Ok(lifetimes)
}

fn role_lifetime(text: &str) -> Result<(String, Duration), String> {
    let (role, lifetime) = text.split_once('=').ok_or("expected ROLE=DURATION, as in root=730d")?;
    Ok((role.to_owned(), lifetime.parse().map_err(|e| format!("{e}"))?))
}

/// A collection that was made.
pub(super) struct Made {
    pub(super) created: Created,
    pub(super) names: Vec<(KeyId, String)>,
    pub(super) generated: Vec<KeyName>,
    pub(super) folder: PathBuf,
    pub(super) organisation: bool,
}

impl Made {
    fn name<'a>(&'a self, key: &'a KeyId) -> &'a str {
        self.names.iter().find(|(id, _)| id == key).map_or_else(|| key.as_str(), |(_, name)| name)
    }

    /// The next steps, each a sentence and perhaps a command.
    fn next(&self) -> Vec<(String, Option<String>)> {
        let step = |step: &NextStep| match step {
            NextStep::HandOut { file, scope, .. } => (
                format!(
                    "Hand out {}, or its fingerprint by a way of its own. A deployer then runs",
                    file.display()
                ),
                Some(match self.created.collection.to_string() {
                    name if self.organisation => {
                        format!("bulla trust add '{scope}/*' --organisation {name} --root {}", file.display())
                    }
                    name if name == scope.to_string() => {
                        format!("bulla trust add {scope} --root {}", file.display())
                    }
                    name => format!("bulla trust add {scope} --root {} --collection {name}", file.display()),
                }),
            ),
            NextStep::MoveKeys { keys, before } => {
                // In the order of the roles, not of the ids.
                let here = |id: &KeyId| self.names.iter().position(|(other, _)| other == id);
                let mut keys: Vec<&KeyId> = keys.iter().collect();
                keys.sort_by_key(|k| here(k));
                let names: Vec<&str> = keys.iter().map(|k| self.name(k)).collect();
                (
                    format!(
                        "Move {} off this machine; they are needed again before {before}.",
                        names.join(" and ")
                    ),
                    None,
                )
            }
            NextStep::Schedule { at, key } => {
                let (name, mut at) = (self.name(key), from_anywhere(at).to_string());
                if self.organisation {
                    at.push_str(" --organisation");
                }
                // A key in a KMS has no password, and is found only if it is named.
                let line = match name.contains("://") {
                    true => format!("17 4 * * *  bulla renew {at} --online-key {name}"),
                    false => format!("17 4 * * *  BULLA_PASSWORD=... bulla renew {at}"),
                };
                (format!("Run this once a day with {name} only:"), Some(line))
            }
            NextStep::Deadline { role, expires } => {
                (format!("First deadline: the {role} expires {expires}."), None)
            }
            NextStep::Retention => (
                "Exclude the tags bulla.* and sha256-* from the registry's retention rules.".to_owned(),
                None,
            ),
        };
        let mut steps: Vec<_> = self.created.next.iter().map(step).collect();
        if self.organisation {
            let name = &self.created.collection;
            let line =
                format!("bulla tuf member add {} {name}/MEMBER --root FILE", self.created.state.at(None));
            steps.insert(1, ("Enter its members, with the targets key:".to_owned(), Some(line)));
        }
        steps
    }
}

/// A place as a scheduler must name it, which runs elsewhere: a relative path made absolute.
fn from_anywhere(place: &Reference) -> Reference {
    match place {
        Reference::Layout(l) => Reference::Layout(LayoutRef {
            dir: std::path::absolute(&l.dir).unwrap_or_else(|_| l.dir.clone()),
            selector: l.selector.clone(),
        }),
        Reference::Archive(a) => Reference::Archive(ArchiveRef {
            file: std::path::absolute(&a.file).unwrap_or_else(|_| a.file.clone()),
            selector: a.selector.clone(),
        }),
        Reference::Registry(_) => place.clone(),
    }
}

impl Outcome for Made {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let c = &self.created;
        writeln!(out, "created   {}  at {}", c.collection, c.state)?;
        let (keys, threshold) = c.root_keys;
        let expires =
            c.anchors.first().and_then(|a| crate::client::anchors::root_facts(a.root.bytes(), None).ok());
        let expires = expires.map(|f| format!(", expires {}", f.expires)).unwrap_or_default();
        writeln!(
            out,
            "root      {}  {}  {threshold} of {keys} keys{expires}",
            c.root_file.display(),
            crate::oci::Digest::sha256(&c.root)
        )?;
        if !self.generated.is_empty() {
            let names: Vec<&str> = self.generated.iter().map(KeyName::as_str).collect();
            writeln!(out, "keys      {}   in {}", names.join(", "), self.folder.display())?;
        }
        writeln!(out, "\nNext:")?;
        for (i, (sentence, command)) in self.next().iter().enumerate() {
            writeln!(out, "  {}. {sentence}", i + 1)?;
            command.iter().try_for_each(|c| writeln!(out, "       {c}"))?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let c = &self.created;
        let keys: Vec<Value> = c
            .keys
            .iter()
            .map(|(role, id)| {
                let name = self.name(id);
                let generated = self.generated.iter().any(|g| g.as_str() == name);
                json!({"role": role, "name": name, "keyId": id, "generated": generated})
            })
            .collect();
        let next = self.next().into_iter().map(|(sentence, command)| match command {
            Some(command) => format!("{sentence} {command}"),
            None => sentence,
        });
        let facts = crate::client::anchors::root_facts(&c.root, None).ok();
        json!({
            "status": "created",
            "collection": c.collection,
            "state": {"reference": c.state.to_string(), "digest": c.digest},
            "root": {
                "file": c.root_file.to_string_lossy(), "fingerprint": crate::oci::Digest::sha256(&c.root),
                "threshold": c.root_keys.1, "expires": facts.map(|f| f.expires),
            },
            "keys": keys,
            "anchors": c.anchors.iter().map(|a| json!({"id": a.id, "scope": a.scope, "collection": a.collection})).collect::<Vec<_>>(),
            "deadlines": c.deadlines.iter().map(|(at, role)| json!({"role": role, "expires": at})).collect::<Vec<_>>(),
            "next": next.collect::<Vec<_>>(),
        })
    }
}
