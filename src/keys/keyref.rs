//! How users name keys.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::{KeyError, KmsRef};

/// The name of a key in the key folder: 1 to 64 of `a-z A-Z 0-9 . _ -`, no dot or dash first, not ending in `.pem`,
/// `.pub` or `.key`. Safe as a file name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyName(String);

/// A key as it is typed. The form alone decides, never what exists: whatever contains a slash or ends in `.pem`,
/// `.pub` or `.key` is a path, `word://…` is a key in a KMS, `word:…` another scheme, everything else is a name in the key folder.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyRef {
    /// A key of the key folder.
    Name(KeyName),
    /// A PEM file.
    File(PathBuf),
    /// A key in a KMS.
    Kms(KmsRef),
}

impl KeyName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyName {
    type Err = KeyError;

    fn from_str(s: &str) -> Result<Self, KeyError> {
        let legal = (1..=64).contains(&s.len())
            && !s.starts_with(['.', '-'])
            && !is_key_file(s)
            && s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if legal { Ok(Self(s.to_owned())) } else { Err(KeyError::Name(s.chars().take(80).collect())) }
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for KeyRef {
    type Err = KeyError;

    fn from_str(s: &str) -> Result<Self, KeyError> {
        if s.contains("://") && !s.starts_with(['.', '/']) {
            return s.parse().map(Self::Kms);
        }
        if let Some(scheme) = scheme(s) {
            return Err(KeyError::Scheme { scheme: scheme.to_owned() });
        }
        if s.contains(['/', std::path::MAIN_SEPARATOR]) || is_key_file(s) {
            return Ok(Self::File(PathBuf::from(s)));
        }
        s.parse().map(Self::Name)
    }
}

impl fmt::Display for KeyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(n) => n.fmt(f),
            Self::File(p) => p.display().fmt(f),
            Self::Kms(k) => k.fmt(f),
        }
    }
}

fn is_key_file(s: &str) -> bool {
    [".pem", ".pub", ".key"].iter().any(|ending| s.ends_with(ending))
}

/// The scheme of a URI (RFC 3986 3.1), at least two letters long: `C:\keys` is a path.
fn scheme(s: &str) -> Option<&str> {
    let (scheme, _) = s.split_once(':')?;
    let legal = scheme.len() >= 2
        && scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'+' | b'.' | b'-'));
    legal.then_some(scheme)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_decides() {
        let name = |s: &str| KeyRef::Name(s.parse().unwrap());
        for (typed, is) in [
            ("app-root", name("app-root")),
            ("app.v1", name("app.v1")),
            ("a", name("a")),
            ("./app-root", KeyRef::File("./app-root".into())),
            ("keys/app", KeyRef::File("keys/app".into())),
            ("app.pem", KeyRef::File("app.pem".into())),
            ("app.pub", KeyRef::File("app.pub".into())),
            ("cosign.key", KeyRef::File("cosign.key".into())),
            ("/tmp/x.key", KeyRef::File("/tmp/x.key".into())),
            ("./pkcs11:x", KeyRef::File("./pkcs11:x".into())),
        ] {
            assert_eq!(typed.parse(), Ok(is), "{typed}");
        }
        for typed in ["pkcs11:token=x", "pkcs11://x", "awskms:x"] {
            let scheme = typed.split(':').next().unwrap().to_owned();
            assert_eq!(typed.parse::<KeyRef>(), Err(KeyError::Scheme { scheme }));
        }
        let kms = "awskms:///alias/x".parse().unwrap();
        assert_eq!("awskms:///alias/x".parse(), Ok(KeyRef::Kms(kms)));
    }

    #[test]
    fn names_are_safe_file_names() {
        let long = "x".repeat(65);
        for bad in [
            "", ".", "..", ".hidden", "-x", "a b", "ä", "x.pem", "x.pub", "x.key", "a:b", "a\0b", "a/b",
            &long,
        ] {
            assert_eq!(bad.parse::<KeyName>(), Err(KeyError::Name(bad.to_owned())));
        }
    }
}
