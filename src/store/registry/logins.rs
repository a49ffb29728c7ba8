//! Keeping credentials where docker and podman keep them: a file, or a helper that the file names.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::credentials::{CredentialSources, normal_key, read, setup};
use super::{api_host, names_of};
use crate::store::Failure;

/// What credentials are for: a registry, or everything below a path on it (containers-auth.json(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginScope {
    host: String,
    path: Option<String>,
}

/// A text is no such scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no registry: write HOST, HOST:PORT or HOST[:PORT]/PATH")]
pub struct LoginScopeError(String);

/// Where credentials lie now, or lay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// In a file, readable by its owner, not encrypted.
    File(PathBuf),
    /// With a helper, which the file names.
    Helper {
        /// The program.
        program: String,
        /// The file.
        file: PathBuf,
    },
}

impl std::str::FromStr for LoginScope {
    type Err = LoginScopeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || LoginScopeError(text.chars().filter(|c| !c.is_control()).take(100).collect());
        let (host, path) = match text.split_once('/') {
            Some((host, path)) => (host, Some(path)),
            None => (text, None),
        };
        // The grammar of references decides, with a path that every host may have.
        let whole = format!("{host}/{}", path.unwrap_or("x"));
        let parsed: crate::oci::Repository = whole.parse().map_err(|_| bad())?;
        if parsed.host() != host || parsed.name() != path.unwrap_or("x") {
            return Err(bad());
        }
        Ok(Self { host: host.to_owned(), path: path.map(str::to_owned) })
    }
}

impl std::fmt::Display for LoginScope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.path {
            Some(path) => write!(f, "{}/{path}", self.host),
            None => f.write_str(&self.host),
        }
    }
}

impl LoginScope {
    /// The registry.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The path below it.
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// The key of an entry, as docker writes it.
    fn key(&self) -> String {
        match &self.path {
            Some(path) => format!("{}/{path}", self.host),
            None => names_of(&self.host).remove(0),
        }
    }

    /// Whether an entry's key stands for this scope.
    fn is(&self, key: &str) -> bool {
        let key = normal_key(key);
        match &self.path {
            None => names_of(&self.host).iter().any(|name| normal_key(name) == key),
            Some(path) => key
                .split_once('/')
                .is_some_and(|(host, rest)| api_host(host) == api_host(&self.host) && rest == path),
        }
    }
}

impl CredentialSources {
    /// Keep user and secret for a registry, in place of what was kept there before.
    ///
    /// # Errors
    /// There is no file to keep them in, it cannot be read or written, or its helper fails.
    pub async fn keep(&self, scope: &LoginScope, user: &str, secret: &str) -> Result<Kept, Failure> {
        let file = self.own_file()?;
        let mut document = load(&file).await?;
        let helper = helper_of(&document, scope);
        if let Some(helper) = helper {
            if scope.path.is_some() {
                let text = "names a credential helper, and helpers keep logins of whole registries only: leave the path out, \
                            or name another file in REGISTRY_AUTH_FILE";
                return Err(setup(&file, text.into()));
            }
            let server = scope.key();
            let input = json!({ "ServerURL": server, "Username": user, "Secret": secret });
            let input = Zeroizing::new(input.to_string());
            let program = self.run_verb(&helper, "store", &input, &server, &file).await?;
            // As docker does: an entry without content says that there is a login. A secret beside it would be read first.
            set_entry(&mut document, scope, Map::new());
            write(file.clone(), document).await?;
            return Ok(Kept::Helper { program, file });
        }
        let pair = Zeroizing::new(format!("{user}:{secret}"));
        let mut entry = own_entry(&document, scope);
        for old in ["identitytoken", "registrytoken", "username", "password"] {
            entry.remove(old);
        }
        entry.insert("auth".into(), STANDARD.encode(pair.as_bytes()).into());
        set_entry(&mut document, scope, entry);
        write(file.clone(), document).await?;
        Ok(Kept::File(file))
    }

    /// Forget what [`CredentialSources::keep`] has kept; `None` when nothing was there.
    ///
    /// # Errors
    /// The file cannot be read or written, or its helper fails.
    pub async fn forget(&self, scope: &LoginScope) -> Result<Option<Kept>, Failure> {
        let file = self.own_file()?;
        if read(&file).await?.is_none() {
            return Ok(None);
        }
        let mut document = load(&file).await?;
        let mut found = None;
        if let Some(helper) = helper_of(&document, scope).filter(|_| scope.path.is_none()) {
            let names: Vec<String> = names_of(&scope.host);
            let hosts: Vec<&str> = names.iter().map(String::as_str).collect();
            // A helper's words for "there was none" differ: it is asked first.
            if self.ask_helper(&helper, hosts[0], &file).await?.is_some() {
                let program = self.run_verb(&helper, "erase", hosts[0], hosts[0], &file).await?;
                found = Some(Kept::Helper { program, file: file.clone() });
            }
        }
        let auths = document.get_mut("auths").and_then(Value::as_object_mut);
        let keys: Vec<String> =
            auths.iter().flat_map(|a| a.keys()).filter(|k| scope.is(k)).cloned().collect();
        if keys.is_empty() {
            return Ok(found);
        }
        for key in keys {
            let entry = auths_of(&mut document).remove(&key);
            let full = entry.as_ref().and_then(Value::as_object).is_some_and(|e| !e.is_empty());
            if full && found.is_none() {
                found = Some(Kept::File(file.clone()));
            }
        }
        write(file, document).await?;
        Ok(found)
    }

    /// Whether some source still knows credentials for a registry.
    ///
    /// # Errors
    /// A source cannot be read.
    pub async fn knows(&self, scope: &LoginScope) -> Result<bool, Failure> {
        let names = names_of(&scope.host);
        let hosts: Vec<&str> = names.iter().map(String::as_str).collect();
        Ok(self.lookup(&hosts, scope.path().unwrap_or_default()).await?.is_some())
    }

    /// The file that is named by a variable, else the first that exists, else docker's.
    fn own_file(&self) -> Result<PathBuf, Failure> {
        let there = || self.files.iter().find(|f| f.is_file()).or_else(|| self.files.last());
        let file = self.named.as_ref().or_else(there);
        let none = "no file for credentials: none of REGISTRY_AUTH_FILE, DOCKER_CONFIG and HOME is set";
        file.cloned().ok_or_else(|| Failure::Setup(none.into()))
    }
}

/// The helper that keeps logins of this registry.
fn helper_of(document: &Value, scope: &LoginScope) -> Option<String> {
    let helpers = document.get("credHelpers").and_then(Value::as_object);
    let own = helpers
        .into_iter()
        .flatten()
        .find(|(key, _)| names_of(&scope.host).iter().any(|name| normal_key(name) == normal_key(key)));
    let helper = own.map(|(_, helper)| helper).or_else(|| document.get("credsStore"));
    helper.and_then(Value::as_str).filter(|h| !h.is_empty()).map(str::to_owned)
}

fn auths_of(document: &mut Value) -> &mut Map<String, Value> {
    if !document["auths"].is_object() {
        document["auths"] = json!({});
    }
    match &mut document["auths"] {
        Value::Object(auths) => auths,
        // It was made an object just now.
        _ => unreachable!(),
    }
}

/// What stands under the scope's own key, to keep what is not known here.
fn own_entry(document: &Value, scope: &LoginScope) -> Map<String, Value> {
    let entry = document.get("auths").and_then(|a| a.get(scope.key())).and_then(Value::as_object);
    entry.cloned().unwrap_or_default()
}

/// One entry for the scope, under docker's key, and none under its other names.
fn set_entry(document: &mut Value, scope: &LoginScope, entry: Map<String, Value>) {
    let auths = auths_of(document);
    auths.retain(|key, _| !scope.is(key));
    auths.insert(scope.key(), Value::Object(entry));
}

/// The file as it stands; an empty document where there is none.
async fn load(file: &Path) -> Result<Value, Failure> {
    let Some(text) = read(file).await? else { return Ok(json!({})) };
    if text.iter().all(u8::is_ascii_whitespace) {
        return Ok(json!({}));
    }
    let document: Value = serde_json::from_slice(&text).map_err(|e| {
        setup(file, format!("is no credential file: line {} column {}", e.line(), e.column()))
    })?;
    match document.is_object() {
        true => Ok(document),
        false => Err(setup(file, "is no credential file: it holds no object".into())),
    }
}

async fn write(file: PathBuf, document: Value) -> Result<(), Failure> {
    let shown = file.clone();
    let done = tokio::task::spawn_blocking(move || write_now(&file, &document)).await;
    let done = done.map_err(|e| setup(&shown, format!("cannot be written: {e}")))?;
    done.map_err(|e| setup(&shown, format!("cannot be written: {e}")))
}

/// Replace the file at once, for its owner only; where it is a link, the file that it names.
fn write_now(file: &Path, document: &Value) -> std::io::Result<()> {
    let file = behind_links(file)?;
    let dir = file.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    make_dir(dir)?;
    let mut text = Zeroizing::new(Vec::new());
    let format = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut out = serde_json::Serializer::with_formatter(&mut *text, format);
    serde::Serialize::serialize(document, &mut out)?;
    text.push(b'\n');
    // Temporary files are made for their owner only.
    let mut temporary = tempfile::Builder::new().prefix(".auth-").tempfile_in(dir)?;
    temporary.write_all(&text)?;
    temporary.as_file().sync_all()?;
    temporary.persist(&file).map_err(|e| e.error)?;
    Ok(())
}

/// Where a chain of symbolic links ends; the end need not exist.
fn behind_links(file: &Path) -> std::io::Result<PathBuf> {
    let mut at = file.to_owned();
    for _ in 0..16 {
        match std::fs::symlink_metadata(&at) {
            Ok(meta) if meta.file_type().is_symlink() => {
                let target = std::fs::read_link(&at)?;
                at = at.parent().unwrap_or_else(|| Path::new("")).join(target);
            }
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
            _ => return Ok(at),
        }
    }
    Err(std::io::Error::other("too many symbolic links"))
}

#[cfg(unix)]
fn make_dir(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

#[cfg(not(unix))]
fn make_dir(dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::credentials::Credential;

    fn scope(text: &str) -> LoginScope {
        text.parse().unwrap()
    }
    fn sources(files: &[PathBuf]) -> CredentialSources {
        CredentialSources { files: files.to_vec(), ..CredentialSources::none() }
    }
    fn password(user: &str, secret: &str) -> Option<Credential> {
        Some(Credential::Password { user: user.into(), secret: Zeroizing::new(secret.into()) })
    }
    fn json_of(file: &Path) -> Value {
        serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
    }

    #[test]
    fn scopes_are_hosts_with_or_without_a_path() {
        for good in
            ["ex.com", "ex.com:5000", "localhost", "localhost:5000/org", "ex.com/org/app", "[::1]:5000"]
        {
            assert_eq!(scope(good).to_string(), good);
        }
        for bad in
            ["", "/", "ex.com/", "https://ex.com", "ex.com/Org", "user@ex.com", "ex.com/a:tag", "ex com"]
        {
            assert!(bad.parse::<LoginScope>().is_err(), "{bad}");
        }
        assert_eq!(scope("docker.io").key(), "https://index.docker.io/v1/");
        assert!(scope("docker.io").is("index.docker.io") && scope("ex.com").is("https://ex.com/v2/"));
        assert!(!scope("ex.com").is("ex.com/org") && scope("ex.com/org").is("ex.com/org/"));
    }

    #[tokio::test]
    async fn a_login_is_kept_and_forgotten_and_all_else_stays() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("deep/er/config.json");
        let s = sources(&[dir.path().join("missing.json"), file.clone()]);
        assert_eq!(s.forget(&scope("ex.com")).await, Ok(None), "no file is made for that");
        assert!(!file.exists());
        assert_eq!(s.keep(&scope("ex.com:5000"), "me", "s:3").await, Ok(Kept::File(file.clone())));
        assert_eq!(s.lookup(&["ex.com:5000"], "x").await, Ok(password("me", "s:3")));
        let mode = |p: &Path| std::fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));

        let text = r#"{"HttpHeaders":{"X":"y"},"auths":{"ex.com":{"auth":"YTox","identitytoken":"t","email":"e"},
            "other":{"auth":"Yjoy"},"https://index.docker.io/v1/":{"auth":"Yzoz"},"docker.io":{"auth":"ZDo0"}},"n":1}"#;
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        s.keep(&scope("ex.com"), "new", "pw").await.unwrap();
        s.keep(&scope("ex.com/org"), "deep", "pw").await.unwrap();
        s.keep(&scope("index.docker.io"), "hub", "pw").await.unwrap();
        let now = json_of(&file);
        assert_eq!((&now["HttpHeaders"]["X"], &now["n"]), (&json!("y"), &json!(1)));
        assert_eq!(now["auths"]["ex.com"], json!({"auth": "bmV3OnB3", "email": "e"}));
        assert_eq!(now["auths"]["other"], json!({"auth": "Yjoy"}));
        assert!(now["auths"].get("docker.io").is_none(), "one entry for all names of Docker Hub: {now}");
        assert_eq!(mode(&file), 0o600);
        assert_eq!(s.lookup(&["ex.com"], "org/app").await, Ok(password("deep", "pw")));
        assert_eq!(s.lookup(&["ex.com"], "else").await, Ok(password("new", "pw")));

        assert_eq!(s.forget(&scope("ex.com")).await, Ok(Some(Kept::File(file.clone()))));
        assert_eq!(s.lookup(&["ex.com"], "else").await, Ok(None));
        assert_eq!(s.knows(&scope("ex.com/org")).await, Ok(true), "another scope, another login");
        assert_eq!(s.forget(&scope("ex.com")).await, Ok(None));
        for bad in ["[]", "{", "null"] {
            std::fs::write(&file, bad).unwrap();
            assert!(matches!(s.keep(&scope("ex.com"), "a", "b").await, Err(Failure::Setup(_))), "{bad}");
            assert_eq!(
                std::fs::read_to_string(&file).unwrap(),
                bad,
                "what cannot be read is not written over"
            );
        }
    }

    #[tokio::test]
    async fn links_stay_links_and_the_named_file_comes_first() {
        let dir = tempfile::tempdir().unwrap();
        let (link, real) = (dir.path().join("link.json"), dir.path().join("real.json"));
        std::os::unix::fs::symlink("real.json", &link).unwrap();
        let other = dir.path().join("other.json");
        std::fs::write(&other, "{}").unwrap();
        let mut s = sources(&[link.clone(), other.clone()]);
        s.named = Some(link.clone());
        assert_eq!(s.keep(&scope("ex.com"), "a", "b").await, Ok(Kept::File(link.clone())));
        assert!(std::fs::symlink_metadata(&link).unwrap().file_type().is_symlink() && real.is_file());
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "{}");
        let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(left.len(), 3, "no temporary file is left: {left:?}");
        assert!(matches!(
            CredentialSources::none().keep(&scope("ex.com"), "a", "b").await,
            Err(Failure::Setup(_))
        ));
    }

    #[tokio::test]
    async fn helpers_keep_and_erase() {
        let dir = tempfile::tempdir().unwrap();
        let helper = dir.path().join("docker-credential-t");
        let kept = dir.path().join("kept");
        let script = format!(
            "#!/bin/sh\ncase $1 in store) cat > {k};; erase) rm {k};; get) test -f {k} && cat {k} || {{ echo credentials not found; exit 1; }};; esac\n",
            k = kept.display()
        );
        std::fs::write(&helper, script).unwrap();
        std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
        for config in
            [r#"{"credsStore":"t"}"#, r#"{"credHelpers":{"ex.com":"t"},"auths":{"ex.com":{"auth":"YTox"}}}"#]
        {
            let file = dir.path().join("c.json");
            std::fs::write(&file, config).unwrap();
            let s = CredentialSources {
                helper_path: Some(dir.path().into()),
                ..sources(std::slice::from_ref(&file))
            };
            assert_eq!(s.forget(&scope("none.example")).await, Ok(None));
            let there = Kept::Helper { program: "docker-credential-t".into(), file: file.clone() };
            assert_eq!(s.keep(&scope("ex.com"), "me", "s3cret").await, Ok(there.clone()));
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(!text.contains("auth\":") && json_of(&file)["auths"]["ex.com"] == json!({}), "{text}");
            assert_eq!(json_of(&kept)["Secret"], "s3cret");
            assert_eq!(s.lookup(&["ex.com"], "x").await, Ok(password("me", "s3cret")));
            let e = s.keep(&scope("ex.com/org"), "me", "s3cret").await.unwrap_err();
            assert!(
                matches!(&e, Failure::Setup(t) if t.contains("whole registries") && !t.contains("s3cret")),
                "{e}"
            );
            assert_eq!(s.forget(&scope("ex.com")).await, Ok(Some(there)));
            assert!(!kept.exists() && json_of(&file)["auths"].get("ex.com").is_none());
            assert_eq!(s.forget(&scope("ex.com")).await, Ok(None));
        }
        std::fs::write(&helper, "#!/bin/sh\ncat >&2; echo s3cret; exit 1\n").unwrap();
        let file = dir.path().join("c.json");
        std::fs::write(&file, r#"{"credsStore":"t"}"#).unwrap();
        let s = CredentialSources {
            helper_path: Some(dir.path().into()),
            ..sources(std::slice::from_ref(&file))
        };
        let e = s.keep(&scope("ex.com"), "me", "s3cret").await.unwrap_err();
        assert!(matches!(&e, Failure::Setup(t) if t.contains("failed") && !t.contains("s3cret")), "{e}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), r#"{"credsStore":"t"}"#);
    }
}
