//! The command tree: what can be typed. Each command's own flags are in its file.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::{
    audit, completion, copy, init, inspect, key, login, logout, man, publish, renew, revoke, status, tree,
    trust, tuf, verify,
};

/// Sign OCI bundles so that trust travels with them
///
/// TUF metadata, in-toto links and signatures hang on a bundle as OCI artifacts; a copy in another registry or in
/// an OCI layout on a stick still verifies.
#[derive(Debug, Parser)]
#[command(
    name = "bulla",
    version,
    term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(disable_help_subcommand = true)]
#[command(
    after_help = "Exit codes: 0 done, trusted; 1 no; 2 wrong command line; 3 could not decide or not done; 4 a fault in bulla"
)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Flags of every command.
#[derive(Debug, Clone, Args)]
pub(super) struct Global {
    /// Keep configuration, keys, memory and trust in DIR (also BULLA_HOME)
    #[arg(long, value_name = "DIR", global = true, help_heading = "Everywhere")]
    pub(super) home: Option<PathBuf>,
    /// How the result is printed
    #[arg(long, value_name = "FORMAT", global = true, default_value = "text", help_heading = "Everywhere")]
    pub(super) format: Format,
}

/// How a result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Text,
    /// One JSON document, on failure too
    Json,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Init(init::Args),
    Publish(publish::Args),
    Renew(renew::Args),
    Revoke(revoke::Args),
    Verify(verify::Args),
    Status(status::Args),
    Copy(copy::Args),
    Audit(audit::Args),
    Tree(tree::Args),
    Inspect(inspect::Args),
    Trust(trust::Args),
    Tuf(tuf::Args),
    Key(key::Args),
    Login(login::Args),
    Logout(logout::Args),
    Completion(completion::Args),
    Man(man::Args),
}

/// Where a key's password comes from.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct PasswordArgs {
    /// Read the password from standard input, up to the first line end (else BULLA_PASSWORD, else a prompt)
    #[arg(long)]
    pub(super) password_stdin: bool,
}
