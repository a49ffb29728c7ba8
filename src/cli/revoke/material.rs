//! What `revoke` names beside bundles: a signature, a key or a certificate, by its digest or by the file that holds it.

use std::path::Path;
use std::str::FromStr;

use crate::cli::context::Context;
use crate::cli::error::{CliError, Exit};
use crate::client::documents;
use crate::client::revoke::{Carried, carried};
use crate::oci::{Digest, Reference, ReferenceError, Selector};
use crate::sig::SubjectKey;
use crate::store::Store;
use crate::time::UnixTime;
use crate::trust::{Material, MaterialKind, Trusts};

/// The flags that name one.
#[derive(Debug, clap::Args)]
pub(super) struct MaterialArgs {
    /// One signature: the manifest that carries it (REPO@DIGEST, or a digest in REF's repository), or its name as verify
    /// prints it (data.signature)
    #[arg(long, value_name = "DIGEST", conflicts_with_all = ["key", "cert", "advisory"])]
    signature: Option<Carrier>,
    /// Every signature by this key: SHA-256 of its SubjectPublicKeyInfo, its id in TUF, or a file with the public key; a
    /// key of the collection's own roles, too
    #[arg(long, value_name = "ID", conflicts_with_all = ["cert", "advisory"])]
    key: Option<String>,
    /// Every signature under this certificate, a signer's or a CA's: its SHA-256 fingerprint, or a file that holds it
    #[arg(long, value_name = "FINGERPRINT", conflicts_with = "advisory")]
    cert: Option<String>,
    /// From when on key or certificate were in wrong hands: what is proven to be signed before is spared, and a signature
    /// without proven time is not
    #[arg(long, value_name = "TIME")]
    since: Option<UnixTime>,
}

impl MaterialArgs {
    /// The signature that is named.
    pub(super) fn carrier(&self) -> Option<&Carrier> {
        self.signature.as_ref()
    }

    /// What is named.
    pub(super) fn read(&self, cx: &Context<'_, '_>) -> Result<Option<Material>, CliError> {
        let (kind, subject) = match (&self.signature, &self.key, &self.cert) {
            (Some(carrier), ..) => (MaterialKind::Signature, carrier.digest().clone()),
            (None, Some(key), _) => (MaterialKind::Key, key_named(cx, key)?),
            (None, None, Some(cert)) => (MaterialKind::Certificate, certificate_named(cert)?),
            (None, None, None) => {
                return match self.since {
                    None => Ok(None),
                    Some(_) => Err(CliError::usage("--since goes with --key or --cert")
                        .next("a bundle is taken back whenever it was made: leave it out")),
                };
            }
        };
        if kind == MaterialKind::Signature && self.since.is_some() {
            return Err(CliError::usage("--since goes with --key or --cert")
                .reason("one signature was made at one time")
                .next("leave it out"));
        }
        if subject.hex().len() != 64 {
            return Err(CliError::usage(format!("{subject} is no SHA-256 digest")));
        }
        Ok(Some(Material { kind, subject, since: self.since }))
    }
}

/// Where a signature is carried.
#[derive(Debug, Clone)]
pub(super) enum Carrier {
    /// In the place that the command is about, or the signature's name.
    Here(Digest),
    /// In another place.
    At(Reference, Digest),
}

impl Carrier {
    fn digest(&self) -> &Digest {
        match self {
            Self::Here(digest) | Self::At(_, digest) => digest,
        }
    }

    /// The place to look at, where that is another one.
    pub(super) fn place(&self) -> Option<&Reference> {
        match self {
            Self::Here(_) => None,
            Self::At(place, _) => Some(place),
        }
    }
}

impl FromStr for Carrier {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(digest) = text.parse() {
            return Ok(Self::Here(digest));
        }
        let reference: Reference = text.parse().map_err(|e: ReferenceError| e.to_string())?;
        match reference.selector() {
            Some(Selector::Digest(digest)) => Ok(Self::At(reference.at(None), digest.clone())),
            _ => Err("write a digest, or REPO@DIGEST".to_owned()),
        }
    }
}

/// What is to be entered for a signature, by what lies there: its name, whatever carries it. `None` where nothing lies there.
pub(super) async fn named(store: &dyn Store, digest: &Digest) -> Result<Option<Digest>, CliError> {
    match carried(store, digest).await? {
        Carried::One(name) => Ok(Some(name)),
        Carried::Absent => Ok(None),
        Carried::Other(why) => Err(CliError::new(
            Exit::No,
            "revoke.no-signature",
            format!("{digest} is no signature"),
        )
        .reason(why)
        .next(
            "bulla tree shows what hangs on a bundle, and bulla verify --format json the names of signatures",
        )),
    }
}

/// A digest as people write it: with the algorithm or without, with colons as openssl prints them.
fn digest(text: &str) -> Option<Digest> {
    if let Ok(digest) = text.parse() {
        return Some(digest);
    }
    let bare = text.strip_prefix("sha256:").unwrap_or(text);
    let hex: String = bare.chars().filter(|c| *c != ':').collect::<String>().to_ascii_lowercase();
    // Only pairs may be parted.
    let paired = !bare.contains(':') || bare.split(':').all(|pair| pair.len() == 2);
    format!("sha256:{hex}").parse().ok().filter(|_| paired)
}

fn key_named(cx: &Context<'_, '_>, text: &str) -> Result<Digest, CliError> {
    if let Some(digest) = digest(text) {
        return Ok(digest);
    }
    let unknown = |why: &dyn std::fmt::Display| {
        CliError::usage(format!("--key {text} names no key")).reason(why).next(
            "write its fingerprint (sha256:…), its id in TUF (64 hex digits), or a file with the public key",
        )
    };
    if Path::new(text).is_file() {
        return match documents::trusts(Path::new(text))?.pop() {
            Some(Trusts::Key(key)) => Ok(key.fingerprint()),
            _ => Err(unknown(&"the file holds a certificate").next("pass it as --cert")),
        };
    }
    let key = text.parse().map_err(|e| unknown(&e))?;
    let public = cx.keys().look(&key)?.public;
    let public = public.as_ref().map(SubjectKey::from);
    public.map(|key| key.fingerprint()).ok_or_else(|| unknown(&"there is no public key beside it"))
}

fn certificate_named(text: &str) -> Result<Digest, CliError> {
    if let Some(digest) = digest(text) {
        return Ok(digest);
    }
    let unknown = |why: &str| {
        CliError::usage(format!("--cert {text} names no certificate"))
            .reason(why)
            .next("write its SHA-256 fingerprint, or a file that holds it")
    };
    if !Path::new(text).is_file() {
        return Err(unknown("it is no SHA-256 fingerprint, and there is no such file"));
    }
    match &documents::trusts(Path::new(text))?[..] {
        [Trusts::Ca { certificate, .. } | Trusts::Certificate(certificate)] => Ok(certificate.thumbprint()),
        [Trusts::Key(_)] => Err(unknown("the file holds a public key").next("pass it as --key")),
        _ => Err(unknown("the file holds several, and which one is meant is not said")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_as_tools_print_them() {
        let hex = "ab".repeat(32);
        let colons = ["AB"; 32].join(":");
        for text in [hex.clone(), format!("sha256:{hex}"), colons.clone(), hex.to_uppercase()] {
            assert_eq!(digest(&text).map(|d| d.hex().to_owned()), Some(hex.clone()), "{text}");
        }
        for text in ["", "ab", &hex[..63], &colons[..93], &format!("a:{}", &hex[1..]), "release", "./key.pub"]
        {
            assert_eq!(digest(text), None, "{text}");
        }
    }
}
