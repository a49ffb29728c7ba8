//! `bulla tuf request`.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::{Value, json};

use super::desk::ReadArgs;
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::render::{Outcome, clean};
use crate::client::requests::{push_request, sign_request};
use crate::client::signing::KeyRing as _;
use crate::keys::KeyRef;
use crate::oci::{Reference, Tag};
use crate::tuf::grant::{GrantError, check_text};
use crate::tuf::request::{Request, id};

/// Ask for a delegation: your public key, who you are, what you want to sign, and proof that you hold the key
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  bulla tuf request registry.example.com/team/app --key anna --paths 'dev-*' --name 'Anna Beispiel, team web'\n  bulla tuf request registry.example.com/team/app --key anna --paths 'dev-*' --name Anna --output anna.request"
)]
pub(super) struct Args {
    /// Where the state lies: host/repository or oci:DIR
    #[arg(value_name = "REPO")]
    place: Reference,
    /// The key that you want to sign with: a name in the key folder or a PEM file
    #[arg(long, value_name = "KEY")]
    key: KeyRef,
    /// What you want to speak for: tags as in 'dev-*', @sha256:*, or the collection's name for all of it (can be repeated)
    #[arg(long, value_name = "PATTERN", required = true, num_args = 1..)]
    paths: Vec<String>,
    /// Who you are, for the person who vets you
    #[arg(long, value_name = "TEXT")]
    name: String,
    /// Write the request to FILE, which must not exist, instead of pushing it
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    read: ReadArgs,
}

pub(super) fn run(args: Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    check_text("--name", &args.name)?;
    let public = super::desk::public_key(cx, &args.key)?;
    let key = args.key.clone();
    let asked = args.read.at(cx, &args.place, std::slice::from_ref(&key), async |found, store| {
        let collection = found.desk.anchor.collection.clone();
        let paths = args.paths.iter().map(|p| collection.scope(p)).collect::<Result<Vec<_>, GrantError>>()?;
        let paths = paths.into_iter().flatten().collect();
        let request = Request {
            collection: collection.clone(),
            identity: args.name,
            key: public,
            paths,
            at: found.clock.now(),
        };
        let signer = found.desk.ring.signer(&request.key).await?;
        let document = sign_request(&request, &*signer).await?;
        // What nobody would read is not sent.
        Request::read(&document)?;
        let at = match &args.output {
            Some(path) => {
                let mut file = File::create_new(path).map_err(|e| CliError::io("write", path, e))?;
                file.write_all(&document)
                    .and_then(|()| file.sync_all())
                    .map_err(|e| CliError::io("write", path, e))?;
                At::File(path.clone())
            }
            None => At::Tag(push_request(store, &collection, &document).await?),
        };
        Ok(Asked { id: id(&document), request, at })
    })?;
    Ok(Box::new(asked))
}

enum At {
    Tag(Option<Tag>),
    File(PathBuf),
}

struct Asked {
    id: String,
    request: Request,
    at: At,
}

impl Asked {
    fn place(&self) -> String {
        match &self.at {
            At::Tag(tag) => tag.as_ref().map(ToString::to_string).unwrap_or_default(),
            At::File(path) => path.display().to_string(),
        }
    }
}

impl Outcome for Asked {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let paths: Vec<String> = self.request.paths.iter().map(ToString::to_string).collect();
        writeln!(out, "requested  {}", paths.join("  "))?;
        writeln!(out, "           {}", clean(&self.place()))?;
        writeln!(out, "           key {}", self.request.key.key_id())?;
        writeln!(out, "           tell whoever vets you this hash by a way of your own: {}", self.id)
    }

    fn json(&self) -> Value {
        let place = match &self.at {
            At::Tag(tag) => json!({"tag": tag}),
            At::File(path) => json!({"file": path.to_string_lossy()}),
        };
        json!({
            "request": self.id,
            "keyId": self.request.key.key_id(),
            "paths": self.request.paths.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "at": self.request.at,
            "place": place,
        })
    }
}
