//! Running a plugin: found once, by its absolute path; started without a shell; ended when it takes too long or says too much.

use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use super::{KmsFault, KmsRef};
use crate::sig::json;

/// Version of the protocol, the first argument.
pub(super) const PROTOCOL: &str = "v1";
/// How long a plugin may take: somebody may have to touch a token.
const TIMEOUT: Duration = Duration::from_secs(60);
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
}

impl Default for Plugins {
    fn default() -> Self {
        Self { vars: BTreeMap::new(), timeout: TIMEOUT }
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
        Self { vars: vars.clone(), timeout: TIMEOUT }
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
        match is_open_to_all(&found) {
            true => Err(KmsFault::Writable(found)),
            false => Ok(found),
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
        let run = async {
            let mut child = start(&program, &environment, request).await?;
            let (out, err) = (child.stdout.take(), child.stderr.take());
            let stdin = child.stdin.take();
            let write = async {
                if let Some(mut stdin) = stdin {
                    // One that reads nothing is no error; what it answers will be judged.
                    let _ = stdin.write_all(message).await;
                    let _ = stdin.shutdown().await;
                }
                Ok(())
            };
            let answer = read(out, "standard output", MAX_ANSWER);
            let errors = read(err, "standard error", MAX_ERRORS);
            let ((), answer, errors) = tokio::try_join!(write, answer, errors)?;
            let ended = child.wait().await;
            Ok((answer, errors, ended))
        };
        let timeout = KmsFault::Timeout(self.timeout.as_secs());
        // Dropped with the child in it, which is then killed.
        let (answer, errors, ended) =
            tokio::time::timeout(self.timeout, run).await.map_err(|_| timeout)??;
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

async fn start(program: &Path, environment: &[(&str, &str)], request: &Value) -> Result<Child, KmsFault> {
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

/// Everything that comes, up to a limit past which the plugin is not heard out.
async fn read(
    from: Option<impl AsyncRead + Unpin>,
    to: &'static str,
    limit: usize,
) -> Result<Vec<u8>, KmsFault> {
    let mut out = Vec::new();
    let Some(from) = from else { return Ok(out) };
    // A pipe that breaks is the end of what comes; the answer is judged all the same.
    let _ = from.take(limit as u64 + 1).read_to_end(&mut out).await;
    if out.len() > limit { Err(KmsFault::TooMuch { to, limit }) } else { Ok(out) }
}

/// The answer; the exit code says nothing in this protocol, but a plugin that was ended by a signal has not answered.
fn judge(answer: &[u8], ended: std::io::Result<ExitStatus>, said: String) -> Result<Value, KmsFault> {
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
    let mut secrets: Vec<&(&str, &str)> = environment
        .iter()
        .filter(|(name, value)| !COMMON.contains(name) && value.len() >= SHORTEST_SECRET)
        .collect();
    // The longest first: one may be part of another.
    secrets.sort_by_key(|(_, value)| std::cmp::Reverse(value.len()));
    for (name, value) in secrets {
        text = text.replace(value, &format!("[{name}]"));
    }
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let plain = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    if plain.chars().count() <= SHOWN {
        return plain;
    }
    plain.chars().take(SHOWN).chain("…".chars()).collect()
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

#[cfg(unix)]
fn is_open_to_all(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    file.metadata().is_ok_and(|about| about.permissions().mode() & 0o002 != 0)
}

#[cfg(not(unix))]
fn is_open_to_all(_: &Path) -> bool {
    false
}
