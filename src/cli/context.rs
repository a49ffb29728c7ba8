//! What a command has at hand: the process around it, and the notes it leaves.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::args::{Global, PasswordArgs};
use super::error::{CliError, Exit};
use super::home::{self, Home};
use super::progress::Progress;
use super::render::Note;
use crate::client::anchors::TrustStore;
use crate::client::installed::{Installed, InstalledLog};
use crate::keys::{KeyFolder, Password, PasswordError, Passwords, Plugins, Prompt};
use crate::store::registry::{Hosts, Notice};
use crate::time::{Clock, FixedClock, TimeError, UnixTime};

/// Most threads; hashing is what they have to do.
const MAX_WORKERS: usize = 8;

/// The process around a command. Nothing in this ring reads the real one.
pub struct Env<'a> {
    /// Environment variables.
    pub vars: BTreeMap<String, String>,
    /// Standard input.
    pub stdin: &'a mut (dyn Read + Send),
    /// Standard output: results.
    pub stdout: &'a mut (dyn Write + Send),
    /// Standard error: progress, notes, errors.
    pub stderr: &'a mut (dyn Write + Send),
    /// Whether standard error is a terminal, on which progress is drawn.
    pub stderr_is_terminal: bool,
    /// Asks for passwords.
    pub prompt: Arc<dyn Prompt>,
    /// The clock, unless `BULLA_DANGEROUS_NOW` stands in for it.
    pub clock: Arc<dyn Clock>,
}

/// What a command works with.
pub(super) struct Context<'c, 'e> {
    env: &'c mut Env<'e>,
    home: Home,
    now: UnixTime,
    clock_is_moved: bool,
    notes: Vec<Note>,
    /// Whether this command runs until it is told to stop.
    serves: bool,
    /// The registries of this command, whose warnings and notices are notes too.
    hosts: Vec<Hosts>,
    /// The password that was read from standard input: it answers for every key of the command.
    password: Option<Password>,
}

impl Env<'_> {
    /// A variable that is set and not empty.
    pub(super) fn var(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }

    /// The time to judge by, and whether `BULLA_DANGEROUS_NOW` says it.
    ///
    /// # Errors
    /// The variable holds no time.
    fn now(&self) -> Result<(UnixTime, bool), CliError> {
        match self.var("BULLA_DANGEROUS_NOW") {
            None => Ok((self.clock.now(), false)),
            Some(text) => match text.parse() {
                Ok(now) => Ok((now, true)),
                Err(e) => {
                    let e: TimeError = e;
                    Err(CliError::usage("BULLA_DANGEROUS_NOW holds no time").reason(e))
                }
            },
        }
    }
}

impl<'c, 'e> Context<'c, 'e> {
    pub(super) fn new(global: &Global, env: &'c mut Env<'e>) -> Result<Self, CliError> {
        let home = Home::find(global.home.as_deref(), env)?;
        let (now, clock_is_moved) = env.now()?;
        let mut cx = Self {
            env,
            home,
            now,
            clock_is_moved,
            notes: Vec::new(),
            serves: false,
            hosts: Vec::new(),
            password: None,
        };
        if clock_is_moved {
            cx.note("clock.override", format!("BULLA_DANGEROUS_NOW is set: judged as of {now}"));
        }
        Ok(cx)
    }

    pub(super) fn into_notes(mut self) -> Vec<Note> {
        for hosts in std::mem::take(&mut self.hosts) {
            self.note_what_they_said(&hosts);
        }
        self.notes
    }

    /// From now on this command runs until it is told to stop.
    pub(super) fn serve(&mut self) {
        self.serves = true;
    }

    /// What registries had to say beside their answers.
    pub(super) fn note_what_they_said(&mut self, hosts: &Hosts) {
        for met in hosts.notices().take() {
            let code = match met {
                Notice::TagTaken { .. } => "copy.fallback-replaced",
            };
            self.note(code, met);
        }
        for warning in hosts.warnings() {
            self.note("registry.warning", format!("{} says: {}", warning.host, warning.text));
        }
    }

    /// The notes so far, for a command that says them as it goes.
    pub(super) fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// Where a command that never ends writes what it came to so far: standard output and standard error.
    pub(super) fn streams(&mut self) -> (&mut dyn Write, &mut dyn Write) {
        (self.env.stdout, self.env.stderr)
    }

    /// Registries that this command talks to.
    pub(super) fn listen_to(&mut self, hosts: &Hosts) {
        self.hosts.push(hosts.clone());
    }

    /// Something worth knowing that changes nothing.
    pub(super) fn note(&mut self, code: &'static str, message: impl ToString) {
        let message = message.to_string();
        // One key may serve several roles, and be opened for each.
        if !self.notes.iter().any(|n| n.code == code && n.message == message) {
            self.notes.push(Note { code, message });
        }
    }

    /// The one time of this command.
    pub(super) fn now(&self) -> UnixTime {
        self.now
    }

    /// The clock, for what takes longer than a moment; one that was set by hand stands still.
    pub(super) fn clock(&self) -> Arc<dyn Clock> {
        match self.clock_is_moved {
            true => Arc::new(FixedClock(self.now)),
            false => Arc::clone(&self.env.clock),
        }
    }

    /// Whether that time was set by hand.
    pub(super) fn clock_is_moved(&self) -> bool {
        self.clock_is_moved
    }

    /// A variable that is set and not empty.
    pub(super) fn var(&self, name: &str) -> Option<&str> {
        self.env.var(name)
    }

    /// Every variable that is set, for a program that is run on the user's behalf.
    pub(super) fn vars(&self) -> &BTreeMap<String, String> {
        &self.env.vars
    }

    /// Standard input.
    pub(super) fn stdin(&mut self) -> &mut (dyn Read + Send) {
        self.env.stdin
    }

    /// The file of anchors and statements.
    pub(super) fn trust(&self) -> TrustStore {
        TrustStore::new(&self.home.trust).under(home::system(self.env))
    }

    /// The folder of remembered states.
    pub(super) fn memory(&self) -> &Path {
        &self.home.memory
    }

    /// The log of what was verified or copied here.
    pub(super) fn installed(&self) -> InstalledLog {
        InstalledLog::new(&self.home.installed)
    }

    /// Log what was verified or copied. The answer stands without it; an audit would miss it.
    pub(super) fn log_installed(&mut self, new: &[Installed]) {
        if let Err(e) = self.installed().add(new) {
            let path = self.installed().path().display().to_string();
            self.note("installed.unwritten", format!("an audit here will not know of it: {path}: {e}"));
        }
    }

    /// Where a long copy says how far it is.
    pub(super) fn progress(&mut self) -> Progress<'_> {
        Progress::new(self.env.stderr, self.env.stderr_is_terminal)
    }

    /// The key folder.
    pub(super) fn keys(&self) -> KeyFolder {
        let plugins = Plugins::from_vars(&self.env.vars);
        // A service has no terminal, and one that was told to stop finishes its round, plugins included.
        let plugins = if self.serves { plugins } else { plugins.at_the_terminal() };
        KeyFolder::new(&self.home.keys).with_plugins(plugins)
    }

    /// Ask a person, with echo.
    ///
    /// # Errors
    /// There is nobody to ask.
    pub(super) fn ask_openly(&self, question: &str) -> Result<String, PasswordError> {
        self.env.prompt.ask_openly(question)?.ok_or(PasswordError::NoSource)
    }

    /// Ask a person, without echo.
    ///
    /// # Errors
    /// There is nobody to ask.
    pub(super) fn ask_secretly(&self, question: &str) -> Result<Password, PasswordError> {
        self.env.prompt.ask(question)?.ok_or(PasswordError::NoSource)
    }

    /// The password sources, in their order.
    pub(super) fn passwords(&mut self, args: PasswordArgs) -> Result<Passwords, CliError> {
        let given = if args.password_stdin {
            if self.password.is_none() {
                self.password = Some(Password::read_line(self.env.stdin).map_err(CliError::password_stdin)?);
            }
            self.password.clone()
        } else if let Some(text) = self.env.var("BULLA_PASSWORD") {
            let password = Password::new(Zeroizing::new(text.to_owned()));
            Some(password.map_err(|e| CliError::password("BULLA_PASSWORD", &e))?)
        } else {
            None
        };
        Ok(Passwords::new(given, Arc::clone(&self.env.prompt)))
    }
}

/// [`block_on`], and then give back what `work` opened at registries and did not use.
///
/// # Errors
/// The system gives no threads.
pub(super) fn block_on_and_tidy<T>(hosts: &Hosts, work: impl Future<Output = T>) -> Result<T, CliError> {
    block_on(async {
        let end = work.await;
        hosts.tidy().await;
        end
    })
}

/// Run what talks to registries.
///
/// # Errors
/// The system gives no threads.
pub(super) fn block_on<T>(work: impl Future<Output = T>) -> Result<T, CliError> {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let workers = cores.clamp(2, MAX_WORKERS);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build();
    let failed = |e| CliError::new(Exit::Fault, "internal", "cannot start threads").reason(e);
    let runtime = runtime.map_err(failed)?;
    Ok(runtime.block_on(work))
}
