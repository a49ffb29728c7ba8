//! The real process: the only place that reads its arguments, variables, streams and clock.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;

use super::{Env, run};
use crate::keys::TerminalPrompt;
use crate::time::SystemClock;

/// Run the command of this process. Returns its exit code; a panic in whatever thread ends the process with code 4.
pub fn run_process() -> u8 {
    std::panic::set_hook(Box::new(report));
    // Undecodable variables are none of ours.
    let vars = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    let mut env = Env {
        vars: vars.collect(),
        stdin: &mut std::io::stdin(),
        stdout: &mut std::io::stdout(),
        stderr: &mut std::io::stderr(),
        stderr_is_terminal: std::io::stderr().is_terminal(),
        prompt: Arc::new(TerminalPrompt),
        clock: Arc::new(SystemClock),
    };
    run(std::env::args_os(), &mut env)
}

/// A panic is a fault of bulla, and said as one.
#[allow(clippy::exit)]
fn report(fault: &std::panic::PanicHookInfo<'_>) {
    // Not eprintln: it panics itself when nobody listens.
    let _ = writeln!(
        std::io::stderr(),
        "error: a fault inside bulla {}\n  reason: {fault}\n  next: please report it, with the command that led to it",
        env!("CARGO_PKG_VERSION")
    );
    std::process::exit(4);
}
