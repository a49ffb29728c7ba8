//! Running a plugin: found once, by its absolute path; started without a shell; ended when it takes too long or says too much.

use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use super::{KmsFault, KmsRef};
use crate::sig::json;

/// Version of the protocol, the first argument.
pub(super) const PROTOCOL: &str = "v1";
/// How long a plugin may take: somebody may have to touch a token.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How long its streams are read after its end: programs that it started may hold them open for ever.
const LINGER: Duration = Duration::from_millis(250);
/// How long the end of a plugin that was killed is waited for.
const REAPED: Duration = Duration::from_secs(2);
/// Longest answer: the largest is the public key of an RSA key of 8192 bits, some 2 KiB.
const MAX_ANSWER: usize = 64 * 1024;
/// Bytes of standard error that are read, and that are shown.
const MAX_ERRORS: usize = 1024 * 1024;
const SHOWN: usize = 400;
/// Shortest secret that is looked for in what a plugin says: shorter ones are found everywhere.
const SHORTEST_SECRET: usize = 6;
/// Times that a program which is just being installed is tried.
const BUSY: u32 = 20;

/// Variables that every program needs and that hold no secret.
const COMMON: &[&str] = &[
    "ALL_PROXY",
    "HOME",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "LANG",
    "LC_ALL",
    "LOGNAME",
    "NO_PROXY",
    "PATH",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TMPDIR",
    "TZ",
    "USER",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_RUNTIME_DIR",
    "all_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];
/// What the variables of the known services begin with, beside the plugin's own name.
const SERVICES: &[(&str, &[&str])] = &[
    ("awskms", &["AWS_"]),
    ("azurekms", &["AZURE_", "IDENTITY_", "MSI_"]),
    ("gcpkms", &["CLOUDSDK_", "GOOGLE_"]),
    ("hashivault", &["TRANSIT_", "VAULT_"]),
];
/// Names further variables for plugins, separated by commas.
const MORE: &str = "BULLA_KMS_ENV";

/// Where plugins are looked for, and the environment out of which each gets what it needs.
#[derive(Clone, PartialEq, Eq)]
pub struct Plugins {
    vars: BTreeMap<String, String>,
    timeout: Duration,
    /// In a process group of their own.
    aside: bool,
}

impl Default for Plugins {
    fn default() -> Self {
        Self { vars: BTreeMap::new(), timeout: TIMEOUT, aside: true }
    }
}

impl fmt::Debug for Plugins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may be secrets.
        write!(f, "Plugins({} variables, {:?})", self.vars.len(), self.timeout)
    }
}

impl Plugins {
    /// In the folders of `PATH`, with these variables at hand.
    pub fn from_vars(vars: &BTreeMap<String, String>) -> Self {
        Self { vars: vars.clone(), timeout: TIMEOUT, aside: true }
    }

    /// In the process group of this program: plugins may ask at the terminal, which sends them its signals too. Otherwise each
    /// has a group of its own, and all of it ends with it.
    #[must_use]
    pub fn at_the_terminal(mut self) -> Self {
        self.aside = false;
        self
    }

    #[cfg(test)]
    pub(super) fn within(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The program: the first of that name in `PATH`. Folders that are not absolute are passed over, as what they hold
    /// depends on where the command is typed.
    pub(super) fn find(&self, key: &KmsRef) -> Result<PathBuf, KmsFault> {
        let program = key.program();
        let path = self.vars.get("PATH").map(String::as_str).unwrap_or_default();
        let folders = std::env::split_paths(path).filter(|dir| dir.is_absolute());
        let found = folders.map(|dir| dir.join(&program)).find(|file| is_program(file));
        let found = found.ok_or(KmsFault::NotFound { program })?;
        match open_to_others(&found) {
            Some(open) => Err(KmsFault::Writable(open)),
            None => Ok(found),
        }
    }

    /// What a plugin sees of the environment: what every program needs, and what is its service's.
    pub(super) fn environment(&self, plugin: &str) -> Vec<(&str, &str)> {
        let own = format!("{}_", plugin.to_ascii_uppercase().replace('-', "_"));
        let mut prefixes = vec![own.as_str(), "SIGSTORE_KMS_"];
        let services = SERVICES.iter().filter(|(name, _)| *name == plugin);
        prefixes.extend(services.flat_map(|(_, prefixes)| prefixes.iter()));
        let more: Vec<&str> =
            self.vars.get(MORE).map(|m| m.split(',').map(str::trim).collect()).unwrap_or_default();
        let wanted = |name: &str| {
            COMMON.contains(&name) || more.contains(&name) || prefixes.iter().any(|p| name.starts_with(p))
        };
        // Passwords of keys are nobody else's, whatever a plugin is called.
        let vars = self.vars.iter().filter(|(name, _)| wanted(name) && !name.starts_with("BULLA_"));
        vars.map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    /// One call: `message` on standard input, the answer as strict JSON.
    pub(super) async fn call(
        &self,
        key: &KmsRef,
        request: &Value,
        message: &[u8],
    ) -> Result<Value, KmsFault> {
        let program = self.find(key)?;
        let environment = self.environment(key.plugin());
        let mut running = Running::start(&program, &environment, request, self.aside).await?;
        let called = tokio::time::timeout(self.timeout, running.answer(message)).await;
        let called = called.map_err(|_| KmsFault::Timeout(self.timeout.as_secs())).and_then(|r| r);
        if called.is_err() {
            running.end().await;
        }
        let (answer, errors, ended) = called?;
        let said = shown(&errors, &environment);
        judge(&answer, ended, said).map_err(|fault| match fault {
            KmsFault::Refused(words) => KmsFault::Refused(shown(words.as_bytes(), &environment)),
            other => other,
        })
    }
}

/// Run a call to its end from code that is not asynchronous, inside or outside a runtime.
pub(super) fn alone<T: Send>(work: impl Future<Output = Result<T, KmsFault>> + Send) -> Result<T, KmsFault> {
    let failed = |reason: String| KmsFault::Start { program: PathBuf::from("thread"), reason };
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(|e| failed(e.to_string()))?.block_on(work)
        });
        thread.join().unwrap_or_else(|_| Err(failed("it ended early".to_owned())))
    })
}

async fn start(
    program: &Path,
    environment: &[(&str, &str)],
    request: &Value,
    aside: bool,
) -> Result<Child, KmsFault> {
    let mut command = Command::new(program);
    command
        .arg(PROTOCOL)
        .arg(request.to_string())
        .env_clear()
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    // A signal from the terminal is for this program, which may have to finish what it does. But a group that is not the
    // terminal's cannot ask there for a PIN: it is stopped when it tries.
    #[cfg(unix)]
    if aside {
        command.process_group(0);
    }
    let mut tries = 0;
    loop {
        match command.spawn() {
            Ok(child) => return Ok(child),
            Err(e) if e.kind() == ErrorKind::ExecutableFileBusy && tries < BUSY => {
                tries += 1;
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
            Err(e) => return Err(KmsFault::Start { program: program.to_owned(), reason: e.to_string() }),
        }
    }
}

/// What a plugin wrote to its two streams, and how it ended.
type Answered = (Vec<u8>, Vec<u8>, std::io::Result<ExitStatus>);

/// A plugin at work; the process group that is its own ends with it.
struct Running {
    child: Child,
    group: Option<u32>,
}

impl Running {
    async fn start(
        program: &Path,
        environment: &[(&str, &str)],
        request: &Value,
        aside: bool,
    ) -> Result<Self, KmsFault> {
        let child = start(program, environment, request, aside).await?;
        Ok(Self { group: child.id().filter(|_| aside), child })
    }

    async fn answer(&mut self, message: &[u8]) -> Result<Answered, KmsFault> {
        let (from_out, from_err) = (self.child.stdout.take(), self.child.stderr.take());
        let stdin = self.child.stdin.take();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let ended = {
            let write = async {
                if let Some(mut stdin) = stdin {
                    // One that reads nothing is no error; what it answers will be judged.
                    let _ = stdin.write_all(message).await;
                    let _ = stdin.shutdown().await;
                }
                Ok(())
            };
            let answer = read(from_out, "standard output", MAX_ANSWER, &mut out);
            let errors = read(from_err, "standard error", MAX_ERRORS, &mut err);
            let mut talk = std::pin::pin!(async { tokio::try_join!(write, answer, errors) });
            let ended = tokio::select! {
                said = &mut talk => {
                    said?;
                    None
                }
                ended = self.child.wait() => Some(ended),
            };
            match ended {
                None => {
                    let ended = self.child.wait().await;
                    self.group = None;
                    ended
                }
                Some(ended) => {
                    match tokio::time::timeout(LINGER, talk).await {
                        Ok(said) => {
                            said?;
                            self.group = None;
                        }
                        // What it left behind holds its streams open: nothing of that is the answer.
                        Err(_) => self.kill_group(),
                    }
                    ended
                }
            }
        };
        Ok((out, err, ended))
    }

    /// End it, and see to it that the system forgets it.
    async fn end(mut self) {
        self.kill_group();
        let _ = self.child.start_kill();
        let _ = tokio::time::timeout(REAPED, self.child.wait()).await;
    }

    #[cfg(unix)]
    fn kill_group(&mut self) {
        let group = self.group.take().and_then(|id| i32::try_from(id).ok());
        if let Some(group) = group.and_then(rustix::process::Pid::from_raw) {
            // Nobody may be left of it.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }

    #[cfg(not(unix))]
    fn kill_group(&mut self) {
        self.group = None;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill_group();
    }
}

/// Everything that comes, up to a limit past which the plugin is not heard out.
async fn read(
    from: Option<impl AsyncRead + Unpin>,
    to: &'static str,
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), KmsFault> {
    let Some(from) = from else { return Ok(()) };
    // A pipe that breaks is the end of what comes; the answer is judged all the same.
    let _ = from.take(limit as u64 + 1).read_to_end(out).await;
    if out.len() > limit { Err(KmsFault::TooMuch { to, limit }) } else { Ok(()) }
}

/// The answer; the exit code says nothing in this protocol, but a plugin that was ended by a signal has not answered.
pub(super) fn judge(
    answer: &[u8],
    ended: std::io::Result<ExitStatus>,
    said: String,
) -> Result<Value, KmsFault> {
    let how = match ended {
        Err(e) => return Err(KmsFault::Broken { how: e.to_string(), said }),
        Ok(status) if status.code().is_none() => {
            return Err(KmsFault::Broken { how: status.to_string(), said });
        }
        Ok(status) => status,
    };
    if answer.iter().all(u8::is_ascii_whitespace) {
        let how = if how.success() { "no answer".to_owned() } else { format!("no answer, {how}") };
        return Err(KmsFault::Broken { how, said });
    }
    let value = match json::parse(answer) {
        Ok(value) => value,
        Err(e) => return Err(KmsFault::Garbage { why: e.to_string(), said }),
    };
    match value["errorMessage"].as_str() {
        Some(words) if !words.is_empty() => Err(KmsFault::Refused(words.to_owned())),
        _ => Ok(value),
    }
}

/// What a plugin wrote, for people: without the secrets that it was given, on one line, not too long.
fn shown(bytes: &[u8], environment: &[(&str, &str)]) -> String {
    let mut text = String::from_utf8_lossy(bytes).into_owned();
    let mut secrets: Vec<(&str, String)> = Vec::new();
    for (name, value) in environment {
        if !COMMON.contains(name) && value.len() >= SHORTEST_SECRET {
            secrets.push((name, (*value).to_owned()));
        }
        secrets.extend(userinfo(value).into_iter().map(|secret| (*name, secret)));
    }
    // The longest first: one may be part of another.
    secrets.sort_by_key(|(_, value)| std::cmp::Reverse(value.len()));
    for (name, value) in secrets {
        text = text.replace(&value, &format!("[{name}]"));
    }
    // Neither what moves the cursor nor what turns the text around.
    let unseen = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let plain: String = text.chars().map(|c| if unseen(c) { ' ' } else { c }).collect();
    let plain = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    if plain.chars().count() <= SHOWN {
        return plain;
    }
    plain.chars().take(SHOWN).chain("…".chars()).collect()
}

/// User and password in each URL of a value, such as that of a proxy, in the forms in which programs show them.
fn userinfo(value: &str) -> Vec<String> {
    let mut rests: Vec<&str> = value.split("://").skip(1).collect();
    if rests.is_empty() {
        rests.push(value);
    }
    rests.into_iter().flat_map(userinfo_of).collect()
}

fn userinfo_of(rest: &str) -> Vec<String> {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let Some((info, _)) = authority.rsplit_once('@') else { return Vec::new() };
    let decoded = percent_decode_str(info).decode_utf8_lossy().into_owned();
    let mut out = vec![STANDARD.encode(&decoded)];
    for text in [info, &decoded] {
        out.push(text.to_owned());
        out.extend(text.split_once(':').map(|(_, password)| password.to_owned()));
    }
    out.retain(|secret| secret.len() >= SHORTEST_SECRET);
    out
}

#[cfg(unix)]
fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    file.metadata().is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(file: &Path) -> bool {
    file.is_file()
}

/// What somebody else than root and this user could change so that another program runs: the file or a folder above it, by its
/// name and by what the name leads to. A group may write where it is root's or this user's own, and Debian's `staff`, who may
/// write to /usr/local, become root there anyway.
#[cfg(unix)]
fn open_to_others(file: &Path) -> Option<PathBuf> {
    use std::os::unix::fs::MetadataExt as _;
    const STAFF: u32 = 50;
    let (me, own) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let is_open = |path: &Path| {
        path.metadata().map_or(true, |about| {
            // In a folder such as /tmp others cannot replace a file that is not theirs.
            let sticky = about.is_dir() && about.mode() & 0o1000 != 0;
            let by_all = about.mode() & 0o002 != 0;
            let by_group = about.mode() & 0o020 != 0 && ![0, own, STAFF].contains(&about.gid());
            ((by_all || by_group) && !sticky) || ![0, me].contains(&about.uid())
        })
    };
    let real = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    file.ancestors().chain(real.ancestors()).find(|path| is_open(path)).map(Path::to_owned)
}

#[cfg(not(unix))]
fn open_to_others(_: &Path) -> Option<PathBuf> {
    None
}
