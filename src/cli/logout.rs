//! `bulla logout`: forget what `bulla login` has kept.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::context::{Context, block_on};
use super::error::CliError;
use super::login::{place, place_json};
use super::registry::credential_sources;
use super::render::Outcome;
use crate::store::StoreError;
use crate::store::registry::{Kept, LoginScope};

/// Forget the credentials of a registry
///
/// They are taken out of the file, or away from the helper, where `bulla login` would keep them now.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:\n  bulla logout registry.example.com")]
pub(super) struct Args {
    /// The registry, or a path on it, as it was given to login
    #[arg(value_name = "HOST[/PATH]")]
    registry: LoginScope,
}

pub(super) fn run(args: Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    let (sources, scope) = (credential_sources(cx), &args.registry);
    let failed = |what: &'static str| move |f| CliError::from(StoreError::new(scope, what, f));
    let (removed, elsewhere) = block_on(async {
        let removed = sources.forget(scope).await.map_err(failed("forget the login"))?;
        let elsewhere = sources.knows(scope).await.map_err(failed("look for other logins"))?;
        Ok::<_, CliError>((removed, elsewhere))
    })??;
    if elsewhere {
        cx.note(
            "login.elsewhere",
            format!("another entry or file still holds a login that is used for {scope}"),
        );
    }
    Ok(Box::new(LoggedOut { at: scope.to_string(), removed, elsewhere }))
}

struct LoggedOut {
    at: String,
    removed: Option<Kept>,
    elsewhere: bool,
}

impl Outcome for LoggedOut {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        match &self.removed {
            Some(kept) => {
                writeln!(out, "logged out  {}", self.at)?;
                writeln!(out, "removed     from {}", place(kept))
            }
            None => writeln!(out, "no login    {}", self.at),
        }
    }

    fn json(&self) -> Value {
        let removed = self.removed.as_ref().map(place_json);
        json!({"registry": self.at, "removed": removed, "elsewhere": self.elsewhere})
    }
}
