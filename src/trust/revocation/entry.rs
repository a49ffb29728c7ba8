//! One entry of a revocation list: read, and made.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::oci::{Algorithm, Digest, sorted_json};
use crate::sig::KeyId;
use crate::time::UnixTime;
use crate::trust::report::Check;

/// One entry, as its signer worded it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct RevocationEntry {
    /// Its name in the list.
    pub id: String,
    /// What it says.
    pub kind: RevocationKind,
    #[serde(default)]
    subject: Option<String>,
    /// What it is about: a bundle, a signature, a key or a certificate.
    #[serde(skip)]
    pub digest: Option<Digest>,
    /// Of a key or certificate: from when on it was in wrong hands. What is proven to be older than that is spared.
    #[serde(default)]
    pub since: Option<UnixTime>,
    /// When it was entered.
    pub at: UnixTime,
    /// By whom.
    #[serde(default)]
    pub by: Option<String>,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// The id of the entry that it undoes.
    #[serde(default)]
    pub undoes: Option<String>,
}

/// The kind of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RevocationKind {
    /// A bundle is taken back.
    Bundle,
    /// A signature of another tool is.
    Signature,
    /// A key is: of whoever signs with other tools, or of a role of the collection.
    Key,
    /// A certificate is.
    Certificate,
    /// A bundle is taken back, and its entries went.
    Tombstone,
    /// A warning.
    Advisory,
    /// Another entry counts no longer.
    Unrevoke,
}

/// What is entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revoke {
    /// This bundle is taken back.
    Tombstone(Digest),
    /// A warning of this bundle, or of all of the collection.
    Advisory(Option<Digest>),
    /// The entry with this id counts no longer; where several bear it, those about this subject.
    Undo(String, Option<Digest>),
    /// A signature, key or certificate is taken back.
    Material(Material),
}

/// A signature, key or certificate that is taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Material {
    /// Which of the three.
    pub kind: MaterialKind,
    /// SHA-256 of the signature's manifest or bytes; of the key's SubjectPublicKeyInfo, or its id in TUF; of the certificate.
    pub subject: Digest,
    /// From when on a key or certificate was in wrong hands.
    pub since: Option<UnixTime>,
}

/// What signatures of other tools rest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MaterialKind {
    /// One signature.
    Signature,
    /// All by a key.
    Key,
    /// All by a certificate, and by those below it.
    Certificate,
}

impl RevocationKind {
    /// As the file writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bundle => "bundle",
            Self::Signature => "signature",
            Self::Key => "key",
            Self::Certificate => "certificate",
            Self::Tombstone => "tombstone",
            Self::Advisory => "advisory",
            Self::Unrevoke => "unrevoke",
        }
    }

    /// Whether an entry of this kind takes something back.
    pub fn takes_back(self) -> bool {
        !matches!(self, Self::Advisory | Self::Unrevoke)
    }
}

impl MaterialKind {
    /// As the file writes it.
    pub fn as_str(self) -> &'static str {
        RevocationKind::from(self).as_str()
    }
}

impl From<MaterialKind> for RevocationKind {
    fn from(kind: MaterialKind) -> Self {
        match kind {
            MaterialKind::Signature => Self::Signature,
            MaterialKind::Key => Self::Key,
            MaterialKind::Certificate => Self::Certificate,
        }
    }
}

impl RevocationEntry {
    /// Whether it takes a bundle back.
    pub(super) fn is_of_bundle(&self) -> bool {
        matches!(self.kind, RevocationKind::Bundle | RevocationKind::Tombstone)
    }

    /// Whether it spares what is proven to have been signed at `proven`: what a signer says of the time proves nothing.
    pub(in crate::trust) fn spares(&self, proven: Option<UnixTime>) -> bool {
        let bounded = matches!(self.kind, RevocationKind::Key | RevocationKind::Certificate);
        bounded && matches!((self.since, proven), (Some(since), Some(proven)) if proven < since)
    }

    /// Who, when and why, in words.
    pub fn said(&self) -> String {
        let by = self.by.as_deref().unwrap_or("unknown");
        let why = self.reason.as_deref().unwrap_or("no reason given");
        let since = self.since.map(|since| format!(", for what was signed since {since}"));
        format!("at {} by {by}{}: {why}", self.at, since.unwrap_or_default())
    }

    /// The check that rests on it, with what it says for machines.
    pub(in crate::trust) fn told_by(&self, check: Check) -> Check {
        let check = check.with("id", self.id.as_str()).with("at", self.at.to_string());
        let check = check.with("by", self.by.clone()).with("reason", self.reason.clone());
        let check = check.with("kind", self.kind.as_str());
        let check = match &self.digest {
            Some(subject) => check.with("subject", subject.to_string()),
            None => check,
        };
        match self.since {
            Some(since) => check.with("since", since.to_string()),
            None => check,
        }
    }

    /// Whether it takes back at least as much as this.
    pub fn covers(&self, material: &Material) -> bool {
        let since = match (self.since, material.since) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(other)) => own <= other,
        };
        self.kind == material.kind.into() && self.digest.as_ref() == Some(&material.subject) && since
    }

    /// What must be there for its kind is there.
    pub(super) fn understood(mut self) -> Result<Self, String> {
        match self.kind {
            RevocationKind::Bundle | RevocationKind::Tombstone => self.digest = Some(self.named()?),
            // One without subject warns of the whole collection.
            RevocationKind::Advisory if self.subject.is_some() => self.digest = Some(self.named()?),
            RevocationKind::Unrevoke if self.undoes.is_none() => {
                return Err(format!("entry \"{}\" does not say what it undoes", self.id));
            }
            RevocationKind::Unrevoke if self.subject.is_some() => self.digest = Some(self.named()?),
            // It could be a key of TUF.
            RevocationKind::Key => self.digest = Some(self.named()?),
            RevocationKind::Signature | RevocationKind::Certificate => self.digest = self.named().ok(),
            RevocationKind::Advisory | RevocationKind::Unrevoke => {}
        }
        Ok(self)
    }

    fn named(&self) -> Result<Digest, String> {
        let subject = self.subject.as_deref().unwrap_or_default();
        let digest: Digest =
            subject.parse().map_err(|e| format!("entry \"{}\": its subject: {e}", self.id))?;
        match digest.algorithm() {
            Algorithm::Sha256 => Ok(digest),
            _ => Err(format!("entry \"{}\": its subject is no sha256 digest", self.id)),
        }
    }
}

impl Revoke {
    /// The entry, signed by `by` at `at`. Its id is the beginning of a hash over the rest: the same is entered once.
    pub fn to_json(&self, by: &KeyId, at: UnixTime, reason: &str) -> Value {
        let (kind, subject, undoes) = match self {
            Self::Tombstone(digest) => ("tombstone", Some(digest), None),
            Self::Advisory(digest) => ("advisory", digest.as_ref(), None),
            Self::Undo(id, about) => ("unrevoke", about.as_ref(), Some(id)),
            Self::Material(material) => (material.kind.as_str(), Some(&material.subject), None),
        };
        let mut entry = json!({"kind": kind, "at": at, "by": by, "reason": reason});
        if let Some(subject) = subject {
            entry["subject"] = json!(subject);
        }
        if let Some(undoes) = undoes {
            entry["undoes"] = json!(undoes);
        }
        if let Self::Material(Material { since: Some(since), .. }) = self {
            entry["since"] = json!(since);
        }
        entry["id"] = json!(&Digest::sha256(&sorted_json(&entry)).hex()[..16]);
        entry
    }
}
