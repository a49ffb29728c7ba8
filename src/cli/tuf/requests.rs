//! `bulla tuf requests`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::desk::ReadArgs;
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::render::{Outcome, clean};
use crate::client::delegation;
use crate::client::requests::{Answer, Listing, list};
use crate::oci::Reference;
use crate::tuf::request::{MAX_BYTES, Request, id};

/// List the requests for a delegation: verified or why not, open or answered
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  bulla tuf requests registry.example.com/team/app\n  bulla tuf requests ./anna.request"
)]
pub(super) struct Args {
    /// Where the state lies, or the file of one request (contains a slash and exists, or ends in .request)
    #[arg(value_name = "REPO|FILE")]
    place: String,
    #[command(flatten)]
    read: ReadArgs,
}

pub(super) fn run(args: Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    if let Some(path) = as_file(&args.place) {
        let document = read_file(&path)?;
        let request = Request::read(&document)?;
        return Ok(Box::new(One { id: id(&document), request, path }));
    }
    let place: Reference = args.place.parse().map_err(|e| CliError::usage(format!("{}: {e}", args.place)))?;
    let listing = args.read.at(cx, &place, &[], async |found, store| {
        let seen = delegation::read(&found.desk(store)).await?;
        Ok(list(store, &found.desk.anchor.collection, Some(&seen.whole)).await?)
    })?;
    Ok(Box::new(Shown(listing)))
}

/// A request as a file: the form decides, and for other forms whether it is one.
pub(super) fn as_file(text: &str) -> Option<PathBuf> {
    let path = Path::new(text);
    let named = text.ends_with(".request") || text.starts_with(['/', '.']);
    (named && !text.starts_with("oci")).then(|| path.to_owned())
}

/// A request's document, no larger than one may be.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, CliError> {
    use std::io::Read as _;
    let failed = |e: io::Error| CliError::io("read", path, e);
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut document = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut document).map_err(failed)?;
    Ok(document)
}

struct One {
    id: String,
    request: Request,
    path: PathBuf,
}

struct Shown(Listing);

fn lines(out: &mut dyn Write, id: &str, r: &Request) -> io::Result<()> {
    let paths: Vec<String> = r.paths.iter().map(ToString::to_string).collect();
    writeln!(out, "          \"{}\", {}", clean(&r.identity), r.at)?;
    writeln!(out, "          wants {}", paths.join("  "))?;
    writeln!(out, "          key {}", r.key.key_id())?;
    writeln!(out, "          hash {id}")
}

fn request_json(id: &str, r: &Request) -> Value {
    json!({
        "request": id,
        "collection": r.collection,
        "identity": r.identity,
        "keyId": r.key.key_id(),
        "publicKey": r.key.to_pem(),
        "paths": r.paths.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "at": r.at,
    })
}

impl Outcome for One {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "proven    {}   for {}", self.path.display(), self.request.collection)?;
        lines(out, &self.id, &self.request)
    }

    fn json(&self) -> Value {
        let mut one = request_json(&self.id, &self.request);
        one["status"] = json!("proven");
        json!({"requests": [one], "more": 0})
    }
}

impl Outcome for Shown {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for listed in &self.0.requests {
            let (id, request) = match &listed.request {
                Ok((id, request)) => (id, request),
                Err(why) => {
                    writeln!(out, "invalid   {}   {}", clean(listed.tag.as_str()), clean(why))?;
                    continue;
                }
            };
            match &listed.answer {
                Answer::Open => writeln!(out, "open      {}", listed.tag)?,
                Answer::Granted(role) => {
                    writeln!(out, "granted   {}   as {}", listed.tag, clean(role.as_str()))?
                }
                Answer::Denied(d) => {
                    let by = d.by.short();
                    writeln!(out, "denied    {}   {} by {by}: {}", listed.tag, d.at, clean(&d.reason))?;
                }
            }
            lines(out, id, request)?;
        }
        if self.0.requests.is_empty() {
            writeln!(out, "no requests")?;
        }
        if self.0.more > 0 {
            writeln!(out, "{} more are not looked at; delete what nobody needs", self.0.more)?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let one = |l: &crate::client::requests::Listed| {
            let mut one = match &l.request {
                Ok((id, request)) => request_json(id, request),
                Err(why) => json!({"status": "invalid", "why": why}),
            };
            one["tag"] = json!(l.tag);
            if l.request.is_ok() {
                match &l.answer {
                    Answer::Open => one["status"] = json!("open"),
                    Answer::Granted(role) => {
                        one["status"] = json!("granted");
                        one["role"] = json!(role);
                    }
                    Answer::Denied(d) => {
                        one["status"] = json!("denied");
                        one["denial"] = json!({"at": d.at, "by": d.by, "reason": d.reason});
                    }
                }
            }
            one
        };
        json!({"requests": self.0.requests.iter().map(one).collect::<Vec<_>>(), "more": self.0.more})
    }
}
