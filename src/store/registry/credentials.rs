//! Credentials as docker and podman keep them: files and helpers. The environment is read only in
//! [`CredentialSources::from_vars`], which the program calls once at its edge.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use docker_credential::DockerCredential;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use zeroize::Zeroizing;

use crate::store::Failure;

/// Largest credential file and helper output that is read, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// Where credentials are looked up, in this order; the first file that knows the host decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialSources {
    /// Files in the form of docker's `config.json` and podman's `auth.json`. Missing ones are skipped.
    pub files: Vec<PathBuf>,
    /// The file to keep a login in, whether or not it exists; `None`: the first that exists, else the last.
    pub named: Option<PathBuf>,
    /// Where credential helpers are searched, as in `PATH`; `None`: there are none.
    pub helper_path: Option<OsString>,
    /// How long a credential helper may take.
    pub helper_timeout: Duration,
}

/// What proves who asks.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Credential {
    /// User and password.
    Password {
        /// User name.
        user: String,
        /// Password.
        secret: Zeroizing<String>,
    },
    /// A refresh token for the token endpoint (docker `identitytoken`, helper user `<token>`).
    Identity(Zeroizing<String>),
}

impl Credential {
    /// User and password, or the identity token that the user `<token>` stands for.
    pub(super) fn of(user: String, secret: Zeroizing<String>) -> Self {
        match user.as_str() {
            "<token>" => Self::Identity(secret),
            _ => Self::Password { user, secret },
        }
    }
}

impl CredentialSources {
    /// No files: anonymous unless a login is given.
    pub fn none() -> Self {
        Self { files: Vec::new(), named: None, helper_path: None, helper_timeout: Duration::from_secs(30) }
    }

    /// The places of docker and podman (containers-auth.json(5)): `$REGISTRY_AUTH_FILE`, `$DOCKER_CONFIG/config.json`,
    /// `$XDG_RUNTIME_DIR/containers/auth.json`, `$XDG_CONFIG_HOME/containers/auth.json`, `$HOME/.docker/config.json`.
    pub fn from_vars(var: impl Fn(&str) -> Option<OsString>) -> Self {
        let dir = |name: &str| var(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let home = dir("HOME");
        let docker = dir("DOCKER_CONFIG").map(|d| d.join("config.json"));
        let named = dir("REGISTRY_AUTH_FILE").or_else(|| docker.clone());
        let config = dir("XDG_CONFIG_HOME").or_else(|| Some(home.as_ref()?.join(".config")));
        let files = [
            dir("REGISTRY_AUTH_FILE"),
            docker,
            dir("XDG_RUNTIME_DIR").map(|d| d.join("containers/auth.json")),
            config.map(|d| d.join("containers/auth.json")),
            home.map(|d| d.join(".docker/config.json")),
        ];
        Self { files: files.into_iter().flatten().collect(), named, helper_path: var("PATH"), ..Self::none() }
    }

    /// The credential for repository `name` on a host that has these names (the first is asked of helpers).
    /// `None` when no source knows one.
    pub(super) async fn lookup(&self, hosts: &[&str], name: &str) -> Result<Option<Credential>, Failure> {
        for file in &self.files {
            let Some(text) = read(file).await? else { continue };
            let config: File = serde_json::from_slice(&text).map_err(|e| {
                setup(file, format!("is no credential file: line {} column {}", e.line(), e.column()))
            })?;
            if let Some(found) = self.in_file(&config, file, hosts, name).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    async fn in_file(
        &self,
        config: &File,
        file: &Path,
        hosts: &[&str],
        name: &str,
    ) -> Result<Option<Credential>, Failure> {
        let helper = hosts.iter().find_map(|h| Some((*h, config.cred_helpers.get(*h)?)));
        if let Some((host, helper)) = helper {
            return self.ask_helper(helper, host, file).await;
        }
        if let Some(entry) = best_entry(&config.auths, hosts, name) {
            return decode(entry).map_err(|reason| setup(file, reason)).map(Some);
        }
        match (&config.creds_store, hosts.first()) {
            (Some(helper), Some(host)) if !helper.is_empty() => self.ask_helper(helper, host, file).await,
            _ => Ok(None),
        }
    }

    /// The helper protocol: `docker-credential-NAME get`, the server on stdin, JSON on stdout.
    pub(super) async fn ask_helper(
        &self,
        helper: &str,
        host: &str,
        file: &Path,
    ) -> Result<Option<Credential>, Failure> {
        let (program, success, output) = self.run_helper(helper, "get", host, host, file).await?;
        let broken = |reason: &str| setup(file, format!("names {program} for {host}, which {reason}"));
        if !success {
            let text = String::from_utf8_lossy(&output);
            return match text.contains("credentials not found") {
                true => Ok(None),
                false => Err(broken("failed")),
            };
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer {
            username: String,
            secret: String,
        }
        let answer: Answer =
            serde_json::from_slice(&output).map_err(|_| broken("answered with something else"))?;
        Ok(Some(Credential::of(answer.username, Zeroizing::new(answer.secret))))
    }

    /// `store` or `erase`; the name of the program that did it. Its words are not shown: they could hold the secret.
    pub(super) async fn run_verb(
        &self,
        helper: &str,
        verb: &str,
        input: &str,
        host: &str,
        file: &Path,
    ) -> Result<String, Failure> {
        let (program, success, _) = self.run_helper(helper, verb, input, host, file).await?;
        match success {
            true => Ok(program),
            false => Err(setup(file, format!("names {program} for {host}, which failed to {verb} a login"))),
        }
    }

    /// A helper's name, whether it ended well, and its output.
    async fn run_helper(
        &self,
        helper: &str,
        verb: &str,
        input: &str,
        host: &str,
        file: &Path,
    ) -> Result<(String, bool, Zeroizing<Vec<u8>>), Failure> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b == b'.';
        if helper.is_empty() || helper.len() > 64 || !helper.bytes().all(legal) {
            return Err(setup(file, "names a credential helper that is no plain program name".into()));
        }
        let program = format!("docker-credential-{helper}");
        let broken = |reason: &str| setup(file, format!("names {program} for {host}, which {reason}"));
        let dirs = self.helper_path.iter().flat_map(std::env::split_paths);
        let found = dirs.filter(|d| d.is_absolute()).map(|d| d.join(&program)).find(|p| p.is_file());
        let found = found.ok_or_else(|| broken("is not installed"))?;
        let run = run(&found, verb, input);
        let (success, output) = tokio::time::timeout(self.helper_timeout, run)
            .await
            .map_err(|_| broken("did not answer in time"))?
            .map_err(|e| broken(&format!("could not be run: {e}")))?;
        if output.len() as u64 > MAX_BYTES {
            return Err(broken("answered with more than 1 MiB"));
        }
        Ok((program, success, output))
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Password { user, .. } => write!(f, "Password({user}, ***)"),
            Self::Identity(_) => f.write_str("Identity(***)"),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    auths: BTreeMap<String, Value>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

pub(super) async fn read(file: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, Failure> {
    let unreadable = |e: std::io::Error| setup(file, format!("cannot be read: {e}"));
    let opened = match tokio::fs::File::open(file).await {
        Ok(f) => f,
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(e) => return Err(unreadable(e)),
    };
    let mut text = Zeroizing::new(Vec::new());
    opened.take(MAX_BYTES + 1).read_to_end(&mut text).await.map_err(unreadable)?;
    match text.len() as u64 > MAX_BYTES {
        true => Err(setup(file, "is larger than 1 MiB".into())),
        false => Ok(Some(text)),
    }
}

/// The entry for the longest path of `host/name` (containers-auth.json(5)); docker's keys are URLs or bare hosts.
fn best_entry<'a>(auths: &'a BTreeMap<String, Value>, hosts: &[&str], name: &str) -> Option<&'a Value> {
    let full = |v: &&Value| v.as_object().is_some_and(|o| !o.is_empty());
    let keyed = |wanted: &str| auths.iter().find(|(k, v)| normal_key(k) == wanted && full(v)).map(|(_, v)| v);
    for host in hosts {
        let mut path = format!("{}/{name}", normal_key(host));
        loop {
            if let Some(found) = keyed(&path) {
                return Some(found);
            }
            match path.rfind('/') {
                Some(cut) => path.truncate(cut),
                None => break,
            }
        }
    }
    None
}

/// `https://host/v1/` is `host`; `host/path/` is `host/path`.
pub(super) fn normal_key(key: &str) -> &str {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    match bare {
        Some(bare) => bare.split('/').next().unwrap_or(bare),
        None => key.trim_end_matches('/'),
    }
}

/// One entry of `auths`. It is decoded under a fixed name, so that only this entry can be chosen.
fn decode(entry: &Value) -> Result<Credential, String> {
    let document = Zeroizing::new(serde_json::json!({ "auths": { "entry": entry } }).to_string());
    match docker_credential::get_credential_from_reader(document.as_bytes(), "entry") {
        Ok(DockerCredential::IdentityToken(token)) => Ok(Credential::Identity(Zeroizing::new(token))),
        Ok(DockerCredential::UsernamePassword(user, secret)) => {
            Ok(Credential::of(user, Zeroizing::new(secret)))
        }
        // The crate's words for these errors hold nothing of the entry.
        Err(e) => Err(format!("holds an entry that cannot be read: {e}")),
    }
}

/// Run a helper without a shell; killed when the caller stops waiting.
async fn run(program: &Path, verb: &str, input: &str) -> std::io::Result<(bool, Zeroizing<Vec<u8>>)> {
    let mut child = tokio::process::Command::new(program)
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read its input may close it early; its answer decides.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let mut output = Zeroizing::new(Vec::new());
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MAX_BYTES + 1).read_to_end(&mut output).await?;
    }
    if output.len() as u64 > MAX_BYTES {
        return Ok((false, output));
    }
    Ok((child.wait().await?.success(), output))
}

pub(super) fn setup(file: &Path, reason: String) -> Failure {
    Failure::Setup(format!("{} {reason}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(user: &str, secret: &str) -> Option<Credential> {
        Some(Credential::Password { user: user.into(), secret: Zeroizing::new(secret.into()) })
    }
    fn file(dir: &Path, name: &str, text: &str) -> PathBuf {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
    async fn lookup(files: &[PathBuf], host: &str, name: &str) -> Result<Option<Credential>, Failure> {
        CredentialSources { files: files.to_vec(), ..CredentialSources::none() }.lookup(&[host], name).await
    }

    #[tokio::test]
    async fn longest_path_wins_and_urls_are_hosts() {
        let dir = tempfile::tempdir().unwrap();
        // a:1, b:2, c:3, d:4
        let f = file(
            dir.path(),
            "auth.json",
            r#"{"auths":{"ex.com":{"auth":"YTox"},"ex.com/org":{"auth":"Yjoy"},"ex.com/org/app/":{"auth":"Yzoz"},
                "https://hub.example/v1/":{"auth":"ZDo0"},"empty.example":{}}}"#,
        );
        let fs = [dir.path().join("missing.json"), f];
        assert_eq!(lookup(&fs, "ex.com", "other").await, Ok(password("a", "1")));
        assert_eq!(lookup(&fs, "ex.com", "org/x").await, Ok(password("b", "2")));
        assert_eq!(lookup(&fs, "ex.com", "org/app").await, Ok(password("c", "3")));
        assert_eq!(lookup(&fs, "ex.com", "org/apple").await, Ok(password("b", "2")));
        assert_eq!(lookup(&fs, "hub.example", "x").await, Ok(password("d", "4")));
        assert_eq!(lookup(&fs, "ex.com:5000", "org/app").await, Ok(None));
        assert_eq!(lookup(&fs, "empty.example", "x").await, Ok(None));
    }

    #[tokio::test]
    async fn identity_tokens_and_broken_files() {
        let dir = tempfile::tempdir().unwrap();
        let f = file(dir.path(), "c.json", r#"{"auths":{"ex.com":{"auth":"YTox","identitytoken":"idt"}}}"#);
        let found = lookup(&[f], "ex.com", "x").await.unwrap().unwrap();
        assert_eq!(found, Credential::Identity(Zeroizing::new("idt".into())));
        assert!(!format!("{found:?}").contains("idt"));
        let bad = file(dir.path(), "bad.json", r#"{"auths":{"ex.com":{"auth":"c2VjcmV0"}}}"#);
        let e = lookup(&[bad], "ex.com", "x").await.unwrap_err();
        assert!(
            matches!(&e, Failure::Setup(t) if t.contains("cannot be read") && !t.contains("secret")),
            "{e}"
        );
        let bad = file(dir.path(), "worse.json", r#"{"auths":{"ex.com":"pa55"#);
        let e = lookup(&[bad], "ex.com", "x").await.unwrap_err();
        assert!(matches!(&e, Failure::Setup(t) if !t.contains("pa55")), "{e}");
    }

    #[tokio::test]
    async fn helper_names_are_checked_and_missing_ones_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["../../x", "a b", "", "x;y", "a/b"] {
            let f = file(dir.path(), "h.json", &format!(r#"{{"credHelpers":{{"ex.com":"{name}"}}}}"#));
            let e = lookup(&[f], "ex.com", "x").await.unwrap_err();
            assert!(matches!(&e, Failure::Setup(t) if t.contains("no plain program name")), "{name}: {e}");
        }
        let f = file(dir.path(), "h.json", r#"{"credHelpers":{"ex.com":"bulla-test-absent"}}"#);
        let e = lookup(std::slice::from_ref(&f), "ex.com", "x").await.unwrap_err();
        assert!(matches!(&e, Failure::Setup(t) if t.contains("docker-credential-bulla-test-absent")), "{e}");
        assert_eq!(lookup(&[f], "other.example", "x").await, Ok(None));
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn helpers_are_asked_and_bounded() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let ask = async |script: &str, store: bool| {
            let helper = file(dir.path(), "docker-credential-t", &format!("#!/bin/sh\n{script}\n"));
            std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
            let config = match store {
                true => r#"{"credsStore":"t","auths":{"ex.com":{}}}"#,
                false => r#"{"credHelpers":{"ex.com":"t"}}"#,
            };
            let sources = CredentialSources {
                files: vec![file(dir.path(), "c.json", config)],
                named: None,
                helper_path: Some(dir.path().into()),
                helper_timeout: Duration::from_secs(5),
            };
            sources.lookup(&["ex.com"], "x").await
        };
        let echo = r#"read h; test "$1" = get && echo "{\"ServerURL\":\"$h\",\"Username\":\"$h\",\"Secret\":\"s3\"}""#;
        for store in [false, true] {
            assert_eq!(ask(echo, store).await, Ok(password("ex.com", "s3")));
        }
        let token = r#"echo '{"ServerURL":"","Username":"<token>","Secret":"idt"}'"#;
        assert_eq!(ask(token, false).await, Ok(Some(Credential::Identity(Zeroizing::new("idt".into())))));
        assert_eq!(ask("echo credentials not found in native keychain; exit 1", false).await, Ok(None));
        for bad in ["echo s3cret-output; exit 1", "echo s3cret-output", "yes s3cret-output | head -c 3000000"]
        {
            let e = ask(bad, false).await.unwrap_err();
            assert!(matches!(&e, Failure::Setup(t) if t.contains("ex.com") && !t.contains("s3cret")), "{e}");
        }
        let before = std::time::Instant::now();
        let slow = CredentialSources {
            files: vec![file(dir.path(), "c.json", r#"{"credHelpers":{"ex.com":"t"}}"#)],
            named: None,
            helper_path: Some(dir.path().into()),
            helper_timeout: Duration::from_millis(50),
        };
        file(dir.path(), "docker-credential-t", "#!/bin/sh\nexec sleep 30\n");
        let e = slow.lookup(&["ex.com"], "x").await.unwrap_err();
        assert!(matches!(&e, Failure::Setup(t) if t.contains("in time")), "{e}");
        assert!(before.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn places_come_from_the_variables_given() {
        let s = CredentialSources::from_vars(|name| match name {
            "HOME" => Some("/h".into()),
            "REGISTRY_AUTH_FILE" => Some("/r.json".into()),
            "DOCKER_CONFIG" => Some("".into()),
            _ => None,
        });
        let want = ["/r.json", "/h/.config/containers/auth.json", "/h/.docker/config.json"];
        assert_eq!(s.files, want.map(PathBuf::from));
    }
}
