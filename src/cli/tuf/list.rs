//! `bulla tuf list`.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::desk::{ReadArgs, row_json};
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::render::{Outcome, clean, columns};
use crate::cli::signing::{pending_json, reason};
use crate::client::commit::Reason;
use crate::client::delegation::{Overview, Row, overview};
use crate::oci::Reference;
use crate::sig::KeyId;
use crate::time::UnixTime;
use crate::tuf::CollectionName;

/// Show what is delegated to whom, and what waits to be admitted and why
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:\n  bulla tuf list registry.example.com/team/app")]
pub(super) struct Args {
    /// Where the state lies: host/repository or oci:DIR
    #[arg(value_name = "REPO")]
    place: Reference,
    #[command(flatten)]
    read: ReadArgs,
}

pub(super) fn run(args: Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    let now = cx.now();
    let (collection, overview) = args.read.at(cx, &args.place, &[], async |found, store| {
        let overview = overview(&found.desk(store)).await?;
        Ok((found.desk.anchor.collection.clone(), overview))
    })?;
    Ok(Box::new(Shown { collection, overview, now }))
}

struct Shown {
    collection: CollectionName,
    overview: Overview,
    now: UnixTime,
}

impl Shown {
    fn cells(&self, row: &Row) -> Vec<String> {
        let keys: Vec<&str> = row.keys.iter().map(KeyId::short).collect();
        let file = match row.file {
            None => "nothing signed yet".to_owned(),
            Some((version, _, expires)) if expires <= self.now => {
                format!("version {version}, EXPIRED {expires}")
            }
            Some((version, _, expires)) => format!("version {version}, expires {expires}"),
        };
        let scope: Vec<&str> = row
            .paths
            .iter()
            .map(|p| {
                p.strip_prefix(&self.collection.to_string()).filter(|rest| !rest.is_empty()).unwrap_or(p)
            })
            .collect();
        let end = if row.terminating { "terminating" } else { "-" };
        vec![
            row.role.to_string(),
            format!("{} of {}", row.threshold, keys.join(" ")),
            scope.join(" "),
            end.to_owned(),
            file,
        ]
    }
}

impl Outcome for Shown {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let head = ["ROLE", "KEYS", "SCOPE", "", "FILE"].map(str::to_owned).to_vec();
        let rows: Vec<Vec<String>> =
            std::iter::once(head).chain(self.overview.rows.iter().map(|r| self.cells(r))).collect();
        columns(out, &rows)?;
        for row in &self.overview.rows {
            if let Some(v) = row.terms.as_ref().and_then(|t| t.vetting.as_ref()) {
                writeln!(
                    out,
                    "vetted    {}  \"{}\" by {}: {}",
                    clean(row.role.as_str()),
                    clean(&v.identity),
                    clean(&v.vetted_by),
                    clean(&v.note)
                )?;
            }
        }
        for p in &self.overview.pending {
            let why = match &p.reason {
                Reason::Invalid(why) => format!(": {why}"),
                _ => String::new(),
            };
            let role = p.role.as_ref().map_or_else(|| "no role".to_owned(), |r| clean(r.as_str()));
            writeln!(
                out,
                "waiting   {}  {role} {}  {}{}",
                clean(p.tag.as_str()),
                p.version,
                reason(p),
                clean(&why)
            )?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        json!({
            "collection": self.collection,
            "delegations": self.overview.rows.iter().map(row_json).collect::<Vec<_>>(),
            "pending": pending_json(&self.overview.pending),
        })
    }
}
