//! `bulla login`: credentials of a registry, checked and kept where docker and podman look for theirs.

use std::io::{self, Write};

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::context::{Context, block_on};
use super::error::CliError;
use super::registry::{ReachArgs, credential_sources};
use super::render::{Outcome, clean};
use crate::keys::{Password, PasswordError};
use crate::store::registry::{Hosts, Kept, Login, LoginScope, RegistryConfig};
use crate::store::{Failure, StoreError};

/// Log in to a registry: check user and password, and keep them for later commands
///
/// They are kept where podman and docker keep theirs: in the file that REGISTRY_AUTH_FILE or DOCKER_CONFIG names, else in
/// the first of their files that exists, or with the credential helper that this file names.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  bulla login registry.example.com\n  bulla login registry.example.com --username ci --password-stdin < password\n  bulla login registry.example.com/team --username team-bot"
)]
pub(super) struct Args {
    /// The registry, as in references: HOST[:PORT]; with /PATH for what lies below that path
    #[arg(value_name = "HOST[/PATH]")]
    registry: LoginScope,
    /// User name; asked for if it is not given
    #[arg(long, value_name = "NAME")]
    username: Option<String>,
    /// Read the password from standard input, up to the first line end; otherwise it is asked for
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    reach: ReachArgs,
}

pub(super) fn run(args: Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    let at = args.registry.to_string();
    let user = match args.username {
        Some(user) => user,
        None => cx.ask_openly(&format!("user name at {at}: ")).map_err(|e| unasked(&at, "user name", &e))?,
    };
    if user.is_empty() || user.contains(':') || user.chars().any(char::is_control) {
        return Err(CliError::usage("that is no user name")
            .reason("it is empty, or holds a colon or a control character (RFC 7617)"));
    }
    let password = match args.password_stdin {
        true => Password::read_line(cx.stdin()),
        false => cx.ask_secretly(&format!("password of {} at {at}: ", clean(&user))),
    };
    let password = password.map_err(|e| unasked(&at, "password", &e))?;
    let secret = Zeroizing::new(password.expose().to_owned());
    let login = Login { host: Some(args.registry.host().to_owned()), user: user.clone(), secret };
    let hosts = Hosts::new(RegistryConfig { login: Some(login), ..args.reach.config() });
    cx.listen_to(&hosts);
    let sources = credential_sources(cx);
    let scope = &args.registry;
    let (checked, kept) = block_on(async {
        let checked = hosts.accepts(scope).await.map_err(|e| refused(scope, e))?;
        let kept = sources.keep(scope, &user, password.expose()).await;
        Ok::<_, CliError>((
            checked,
            kept.map_err(|f| CliError::from(StoreError::new(scope, "keep the login", f)))?,
        ))
    })??;
    if !checked {
        cx.note(
            "login.unchecked",
            format!("{at} did not ask who you are: user and password could not be checked"),
        );
    }
    Ok(Box::new(LoggedIn { at, user, checked, kept }))
}

/// The registry says no, or nothing; the login is not kept then.
fn refused(scope: &LoginScope, e: StoreError) -> CliError {
    let says_no = matches!(e.failure, Failure::Unauthorized(_) | Failure::Denied(_));
    let error = CliError::from(e);
    match says_no {
        true => error.next(format!("check user name and password of {scope}; nothing was stored")),
        false => error,
    }
}

fn unasked(at: &str, what: &str, e: &PasswordError) -> CliError {
    let flags = if what == "password" { "pass --password-stdin" } else { "pass --username NAME" };
    CliError::failed("registry.password", format!("no {what} to log in with at {at}")).reason(e).next(flags)
}

struct LoggedIn {
    at: String,
    user: String,
    checked: bool,
    kept: Kept,
}

/// Where credentials lie.
pub(super) fn place(kept: &Kept) -> String {
    match kept {
        Kept::File(file) => clean(&file.display().to_string()),
        Kept::Helper { program, file } => {
            format!("{}, which {} names", clean(program), clean(&file.display().to_string()))
        }
    }
}

/// The same as JSON.
pub(super) fn place_json(kept: &Kept) -> Value {
    match kept {
        Kept::File(file) => json!({"file": file.display().to_string(), "helper": null}),
        Kept::Helper { program, file } => json!({"file": file.display().to_string(), "helper": program}),
    }
}

impl Outcome for LoggedIn {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "logged in  {}  as {}", self.at, clean(&self.user))?;
        let how = match self.kept {
            Kept::File(_) => "  (only you may read it; it is not encrypted)",
            Kept::Helper { .. } => "",
        };
        writeln!(out, "kept       {}{how}", place(&self.kept))
    }

    fn json(&self) -> Value {
        json!({"registry": self.at, "username": self.user, "checked": self.checked, "kept": place_json(&self.kept)})
    }
}
