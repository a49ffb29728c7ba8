//! `bulla tuf member`: whose roots an organisation lists.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use clap::Subcommand;
use serde_json::{Value, json};

use super::desk::{Found, ReadArgs, SignArgs};
use super::proposal::{Source, signers_json, signers_text, write};
use crate::cli::context::Context;
use crate::cli::error::{CliError, Exit};
use crate::cli::render::{Outcome, clean, columns};
use crate::cli::trust::{Root, bring_root};
use crate::client::anchors::{AnchorError, fetch_root, root_facts};
use crate::client::ceremony;
use crate::client::memory::Memory;
use crate::client::organisation::{
    Listed, MemberError, Relation, RootError, Roots, enter, members, places, take_out,
};
use crate::client::whole::Whole;
use crate::oci::{Digest, Reference};
use crate::store::Manage;
use crate::trust::{Member, PinnedRoot, Scope};
use crate::tuf::proposal::{About, Edit, EditError, Needed, Proposal};
use crate::tuf::{CollectionName, RoleName, TufError};

/// Say whose roots an organisation lists, and for which names
///
/// An organisation is a collection whose top-level targets lists the roots of its members. Who trusts its root with
/// bulla trust add 'PREFIX/*' --organisation NAME trusts each member for the names that it is given here.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Enter a member, or give one another root, scope or place
    ///
    /// Without --root the entry of a member is brought up to date: the last root that follows from the listed one.
    #[command(
        after_long_help = "Examples:\n  bulla tuf member add registry.example.com/org example.com/org/app --root app/1.root.json\n  bulla tuf member add registry.example.com/org example.com/org/team --root sha256:… --state-at registry.example.com/team/app\n  bulla tuf member add registry.example.com/org example.com/org/app"
    )]
    Add {
        /// Where the organisation's state lies: host/repository or oci:DIR
        #[arg(value_name = "REPO")]
        place: Reference,
        /// The member's name
        collection: CollectionName,
        /// The member's root: a file, or its fingerprint sha256:HEX to fetch it and compare
        #[arg(long, value_name = "FILE|sha256:HEX")]
        root: Option<Root>,
        /// The fingerprint of FILE, got by another way than the file: needed where a member gets a root of another chain
        #[arg(long, value_name = "sha256:HEX", requires = "root")]
        fingerprint: Option<Digest>,
        /// The name that it may speak for, below the organisation's (default: its own)
        #[arg(long, value_name = "SCOPE")]
        scope: Option<Scope>,
        /// Where its state lies, besides its bundles' repository (can be repeated)
        #[arg(long, value_name = "REPO")]
        state_at: Vec<Reference>,
        #[command(flatten)]
        out: OutArgs,
        #[command(flatten)]
        sign: SignArgs,
    },
    /// Take a member out
    Remove {
        /// Where the organisation's state lies: host/repository or oci:DIR
        #[arg(value_name = "REPO")]
        place: Reference,
        /// The member's name
        collection: CollectionName,
        #[command(flatten)]
        out: OutArgs,
        #[command(flatten)]
        sign: SignArgs,
    },
    /// Show the members
    List {
        /// Where the organisation's state lies: host/repository or oci:DIR
        #[arg(value_name = "REPO")]
        place: Reference,
        #[command(flatten)]
        read: ReadArgs,
    },
}

/// Where a proposal goes.
#[derive(Debug, clap::Args)]
struct OutArgs {
    /// Where signatures are missing: write the proposal to FILE, or into an OCI layout: oci:DIR; otherwise to proposal-ID.json
    #[arg(long, value_name = "FILE|oci:DIR")]
    output: Option<Source>,
}

pub(super) fn run(args: Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    match args.action {
        Action::Add { place, collection, root, fingerprint, scope, state_at, out, sign } => {
            if let Some(at) = state_at.iter().find(|p| p.selector().is_some()) {
                return Err(CliError::usage(format!("--state-at {at} names a bundle"))
                    .next("write the repository or OCI layout alone, without tag and digest"));
            }
            let given = match (root, fingerprint) {
                (Some(Root::Fingerprint(fingerprint)), None) => {
                    GivenRoot { file: None, fingerprint: Some(fingerprint) }
                }
                (Some(root @ Root::File(_)), fingerprint) => {
                    let root = bring_root(&root, &collection, &[], &sign.registry(), cx)?;
                    if let Some(asked) = fingerprint.as_ref().filter(|f| **f != root.fingerprint()) {
                        return Err(AnchorError::Fingerprint {
                            asked: asked.clone(),
                            found: vec![root.fingerprint()],
                        }
                        .into());
                    }
                    GivenRoot { file: Some(root), fingerprint }
                }
                (Some(Root::Fingerprint(_)), Some(_)) => {
                    return Err(CliError::usage(
                        "--root is a fingerprint already, and --fingerprint another one",
                    ));
                }
                (None, _) => GivenRoot { file: None, fingerprint: None },
            };
            let asked = Asked { name: collection, scope, state_at };
            add(cx, &place, asked, given, &out, sign)
        }
        Action::Remove { place, collection, out, sign } => {
            let registry = sign.registry();
            let made = sign.at(cx, &place, async |found, store| {
                let organisation = &found.desk.anchor.collection;
                let edit = |whole: &Whole| take_out(organisation, &collection, whole);
                change(found, store, &format!("{collection} leaves"), &edit).await
            })?;
            let about = Member::new(collection, vec![], vec![], cx.now());
            finish(made, "removed", about, None, &out, &registry, cx)
        }
        Action::List { place, read } => {
            let listed = read.at(cx, &place, &[], async |found, store| {
                let whole = desk(found, store).published().await?;
                let organisation = found.desk.anchor.collection.clone();
                let (listed, unread) = members(&organisation, &whole);
                Ok(Members { organisation, listed, unread })
            })?;
            Ok(Box::new(listed))
        }
    }
}

/// A member as typed.
struct Asked {
    name: CollectionName,
    scope: Option<Scope>,
    state_at: Vec<Reference>,
}

impl Asked {
    /// With what the entry says that is there, where nothing else was typed.
    fn over(self, listed: Option<&Listed>, at: crate::time::UnixTime) -> Member {
        let keep = listed.map(|l| &l.member);
        let scope = match (self.scope, keep) {
            (None, Some(member)) => member.scope.clone(),
            (scope, _) => scope.into_iter().collect(),
        };
        let state_at = match (self.state_at.is_empty(), keep) {
            (true, Some(member)) => member.state_at.clone(),
            _ => self.state_at,
        };
        Member::new(self.name, scope, state_at, at)
    }
}

/// The root as typed.
struct GivenRoot {
    /// Read from a file.
    file: Option<PinnedRoot>,
    /// Got by a way of its own.
    fingerprint: Option<Digest>,
}

fn add(
    cx: &mut Context<'_, '_>,
    place: &Reference,
    asked: Asked,
    given: GivenRoot,
    out: &OutArgs,
    sign: SignArgs,
) -> Result<Box<dyn Outcome>, CliError> {
    let registry = sign.registry();
    let (now, name) = (cx.now(), asked.name.clone());
    let memory = Memory::in_dir(cx.memory(), &name);
    let (made, member, root) = sign.at(cx, place, async |found, store| {
        let organisation = &found.desk.anchor.collection;
        let whole = desk(found, store).published().await?;
        let (listed, _) = members(organisation, &whole);
        let listed = listed.into_iter().find(|l| l.member.name == name);
        let member = asked.over(listed.as_ref(), now);
        let at = places(organisation, place, &member);
        let roots = Roots { member: &name, places: &found.places, at: &at, memory: &memory, now };
        let root = the_root(organisation, &given, listed.as_ref(), &roots).await?.bytes().clone();
        let same = |l: &Listed| {
            let (old, new) = (&l.member, &member);
            l.root == Digest::sha256(&root) && (&old.scope, &old.state_at) == (&new.scope, &new.state_at)
        };
        if listed.as_ref().is_some_and(same) {
            return Ok((Made::Same(organisation.clone()), member, root));
        }
        let words = format!("{name} becomes a member, or changes");
        let edit = |whole: &Whole| enter(organisation, &member, &root, whole);
        let made = change(found, store, &words, &edit).await?;
        Ok((made, member, root))
    })?;
    finish(made, "entered", member, Some(Digest::sha256(&root)), out, &registry, cx)
}

/// The root to list: given, fetched by its fingerprint, or what follows from the listed one.
async fn the_root(
    organisation: &CollectionName,
    given: &GivenRoot,
    listed: Option<&Listed>,
    roots: &Roots<'_>,
) -> Result<PinnedRoot, CliError> {
    let name = roots.member;
    let listed = listed.and_then(|l| l.bytes.as_ref());
    let root = match (given, listed) {
        (GivenRoot { file: Some(root), .. }, _) => root.bytes().clone(),
        (GivenRoot { file: None, fingerprint: Some(fingerprint) }, _) => {
            let root = fetch_root(roots.places, roots.at, name, fingerprint).await?;
            root_facts(&root, Some(name)).map_err(AnchorError::from)?;
            root
        }
        (GivenRoot { file: None, fingerprint: None }, Some(listed)) => {
            return Ok(roots.newest(listed).await?.into());
        }
        (GivenRoot { file: None, fingerprint: None }, None) => {
            return Err(CliError::usage(format!("{name} is no member of {organisation} yet"))
                .reason("its root is missing")
                .next("pass --root with its root file, or with its fingerprint got by a way of its own"));
        }
    };
    let Some(listed) = listed else { return Ok(root.into()) };
    let mut relation = roots.relation(listed, &root, false).await?;
    if relation == Relation::Apart && given.fingerprint.is_none() {
        relation = roots.relation(listed, &root, true).await?;
    }
    match relation {
        Relation::Follows => Ok(root.into()),
        Relation::Older => {
            Err(CliError::new(Exit::No, "member.older", format!("{name} is listed with a later root"))
                .reason("the keys of this one may have been taken out since; nothing was signed")
                .next("leave --root out: the entry is brought up to date from where the member's state lies"))
        }
        Relation::Apart if given.fingerprint.is_some() => Ok(root.into()),
        Relation::Apart => {
            let says = format!("this root of {name} does not follow from the one that is listed");
            Err(CliError::new(Exit::No, "member.chain", says)
                .reason("users would begin anew with it, as after a stolen root; nothing was signed")
                .next("if that is meant, pass --fingerprint with what the member's owner read out to you"))
        }
    }
}

fn desk<'a>(found: &'a Found, store: &'a dyn Manage) -> ceremony::Desk<'a> {
    ceremony::Desk {
        collection: &found.desk.anchor.collection,
        anchor: found.desk.anchor.root.bytes(),
        store,
        memories: &found.desk.memories,
        without_memory: found.desk.without_memory,
        keys: &found.desk.ring,
        clock: &*found.clock,
    }
}

/// How a change ended.
enum Made {
    /// It is what is published.
    Same(CollectionName),
    /// It is in, or waits for the online key.
    In { organisation: CollectionName, submitted: bool },
    /// Signatures are missing.
    Proposed { proposal: Box<Proposal>, needed: Vec<Needed> },
}

/// Propose the change, sign it with the keys at hand, and commit it where they suffice.
async fn change(
    found: &Found,
    store: &dyn Manage,
    words: &str,
    edit: &dyn Fn(&Whole) -> Result<Edit, MemberError>,
) -> Result<Made, CliError> {
    let desk = desk(found, store);
    let about = About { description: words.to_owned(), by: "bulla tuf member".into(), at: found.clock.now() };
    // Judged again on whatever was published meanwhile.
    let refused: Mutex<Option<MemberError>> = Mutex::default();
    let edits = |whole: &Whole| match edit(whole) {
        Ok(edit) => Ok(vec![edit]),
        Err(e) => {
            *refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(e);
            Err(EditError::NoRole(RoleName::targets()))
        }
    };
    let done = desk.at_once(edits, &about).await;
    if let Some(e) = refused.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(e.into());
    }
    let done = done?;
    Ok(match done.worked {
        Some(worked) => Made::In { organisation: desk.collection.clone(), submitted: !worked.online },
        None => Made::Proposed { proposal: Box::new(done.proposal), needed: done.needed },
    })
}

/// Write the proposal, where one is needed.
fn finish(
    made: Made,
    verb: &'static str,
    member: Member,
    root: Option<Digest>,
    out: &OutArgs,
    registry: &crate::cli::registry::RegistryArgs,
    cx: &mut Context<'_, '_>,
) -> Result<Box<dyn Outcome>, CliError> {
    let (organisation, status) = match made {
        Made::Same(organisation) => (organisation, Status::Current),
        Made::In { organisation, submitted: false } => (organisation, Status::Committed),
        Made::In { organisation, submitted: true } => (organisation, Status::Submitted),
        Made::Proposed { proposal, needed } => {
            let own = || Source::File(format!("proposal-{}.json", &proposal.id()[..8]).into());
            let to = out.output.clone().unwrap_or_else(own);
            let at = write(&proposal, &to, registry, cx)?;
            (proposal.collection().clone(), Status::Proposed { id: proposal.id(), at, needed })
        }
    };
    Ok(Box::new(Changed { verb, organisation, member, root, status }))
}

enum Status {
    Current,
    Committed,
    Submitted,
    Proposed { id: String, at: String, needed: Vec<Needed> },
}

struct Changed {
    verb: &'static str,
    organisation: CollectionName,
    member: Member,
    /// Of a member that is in.
    root: Option<Digest>,
    status: Status,
}

struct Members {
    organisation: CollectionName,
    listed: Vec<Listed>,
    /// Entries that cannot be read.
    unread: Vec<(String, TufError)>,
}

fn texts<T: ToString>(all: &[T]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

impl Outcome for Changed {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let word = match &self.status {
            Status::Current => "unchanged",
            Status::Committed => self.verb,
            Status::Submitted => "submitted",
            Status::Proposed { .. } => "proposed",
        };
        writeln!(out, "{word:<9} {}  member of {}", self.member.name, self.organisation)?;
        if let Some(root) = &self.root {
            let scope = texts(&self.member.scope).join("  ");
            writeln!(out, "          root {root}  speaks for {}", clean(&scope))?;
        }
        match &self.status {
            Status::Submitted => {
                writeln!(out, "          waits for bulla renew by who holds the online key")
            }
            Status::Proposed { at, needed, .. } => {
                writeln!(out, "          {at}: its other signers run bulla tuf approve")?;
                signers_text(needed, out)
            }
            Status::Current | Status::Committed => Ok(()),
        }
    }

    fn json(&self) -> Value {
        let status = match &self.status {
            Status::Current => "current",
            Status::Committed => "committed",
            Status::Submitted => "submitted",
            Status::Proposed { .. } => "proposed",
        };
        let m = &self.member;
        let mut json = json!({
            "status": status, "change": self.verb, "organisation": self.organisation, "member": m.name,
        });
        if let Some(root) = &self.root {
            json["fingerprint"] = json!(root);
            json["scope"] = json!(m.scope);
            json["stateAt"] = json!(texts(&m.state_at));
        }
        if let Status::Proposed { id, at, needed } = &self.status {
            json["id"] = json!(id);
            json["at"] = json!(at);
            json["signers"] = signers_json(needed);
        }
        json
    }
}

impl Outcome for Members {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut rows = vec![["MEMBER", "SPEAKS FOR", "ROOT", "STATE AT"].map(str::to_owned).to_vec()];
        rows.extend(self.listed.iter().map(|l| {
            let joined = |texts: Vec<String>| if texts.is_empty() { "-".to_owned() } else { texts.join(" ") };
            let m = &l.member;
            vec![m.name.to_string(), joined(texts(&m.scope)), l.root.to_string(), joined(texts(&m.state_at))]
        }));
        columns(out, &rows)?;
        self.unread
            .iter()
            .try_for_each(|(name, e)| writeln!(out, "unusable  {}: {}", clean(name), clean(&e.to_string())))
    }

    fn json(&self) -> Value {
        let member = |l: &Listed| {
            let facts = l.bytes.as_ref().and_then(|root| root_facts(root, Some(&l.member.name)).ok());
            json!({
                "member": l.member.name, "scope": l.member.scope, "fingerprint": l.root,
                "rootVersion": facts.map(|f| f.version), "stateAt": texts(&l.member.state_at), "at": l.member.at,
            })
        };
        let unread = |(name, e): &(String, TufError)| json!({"member": name, "problem": e.to_string()});
        json!({
            "organisation": self.organisation,
            "members": self.listed.iter().map(member).collect::<Vec<_>>(),
            "unreadable": self.unread.iter().map(unread).collect::<Vec<_>>(),
        })
    }
}

impl From<MemberError> for CliError {
    fn from(e: MemberError) -> Self {
        match e {
            MemberError::Oversteps { .. } => {
                Self::new(Exit::No, "member.overstep", "an organisation gives a member one name that is its own")
                    .reason(e)
                    .next("name one repository below the organisation's name; who has several takes a collection for each")
            }
            MemberError::Taken { .. } => {
                Self::new(Exit::No, "member.taken", "two members cannot speak for one name")
                    .reason(e)
                    .next("give the member another scope, or the other one: bulla tuf member list")
            }
            MemberError::Absent { .. } => Self::new(Exit::Usage, "member.absent", "there is no such member")
                .reason(e)
                .next("bulla tuf member list shows them"),
            MemberError::Places(_) => Self::usage("these are no places of a member's state")
                .reason(e)
                .next("name repositories, as in registry.example.com/team/app"),
            MemberError::Root(e) => AnchorError::Root(e).into(),
        }
    }
}

impl From<RootError> for CliError {
    fn from(e: RootError) -> Self {
        match e {
            RootError::Anchor(e) => e.into(),
            RootError::Memory(e) => e.into(),
            RootError::Unremembered(ref name) => {
                Self::failed("memory.missing", format!("this installation remembers no state of {name}"))
                    .reason("keys that were taken out of its root could pass for its newest ones")
                    .next("verify a bundle of it here first, or pass --root with the fingerprint that its owner read out to you")
            }
            RootError::Unsound { .. } => {
                Self::new(Exit::No, "state.invalid", "the member's newest root is not listed; nothing was signed")
                    .reason(e)
                    .next("ask its owner what happened; or pass --root with the fingerprint that its owner read out to you")
            }
        }
    }
}
