//! What the subcommands share: the collection of a place, its state, the keys at hand; and how a change is told.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::cli::context::{Context, block_on_and_tidy};
use crate::cli::error::{CliError, Exit};
use crate::cli::registry::{KeyedRegistryArgs, RegistryArgs};
use crate::cli::render::{Outcome, clean};
use crate::cli::signing::{self, SigningArgs, pending_json, reason, state_place};
use crate::client::delegation::{Changed, Desk, Edit, Row, change};
use crate::client::places::Places as _;
use crate::client::requests::AnswerError;
use crate::client::stores::Stores;
use crate::keys::{self, KeyRef};
use crate::oci::Reference;
use crate::sig::PublicKey;
use crate::store::Manage;
use crate::time::Clock;
use crate::tuf::RoleName;
use crate::tuf::request::RequestError;

/// Where the collection is, for subcommands that sign.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct SignArgs {
    /// The targets key, when it is not in the key folder
    #[arg(long, value_name = "KEY")]
    targets_key: Option<KeyRef>,
    #[command(flatten)]
    signing: SigningArgs,
    #[command(flatten)]
    registry: KeyedRegistryArgs,
}

/// And for those that only read.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ReadArgs {
    /// The collection, where several are anchored
    #[arg(long = "as", value_name = "NAME")]
    named: Option<crate::tuf::CollectionName>,
    /// Use and update the memory in FILE besides the one in the home
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
    #[command(flatten)]
    registry: KeyedRegistryArgs,
}

/// A collection that was found, and what is at hand.
pub(super) struct Found {
    pub(super) desk: signing::Desk,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) places: Stores,
}

impl Found {
    pub(super) fn desk<'a>(&'a self, store: &'a dyn Manage) -> Desk<'a> {
        Desk {
            collection: self.desk.anchor.collection.clone(),
            anchor: self.desk.anchor.root.bytes().clone(),
            store,
            memories: &self.desk.memories,
            without_memory: self.desk.without_memory,
            keys: &self.desk.ring,
            clock: &*self.clock,
        }
    }
}

/// Run `work` at the place of a collection's state.
pub(super) fn at<T>(
    cx: &mut Context<'_, '_>,
    place: &Reference,
    signing: &SigningArgs,
    registry: &RegistryArgs,
    more: &[KeyRef],
    work: impl AsyncFnOnce(&Found, &dyn Manage) -> Result<T, CliError>,
) -> Result<T, CliError> {
    if place.selector().is_some() {
        return Err(CliError::usage(format!("{place} names a bundle"))
            .next("write the repository or OCI layout alone, without tag and digest"));
    }
    let desk = signing.desk(cx, registry, place, more)?;
    let places = registry.places(cx, &[place])?;
    let found = Found { desk, clock: cx.clock(), places };
    let done = block_on_and_tidy(found.places.hosts(), async {
        let own = found.places.open(place).await?;
        let store = state_place(&found.places, &own, &found.desk.anchor).await?;
        work(&found, &*store).await
    });
    found.desk.ring.note_warnings(cx);
    done?
}

impl SignArgs {
    /// How registries are reached.
    pub(super) fn registry(&self) -> RegistryArgs {
        self.registry.clone().registry()
    }

    pub(super) fn at<T>(
        self,
        cx: &mut Context<'_, '_>,
        place: &Reference,
        work: impl AsyncFnOnce(&Found, &dyn Manage) -> Result<T, CliError>,
    ) -> Result<T, CliError> {
        let more: Vec<KeyRef> = self.targets_key.iter().cloned().collect();
        at(cx, place, &self.signing, &self.registry.registry(), &more, work)
    }
}

impl ReadArgs {
    pub(super) fn at<T>(
        self,
        cx: &mut Context<'_, '_>,
        place: &Reference,
        more: &[KeyRef],
        work: impl AsyncFnOnce(&Found, &dyn Manage) -> Result<T, CliError>,
    ) -> Result<T, CliError> {
        let signing = SigningArgs::reading(self.named, self.lock);
        at(cx, place, &signing, &self.registry.registry(), more, work)
    }
}

/// The public half of a key; a password is asked for only where it must be.
pub(super) fn public_key(cx: &mut Context<'_, '_>, key: &KeyRef) -> Result<PublicKey, CliError> {
    let entry = cx.keys().look(key)?;
    if let Some(public) = entry.public {
        return Ok(public);
    }
    let passwords = cx.passwords(crate::cli::args::PasswordArgs { password_stdin: false })?;
    let opened = keys::open(key, &cx.keys(), &passwords)?;
    opened.warnings.iter().for_each(|w| cx.note(w.code(), w));
    Ok(opened.signer.public_key().clone())
}

/// Make a change, and tell how it ended.
pub(super) async fn changed(
    found: &Found,
    store: &dyn Manage,
    by: &RoleName,
    edit: Edit,
) -> Result<Done, CliError> {
    let verb = match edit {
        Edit::Grant(_) => "delegated",
        Edit::TakeBack(_) => "taken back",
    };
    let role = match &edit {
        Edit::Grant(grant) => grant.role.clone(),
        Edit::TakeBack(role) => role.clone(),
    };
    let paths = match &edit {
        Edit::Grant(grant) => grant.paths.iter().map(ToString::to_string).collect(),
        Edit::TakeBack(_) => Vec::new(),
    };
    let changed = change(&found.desk(store), by, edit).await?;
    Ok(Done { verb, role, paths, changed })
}

/// A change that was made.
pub(super) struct Done {
    verb: &'static str,
    role: RoleName,
    paths: Vec<String>,
    changed: Changed,
}

impl Outcome for Done {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let c = &self.changed;
        let verb = if c.committed { self.verb } else { "submitted" };
        let line = format!("{verb:<10} {}   {}", clean(self.role.as_str()), clean(&self.paths.join("  ")));
        writeln!(out, "{}", line.trim_end())?;
        let version = c.version.map_or_else(String::new, |v| format!(" {v}"));
        match c.committed {
            true => writeln!(out, "           {}{version} says so now", c.by)?,
            false => {
                for tag in &c.submitted {
                    writeln!(out, "           waits at {tag} for bulla renew by who holds the online key")?;
                }
            }
        }
        for p in &c.pending {
            writeln!(out, "pending    {}  {}", clean(p.tag.as_str()), reason(p))?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let c = &self.changed;
        json!({
            "status": if c.committed { "committed" } else { "submitted" },
            "role": self.role,
            "by": c.by,
            "paths": self.paths,
            "version": c.version,
            "submitted": c.submitted,
            "pending": pending_json(&c.pending),
        })
    }
}

/// A delegation, for machines.
pub(super) fn row_json(row: &Row) -> Value {
    json!({
        "role": row.role,
        "by": row.by,
        "keys": row.keys,
        "threshold": row.threshold,
        "paths": row.paths,
        "terminating": row.terminating,
        "terms": row.terms,
        "version": row.file.map(|(version, ..)| version),
        "signed": row.file.map(|(_, at, _)| at),
        "expires": row.file.map(|(.., expires)| expires),
        "entries": row.entries,
    })
}

impl From<RequestError> for CliError {
    fn from(e: RequestError) -> Self {
        Self::new(Exit::No, "request.invalid", "this is no request that can be answered")
            .reason(e)
            .next("let the asker make it again: bulla tuf request")
    }
}

impl From<AnswerError> for CliError {
    fn from(e: AnswerError) -> Self {
        match e {
            AnswerError::Absent(_) | AnswerError::Ambiguous(..) => {
                Self::failed("request.absent", "there is no such request")
                    .reason(e)
                    .next("bulla tuf requests lists what lies there; name one by at least 8 digits of its hash, or give its file")
            }
            AnswerError::Invalid(..) => {
                Self::new(Exit::No, "request.invalid", "this is no request that can be answered").reason(e)
            }
            AnswerError::Sign(e) => e.into(),
            AnswerError::Store(e) => e.into(),
        }
    }
}
