//! `bulla tuf deny`.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::desk::SignArgs;
use super::requests::{as_file, read_file};
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::render::{Outcome, clean};
use crate::client::delegation;
use crate::client::requests::{deny, find, read};
use crate::oci::{Reference, Tag};
use crate::tuf::grant::check_text;

/// Deny a request, with a reason that the asker sees
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Example:\n  bulla tuf deny registry.example.com/team/app 7b0c92e1 --reason 'nobody in team web knows this key'"
)]
pub(super) struct Args {
    /// Where the state lies: host/repository or oci:DIR
    #[arg(value_name = "REPO")]
    place: Reference,
    /// The request: at least 8 digits of its hash, or its file
    #[arg(value_name = "REQUEST")]
    request: String,
    /// Why, for the asker
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    sign: SignArgs,
}

pub(super) fn run(args: Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    check_text("--reason", &args.reason)?;
    let document = as_file(&args.request).map(|path| read_file(&path)).transpose()?;
    let done = args.sign.at(cx, &args.place, async |found, store| {
        let collection = &found.desk.anchor.collection;
        let (id, request) = match &document {
            Some(document) => read(collection, document)?,
            None => find(store, collection, &args.request).await?,
        };
        let seen = delegation::read(&found.desk(store)).await?;
        let now = found.clock.now();
        let tag = deny(store, collection, &seen.whole, &id, &args.reason, &found.desk.ring, now).await?;
        Ok(Denied { id, identity: request.identity, reason: args.reason.clone(), tag })
    })?;
    Ok(Box::new(done))
}

struct Denied {
    id: String,
    identity: String,
    reason: String,
    tag: Option<Tag>,
}

impl Outcome for Denied {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let tag = self.tag.as_ref().map(Tag::as_str).unwrap_or_default();
        writeln!(out, "denied    {tag}   \"{}\": {}", clean(&self.identity), clean(&self.reason))
    }

    fn json(&self) -> Value {
        json!({"request": self.id, "identity": self.identity, "reason": self.reason, "tag": self.tag})
    }
}
