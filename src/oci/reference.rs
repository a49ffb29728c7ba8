//! References as they are typed: `host[:port]/repo[:tag][@digest]`, `oci:DIR[:tag|@digest]` and
//! `oci-archive:FILE[:tag|@digest]`.
//! A registry or a tag is never implied.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Digest, DigestError};

/// A tag: `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}` (distribution-spec "Pulling manifests").
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tag(String);

/// A repository on a registry: host with optional port, and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Repository {
    host: String,
    name: String,
}

/// What in a repository or OCI layout is meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Selector {
    /// Whatever the tag names now.
    Tag(Tag),
    /// This content.
    Digest(Digest),
    /// This content, which was asked for under this tag: the digest decides.
    Both(Tag, Digest),
}

/// `host[:port]/repo[:tag][@digest]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RegistryRef {
    /// The repository.
    pub repository: Repository,
    /// Tag, digest, both, or nothing where a repository is meant.
    pub selector: Option<Selector>,
}

/// `oci:DIR[:tag|@digest]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LayoutRef {
    /// The directory of the OCI layout.
    pub dir: PathBuf,
    /// Tag, digest, both, or nothing where the whole layout is meant.
    pub selector: Option<Selector>,
}

/// `oci-archive:FILE[:tag|@digest]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ArchiveRef {
    /// The tar file that holds an OCI layout.
    pub file: PathBuf,
    /// Tag, digest, both, or nothing where the whole layout is meant.
    pub selector: Option<Selector>,
}

/// A place that holds bundles, as a user names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reference {
    /// On a registry.
    Registry(RegistryRef),
    /// In an OCI layout directory.
    Layout(LayoutRef),
    /// In an OCI layout that is one tar file.
    Archive(ArchiveRef),
}

/// Why a string is not a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Nothing before the first slash that is a registry.
    #[error(
        "\"{0}\" names no registry: write host[:port]/repository, as in registry.example.com/org/app:v1, oci:DIR for an OCI layout or oci-archive:FILE for one in a tar file"
    )]
    NoRegistry(String),
    /// The host part is not a host.
    #[error("\"{0}\" is not a registry host: expected a name or address with an optional port")]
    Host(String),
    /// The repository part is malformed.
    #[error(
        "\"{0}\" is not a repository name: lower-case letters, digits and single separators . _ - between slashes, at most 255 characters with the host"
    )]
    Name(String),
    /// The tag is malformed.
    #[error(
        "\"{0}\" is not a tag: a letter, digit or underscore, then at most 127 letters, digits, . _ or -"
    )]
    Tag(String),
    /// The digest is malformed.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// `oci:` without a directory.
    #[error("\"oci:\" needs a directory: oci:DIR, oci:DIR:TAG or oci:DIR@sha256:...")]
    NoDirectory,
    /// `oci-archive:` without a file.
    #[error(
        "\"oci-archive:\" needs a file: oci-archive:FILE, oci-archive:FILE:TAG or oci-archive:FILE@sha256:..."
    )]
    NoFile,
}

impl Tag {
    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `prefix` and the first `len` hex digits of `digest`. The prefix is a constant of the caller: letters, digits, dots.
    pub fn of_digest(prefix: &'static str, digest: &Digest, len: usize) -> Self {
        Self(format!("{prefix}{}", &digest.hex()[..len.min(digest.hex().len())]))
    }
}

impl FromStr for Tag {
    type Err = ReferenceError;

    fn from_str(s: &str) -> Result<Self, ReferenceError> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let legal = s.len() <= 128
            && s.bytes().next().is_some_and(word)
            && s.bytes().all(|b| word(b) || b == b'.' || b == b'-');
        if legal { Ok(Self(s.to_owned())) } else { Err(ReferenceError::Tag(s.chars().take(160).collect())) }
    }
}

impl Repository {
    /// Host with port, as typed.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Name on the registry, without host.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// One text for every way to spell this repository that leads to one place without asking anybody: default ports (either of
    /// them), numbers and IPv6 addresses as hosts, the names of Docker Hub. For comparing only.
    pub fn spelt_alike(&self) -> String {
        format!("{}/{}", host_spelt_alike(&self.host), self.name)
    }

    /// Whether both are one registry, however it is spelt.
    pub fn is_on(&self, host: &str) -> bool {
        self.host == host || host_spelt_alike(&self.host) == host_spelt_alike(host)
    }

    /// The rest of the name below `prefix`, `host` or `host/part/part`, however the host is spelt: whole parts, at least one.
    pub fn below(&self, prefix: &str) -> Option<&str> {
        let (host, parts) =
            prefix.split_once('/').map_or((prefix, None), |(host, parts)| (host, Some(parts)));
        let rest = match parts {
            None => Some(self.name.as_str()),
            Some(parts) => self.name.strip_prefix(parts).and_then(|rest| rest.strip_prefix('/')),
        };
        rest.filter(|rest| !rest.is_empty() && self.is_on(host))
    }
}

fn host_spelt_alike(host: &str) -> String {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port),
        _ => (host, ""),
    };
    let v6 = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).and_then(|n| n.parse().ok());
    let name = match v6.map(|v6: std::net::Ipv6Addr| v6.to_canonical()) {
        Some(address) => address.to_string(),
        None => numeric(name).map_or_else(|| name.to_owned(), |v4| v4.to_string()),
    };
    match (name.as_str(), port.trim_start_matches('0')) {
        ("docker.io" | "index.docker.io", "" | "443" | "80") => "registry-1.docker.io".to_owned(),
        (_, "" | "443" | "80") => name,
        (_, port) => format!("{name}:{port}"),
    }
}

/// A host that clients read as an IPv4 address though it is written in another way (WHATWG URL, "IPv4 parser"): `0x7f.1`.
fn numeric(host: &str) -> Option<std::net::Ipv4Addr> {
    let part = |text: &str| match text.strip_prefix("0x") {
        Some("") => Some(0),
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None if text.len() > 1 && text.starts_with('0') => u64::from_str_radix(text, 8).ok(),
        None => text.parse().ok(),
    };
    let parts: Vec<u64> = host.split('.').map(part).collect::<Option<_>>()?;
    let (last, first) = parts.split_last()?;
    if first.len() > 3 || first.iter().any(|n| *n > 255) || *last >= 256_u64.pow(4 - first.len() as u32) {
        return None;
    }
    let high = first.iter().zip([24, 16, 8]).map(|(n, shift)| n << shift).sum::<u64>();
    u32::try_from(high + last).ok().map(std::net::Ipv4Addr::from)
}

impl FromStr for Repository {
    type Err = ReferenceError;

    fn from_str(s: &str) -> Result<Self, ReferenceError> {
        let Some((host, name)) = s.split_once('/') else {
            return Err(ReferenceError::NoRegistry(s.to_owned()));
        };
        if !(host == "localhost" || host.contains(['.', ':'])) {
            return Err(ReferenceError::NoRegistry(s.to_owned()));
        }
        if !is_host(host) {
            return Err(ReferenceError::Host(host.to_owned()));
        }
        if s.len() > 255 || !name.split('/').all(is_path_component) {
            return Err(ReferenceError::Name(name.chars().take(300).collect()));
        }
        Ok(Self { host: host.to_ascii_lowercase(), name: name.to_owned() })
    }
}

impl Selector {
    /// The tag, if one was typed.
    pub fn tag(&self) -> Option<&Tag> {
        match self {
            Self::Tag(t) | Self::Both(t, _) => Some(t),
            Self::Digest(_) => None,
        }
    }

    /// The digest, if one was typed.
    pub fn digest(&self) -> Option<&Digest> {
        match self {
            Self::Digest(d) | Self::Both(_, d) => Some(d),
            Self::Tag(_) => None,
        }
    }
}

impl Reference {
    /// The selector, if any.
    pub fn selector(&self) -> Option<&Selector> {
        match self {
            Self::Registry(r) => r.selector.as_ref(),
            Self::Layout(l) => l.selector.as_ref(),
            Self::Archive(a) => a.selector.as_ref(),
        }
    }

    /// Whether it lies in a file or directory here: reading it opens no connection.
    pub fn is_local(&self) -> bool {
        matches!(self, Self::Layout(_) | Self::Archive(_))
    }

    /// The same place with another selector.
    #[must_use]
    pub fn at(&self, selector: Option<Selector>) -> Self {
        match self {
            Self::Registry(r) => Self::Registry(RegistryRef { repository: r.repository.clone(), selector }),
            Self::Layout(l) => Self::Layout(LayoutRef { dir: l.dir.clone(), selector }),
            Self::Archive(a) => Self::Archive(ArchiveRef { file: a.file.clone(), selector }),
        }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(s: &str) -> Result<Self, ReferenceError> {
        if let Some(rest) = s.strip_prefix("oci:") {
            rest.parse().map(Self::Layout)
        } else if let Some(rest) = s.strip_prefix("oci-archive:") {
            rest.parse().map(Self::Archive)
        } else {
            s.parse().map(Self::Registry)
        }
    }
}

impl FromStr for RegistryRef {
    type Err = ReferenceError;

    fn from_str(s: &str) -> Result<Self, ReferenceError> {
        let (rest, digest) = split_digest(s)?;
        // A colon before the last slash belongs to the port.
        let cut = rest.rfind('/').and_then(|slash| rest[slash..].find(':').map(|colon| slash + colon));
        let (repository, tag) = match cut {
            Some(at) => (&rest[..at], Some(rest[at + 1..].parse()?)),
            None => (rest, None),
        };
        Ok(Self { repository: repository.parse()?, selector: selector(tag, digest) })
    }
}

impl FromStr for LayoutRef {
    type Err = ReferenceError;

    /// Parses what follows `oci:`.
    fn from_str(s: &str) -> Result<Self, ReferenceError> {
        let (dir, selector) = local(s)?.ok_or(ReferenceError::NoDirectory)?;
        Ok(Self { dir, selector })
    }
}

impl FromStr for ArchiveRef {
    type Err = ReferenceError;

    /// Parses what follows `oci-archive:`.
    fn from_str(s: &str) -> Result<Self, ReferenceError> {
        let (file, selector) = local(s)?.ok_or(ReferenceError::NoFile)?;
        Ok(Self { file, selector })
    }
}

/// `PATH[:tag|@digest]`; `None` without a path.
fn local(s: &str) -> Result<Option<(PathBuf, Option<Selector>)>, ReferenceError> {
    let (rest, digest) = match s.rsplit_once('@') {
        Some((path, d)) if d.starts_with("sha256:") || d.starts_with("sha512:") => (path, Some(d.parse()?)),
        _ => (s, None),
    };
    // `C:\dir` is a path: what follows the last colon is a tag only if it could be one.
    let (path, tag) = match rest.rsplit_once(':').map(|(path, tag)| (path, tag.parse::<Tag>())) {
        Some((path, Ok(tag))) => (path, Some(tag)),
        Some((path, Err(e))) if !rest[path.len() + 1..].contains(['/', '\\']) => return Err(e),
        _ => (rest, None),
    };
    if path.is_empty() {
        return Ok(None);
    }
    Ok(Some((Path::new(path).to_owned(), selector(tag, digest))))
}

fn split_digest(s: &str) -> Result<(&str, Option<Digest>), ReferenceError> {
    match s.split_once('@') {
        Some((rest, digest)) => Ok((rest, Some(digest.parse()?))),
        None => Ok((s, None)),
    }
}

fn selector(tag: Option<Tag>, digest: Option<Digest>) -> Option<Selector> {
    match (tag, digest) {
        (Some(t), Some(d)) => Some(Selector::Both(t, d)),
        (Some(t), None) => Some(Selector::Tag(t)),
        (None, Some(d)) => Some(Selector::Digest(d)),
        (None, None) => None,
    }
}

fn is_host(host: &str) -> bool {
    let is_port = |p: &str| p.bytes().all(|b| b.is_ascii_digit()) && p.parse::<u16>().is_ok_and(|n| n > 0);
    if let Some((v6, port)) = host.strip_prefix('[').and_then(|h| h.split_once(']')) {
        return v6.parse::<std::net::Ipv6Addr>().is_ok()
            && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    let (name, port) = host.split_once(':').map_or((host, None), |(n, p)| (n, Some(p)));
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    name.split('.').all(label) && port.is_none_or(is_port)
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*` (distribution-spec).
fn is_path_component(c: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let separators = c.split(|ch: char| ch.is_ascii() && word(ch as u8)).filter(|s| !s.is_empty());
    c.bytes().next().is_some_and(word)
        && c.bytes().next_back().is_some_and(word)
        && separators.into_iter().all(|s| matches!(s, "." | "_" | "__") || s.bytes().all(|b| b == b'-'))
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.name)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(t) => write!(f, ":{t}"),
            Self::Digest(d) => write!(f, "@{d}"),
            Self::Both(t, d) => write!(f, ":{t}@{d}"),
        }
    }
}

impl fmt::Display for RegistryRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repository)?;
        self.selector.iter().try_for_each(|s| write!(f, "{s}"))
    }
}

impl fmt::Display for LayoutRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oci:{}", self.dir.display())?;
        self.selector.iter().try_for_each(|s| write!(f, "{s}"))
    }
}

impl fmt::Display for ArchiveRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oci-archive:{}", self.file.display())?;
        self.selector.iter().try_for_each(|s| write!(f, "{s}"))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(r) => r.fmt(f),
            Self::Layout(l) => l.fmt(f),
            Self::Archive(a) => a.fmt(f),
        }
    }
}

impl TryFrom<String> for Tag {
    type Error = ReferenceError;

    fn try_from(s: String) -> Result<Self, ReferenceError> {
        s.parse()
    }
}

impl From<Tag> for String {
    fn from(t: Tag) -> Self {
        t.0
    }
}

impl TryFrom<String> for Repository {
    type Error = ReferenceError;

    fn try_from(s: String) -> Result<Self, ReferenceError> {
        s.parse()
    }
}

impl From<Repository> for String {
    fn from(r: Repository) -> Self {
        r.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const D: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    #[test]
    fn reads_and_prints() {
        for s in [
            "registry.example.com/org/app:v1",
            "127.0.0.1:5000/a/b",
            "localhost/a",
            "localhost:5000/a:t",
            "[::1]:5000/a",
            "ex.com/a-b__c.d/e:V_1.2-x",
            &format!("ex.com/a@{D}"),
            &format!("ex.com:443/a:t@{D}"),
            "oci:/tmp/lay",
            "oci:lay:v1",
            &format!("oci:lay@{D}"),
            "oci:/a:b/c:v1",
            "oci-archive:/tmp/app.tar",
            "oci-archive:app.tar:v1",
            &format!("oci-archive:app.tar@{D}"),
            &format!("oci-archive:/a:b/app.tar:v1@{D}"),
        ] {
            assert_eq!(s.parse::<Reference>().map(|r| r.to_string()).as_deref(), Ok(s));
        }
    }

    #[test]
    fn an_address_in_brackets_hides_no_other_host() {
        for s in ["[::1]@evil.example/a", "[::1]:1@evil.example/a", "[::1].evil.example/a"] {
            assert_eq!(
                s.parse::<Repository>(),
                Err(ReferenceError::Host(s.trim_end_matches("/a").to_owned()))
            );
        }
    }

    #[test]
    fn windows_drive_is_not_a_tag() {
        let Ok(Reference::Layout(l)) = r"oci:C:\dir\lay:v1".parse::<Reference>() else { panic!() };
        assert_eq!(l.dir, Path::new(r"C:\dir\lay"));
        assert_eq!(l.selector.unwrap().to_string(), ":v1");
        let Ok(Reference::Layout(l)) = r"oci:C:\dir".parse::<Reference>() else { panic!() };
        assert_eq!((l.dir.as_path(), l.selector), (Path::new(r"C:\dir"), None));
        let Ok(Reference::Archive(a)) = r"oci-archive:C:\app.tar:v1".parse::<Reference>() else { panic!() };
        assert_eq!(a.file, Path::new(r"C:\app.tar"));
        assert_eq!(a.selector.unwrap().to_string(), ":v1");
    }

    #[test]
    fn implies_nothing_and_refuses_the_malformed() {
        for s in [
            "",
            "app",
            "org/app:v1",
            "ex.com",
            "ex.com/",
            "ex.com/App",
            "ex.com/a//b",
            "ex.com/a..b",
            "ex.com/a___b",
            "ex.com/a:",
            "ex.com/a:-x",
            "ex.com/a@",
            "ex.com/a@sha256:0",
            "ex.com:0/a",
            "ex.com:99999/a",
            "ex.com:+80/a",
            "[::1]5000/a",
            "[::1]evil.example/a",
            "[::1]:/a",
            "[::1",
            "-x.com/a",
            "ex.com/../a",
            "oci:",
            "oci:d:",
            "oci:d@sha256:1",
            "oci-archive:",
            "oci-archive::v1",
            "oci-archive:f:",
            "oci-archive:f@sha256:1",
            "http://ex.com/a",
        ] {
            assert!(s.parse::<Reference>().is_err(), "{s}");
        }
    }
}
