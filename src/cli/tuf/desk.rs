//! What the subcommands share: the collection of a place, its state, the keys at hand.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::cli::context::{Context, block_on_and_tidy};
use crate::cli::error::{CliError, Exit};
use crate::cli::registry::{KeyedRegistryArgs, RegistryArgs};
use crate::cli::signing::{self, SigningArgs, state_place};
use crate::client::ceremony::Desk;
use crate::client::delegation::Row;
use crate::client::places::Places as _;
use crate::client::requests::AnswerError;
use crate::client::stores::Stores;
use crate::keys::{self, KeyRef};
use crate::oci::Reference;
use crate::sig::PublicKey;
use crate::store::Manage;
use crate::time::Clock;
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
            collection: &self.desk.anchor.collection,
            anchor: self.desk.anchor.root.bytes(),
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
                    .next("bulla tuf requests lists what lies there; name one by its hash, or give its file")
            }
            AnswerError::Invalid(..) => {
                Self::new(Exit::No, "request.invalid", "this is no request that can be answered").reason(e)
            }
            AnswerError::Sign(e) => e.into(),
            AnswerError::Store(e) => e.into(),
        }
    }
}
