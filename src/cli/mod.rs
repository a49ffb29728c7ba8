//! Ring 6: the command line. Arguments become a call into a lower ring, and its outcome text or JSON and an exit code.
//!
//! [`run`] takes everything from its arguments: tests call it in their own process, as often as they like.

mod args;
mod attach;
mod audit;
mod completion;
mod context;
mod copy;
mod error;
mod home;
mod in_toto;
mod init;
mod inspect;
mod key;
mod lines;
mod login;
mod logout;
mod man;
mod process;
mod progress;
mod publish;
mod registry;
mod render;
mod renew;
mod revoke;
mod sign;
mod signing;
mod status;
mod stop;
mod tree;
mod trust;
mod tuf;
mod verify;

pub use context::Env;
pub use process::run_process;

use std::ffi::OsString;
use std::io::ErrorKind;

use clap::{CommandFactory as _, FromArgMatches as _};

use args::{Cli, Command, Format, FormatWord};
use context::Context;
use error::{CliError, Exit};
use render::{Document, Outcome};

/// Run one command: `args` with the program's name first. Returns the exit code (docs/commands/README.md, "Exit codes").
pub fn run(args: impl IntoIterator<Item = OsString>, env: &mut Env<'_>) -> u8 {
    let args: Vec<OsString> = args.into_iter().collect();
    let (exit, written) = finish(&args, env);
    let exit = match written {
        Ok(()) => exit,
        // Nobody listens any more: no fault of ours, and no reason to answer anything else.
        Err(e) if e.kind() == ErrorKind::BrokenPipe => exit,
        Err(_) => exit.max(Exit::Failed),
    };
    exit as u8
}

/// The command tree, for help, completions, manual pages and the tests that compare them with what is documented.
pub fn command() -> clap::Command {
    Cli::command()
}

/// The exit code, whether or not the answer could be written.
fn finish(args: &[OsString], env: &mut Env<'_>) -> (Exit, std::io::Result<()>) {
    let parsed = command()
        .try_get_matches_from(args)
        .and_then(|matches| Cli::from_arg_matches(&matches).map(|cli| (cli, name_of(&matches))));
    let (cli, name) = match parsed {
        Ok(parsed) => parsed,
        Err(e) => return not_parsed(&e, args, env),
    };
    let format = match FormatWord::output(&cli.global.format) {
        Some(format) => format,
        // The words of the command's own --format hide one before the command.
        None if asks_for_json(args) => Format::Json,
        None => Format::Text,
    };
    let (result, notes) = match Context::new(&cli.global, env) {
        Ok(mut cx) => {
            let result = dispatch(cli.command, format, &mut cx);
            (result, cx.into_notes())
        }
        Err(e) => (Err(e), Vec::new()),
    };
    let document = Document { command: &name, result: &result, notes: &notes };
    let written = match format {
        Format::Text => render::text(&document, env),
        Format::Json => render::json(&document, env.stdout),
    };
    (document.exit(), written.and_then(|()| env.stdout.flush()))
}

fn dispatch(
    command: Command,
    format: Format,
    cx: &mut Context<'_, '_>,
) -> Result<Box<dyn Outcome>, CliError> {
    match command {
        Command::Init(args) => init::run(args, cx),
        Command::Publish(args) => publish::run(args, cx),
        Command::Renew(args) => renew::run(args, format, cx),
        Command::Revoke(args) => revoke::run(args, cx),
        Command::Sign(args) => sign::run(args, cx),
        Command::Attest(args) => sign::attest(args, cx),
        Command::Attach(args) => attach::run(args, cx),
        Command::Verify(args) => verify::run(args, cx),
        Command::Status(args) => status::run(args, cx),
        Command::Copy(args) => copy::run(args, cx),
        Command::Audit(args) => audit::run(args, cx),
        Command::Tree(args) => tree::run(args, cx),
        Command::Inspect(args) => inspect::run(args, format, cx),
        Command::Trust(args) => trust::run(args, cx),
        Command::Tuf(args) => tuf::run(args, cx),
        Command::InToto(args) => in_toto::run(args, cx),
        Command::Key(args) => key::run(args, cx),
        Command::Login(args) => login::run(args, cx),
        Command::Logout(args) => logout::run(args, cx),
        Command::Completion(args) => completion::run(&args),
        Command::Man(args) => man::run(&args),
    }
}

/// Help and version are answers; everything else that clap says is a usage error.
fn not_parsed(e: &clap::Error, args: &[OsString], env: &mut Env<'_>) -> (Exit, std::io::Result<()>) {
    use clap::error::ErrorKind::{DisplayHelp, DisplayVersion};
    let text = e.render().to_string();
    if matches!(e.kind(), DisplayHelp | DisplayVersion) {
        let written = env.stdout.write_all(text.as_bytes());
        return (Exit::Done, written.and_then(|()| env.stdout.flush()));
    }
    let written = if asks_for_json(args) {
        let result = Err(CliError::from_clap(&text));
        let name = args.get(1).and_then(|a| a.to_str()).filter(|a| !a.starts_with('-')).unwrap_or("");
        let document = Document { command: name, result: &result, notes: &[] };
        render::json(&document, env.stdout).and_then(|()| env.stdout.flush())
    } else {
        env.stderr.write_all(text.as_bytes())
    };
    (Exit::Usage, written)
}

/// Whether the output was meant to be JSON, of arguments that do not parse.
fn asks_for_json(args: &[OsString]) -> bool {
    let pair = args.windows(2).any(|w| w[0] == "--format" && w[1] == "json");
    pair || args.iter().any(|a| a == "--format=json")
}

/// The words of the subcommand: `key generate`.
fn name_of(matches: &clap::ArgMatches) -> String {
    let mut words = Vec::new();
    let mut at = matches;
    while let Some((word, deeper)) = at.subcommand() {
        words.push(word);
        at = deeper;
    }
    words.join(" ")
}
