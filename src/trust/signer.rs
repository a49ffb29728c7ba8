//! Anchors of signatures: a CA, a leaf certificate, a bare key, or an identity that a Sigstore log vouches for (docs/formats.md
//! "trust.json"). They add up: one more never takes anything from those that are there.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::level::Origin;
use super::{AnchorId, Scope, SubjectPattern};
use crate::envelope::keyless::{TrustedRoot, TrustedRootError};
use crate::oci::Digest;
use crate::sig::SubjectKey;
use crate::sig::x509::Certificate;
use crate::tuf::CollectionName;

/// Most subjects of one CA.
pub const MAX_SUBJECTS: usize = 64;
/// Longest identity or issuer, bytes.
const MAX_IDENTITY: usize = 2048;

/// Whose signatures count, for a scope of any width.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawSigner", into = "RawSigner")]
pub struct SignerAnchor {
    /// Its name in the file.
    pub id: AnchorId,
    /// What it speaks for.
    pub scope: Scope,
    /// Whom it trusts.
    pub trusts: Trusts,
    /// Where withdrawals of its signatures come from.
    pub rescissions: Rescissions,
    /// Which file says so.
    pub origin: Origin,
}

/// Whom an anchor trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trusts {
    /// Whoever this CA, a root or an intermediate, has certified.
    Ca {
        /// Its certificate.
        certificate: Certificate,
        /// Only these; empty: everybody whom it certified.
        subjects: Vec<SubjectPattern>,
    },
    /// Exactly this signer's certificate. Its rotation breaks the anchor.
    Certificate(Certificate),
    /// Exactly this key. Its rotation breaks the anchor.
    Key(SubjectKey),
    /// Who proved this identity to this issuer, according to the authorities and logs of a Sigstore trusted root.
    Keyless {
        /// The trusted root.
        trusted_root: TrustedRoot,
        /// The identity, exactly.
        identity: String,
        /// The issuer, exactly.
        issuer: String,
    },
}

/// Where withdrawals come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Rescissions {
    /// Nowhere: nothing that this anchor vouches for can be taken back through it.
    #[default]
    Nowhere,
    /// The revocation list of a collection, for which there must be a TUF anchor.
    Tuf(CollectionName),
    /// The servers that certificates name (OCSP, CRLs), of which none is asked: a chain in which one below the root names any cannot
    /// be decided while rescissions are checked, and one that names none has nothing to ask.
    Servers,
}

/// Why an anchor of signatures cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignerError {
    /// Its name.
    #[error("\"{0}\" is no id: 1 to 64 letters, digits, dots, dashes and underscores")]
    Id(String),
    /// A member that is missing, or one that its kind does not have.
    #[error("{kind} has {fault} \"{member}\"")]
    Member {
        /// The kind, with an article.
        kind: &'static str,
        /// "no" or "a member".
        fault: &'static str,
        /// Which.
        member: &'static str,
    },
    /// A certificate that is not read.
    #[error("its certificate: {0}")]
    Certificate(String),
    /// A certificate of the other sort.
    #[error("{0}")]
    Sort(&'static str),
    /// A key that is not read.
    #[error("its key: {0}")]
    Key(String),
    /// A trusted root that is none, or larger than is read.
    #[error("its trusted root: {0}")]
    TrustedRoot(#[from] TrustedRootError),
    /// A trusted root that is not in the file as it should be.
    #[error("its trusted root: {0}")]
    Pinned(String),
    /// An identity or issuer that cannot be one.
    #[error("its {0} is empty, longer than {MAX_IDENTITY} bytes, or has control characters")]
    Identity(&'static str),
    /// Too many subjects, or one twice.
    #[error("more than {MAX_SUBJECTS} subjects, or one of them twice")]
    Subjects,
}

impl SignerAnchor {
    /// An anchor with the name that follows from what it says.
    ///
    /// # Errors
    /// What it trusts cannot be used.
    pub fn new(scope: Scope, trusts: Trusts, rescissions: Rescissions) -> Result<Self, SignerError> {
        trusts.check()?;
        let mut name = format!("{}\n{scope}\n{}", trusts.kind(), trusts.material());
        let from = Some(&rescissions).filter(|r| **r != Rescissions::Nowhere).map(ToString::to_string);
        for part in trusts.narrowed_to().iter().chain(&from) {
            name.push('\n');
            name.push_str(part);
        }
        let id = AnchorId::of(&name);
        Ok(Self { id, scope, trusts, rescissions, origin: Origin::default() })
    }

    /// Whether another one trusts the same for the same, whichever file it is in.
    pub fn says_the_same(&self, other: &Self) -> bool {
        (&self.id, &self.scope, &self.trusts, &self.rescissions)
            == (&other.id, &other.scope, &other.trusts, &other.rescissions)
    }

    /// The public key that it rests on; a keyless identity has none of its own.
    pub fn public_key(&self) -> Option<&SubjectKey> {
        match &self.trusts {
            Trusts::Ca { certificate, .. } | Trusts::Certificate(certificate) => Some(certificate.key()),
            Trusts::Key(key) => Some(key),
            Trusts::Keyless { .. } => None,
        }
    }

    /// Who is behind the key, as far as something signed says so: of a certificate its subject, of a keyless anchor the identity.
    /// Of a bare key nothing does.
    pub fn signed_identity(&self) -> Option<String> {
        match &self.trusts {
            Trusts::Ca { certificate, .. } | Trusts::Certificate(certificate) => {
                Some(certificate.subject().to_string())
            }
            Trusts::Key(_) => None,
            Trusts::Keyless { identity, .. } => Some(identity.clone()),
        }
    }

    /// Who says so: the certificate's issuer, or that of the identity.
    pub fn issuer(&self) -> Option<String> {
        match &self.trusts {
            Trusts::Ca { certificate, .. } | Trusts::Certificate(certificate) => {
                Some(certificate.issuer().to_string())
            }
            Trusts::Key(_) => None,
            Trusts::Keyless { issuer, .. } => Some(issuer.clone()),
        }
    }

    /// Where withdrawals come from.
    pub fn rescissions(&self) -> &Rescissions {
        &self.rescissions
    }

    /// The certificate that it rests on.
    pub fn certificate(&self) -> Option<&Certificate> {
        match &self.trusts {
            Trusts::Ca { certificate, .. } | Trusts::Certificate(certificate) => Some(certificate),
            Trusts::Key(_) | Trusts::Keyless { .. } => None,
        }
    }

    /// What the deployer should know of it: what rotation will break, and what is wider than it may seem.
    pub fn warnings(&self) -> Vec<&'static str> {
        let mut out = Vec::new();
        match &self.trusts {
            Trusts::Ca { subjects, .. } if subjects.is_empty() => {
                out.push("whoever this CA certifies is trusted: name subjects to narrow it");
            }
            Trusts::Certificate(certificate) => {
                if !certificate.may_sign() {
                    out.push("that certificate is not for signing (key usage): a Notary signature with it is refused");
                }
                out.push("one signer's certificate: its rotation will break verification; a CA outlives it");
            }
            Trusts::Key(_) => {
                out.push("a bare key: its rotation will break verification; a CA or a TUF root outlives it");
            }
            Trusts::Keyless { .. } => {
                out.push("its trusted root is never fetched anew: what new keys of its logs and authorities sign counts once the new trusted root is added");
            }
            Trusts::Ca { .. } => {}
        }
        if self.rescissions == Rescissions::Nowhere {
            out.push("nothing that it vouches for can be taken back: it has no rescissions");
        }
        out
    }
}

impl Trusts {
    /// A CA's certificate, for these subjects.
    pub fn ca(certificate: Certificate, subjects: Vec<SubjectPattern>) -> Self {
        Self::Ca { certificate, subjects }
    }

    /// A certificate of whichever sort: a CA's for these subjects, a signer's for itself.
    pub fn of(certificate: Certificate, subjects: Vec<SubjectPattern>) -> Self {
        if certificate.is_ca() { Self::Ca { certificate, subjects } } else { Self::Certificate(certificate) }
    }

    /// The kind, as the file writes it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Ca { .. } => "ca",
            Self::Certificate(_) => "certificate",
            Self::Key(_) => "key",
            Self::Keyless { .. } => "keyless",
        }
    }

    /// SHA-256 of what is trusted: the certificate, the SubjectPublicKeyInfo, the trusted root.
    pub fn material(&self) -> Digest {
        match self {
            Self::Ca { certificate, .. } | Self::Certificate(certificate) => certificate.thumbprint(),
            Self::Key(key) => key.fingerprint(),
            Self::Keyless { trusted_root, .. } => Digest::sha256(trusted_root.bytes()),
        }
    }

    /// To whom, of all whom the material would allow.
    fn narrowed_to(&self) -> Vec<String> {
        match self {
            Self::Ca { subjects, .. } => {
                let mut all: Vec<String> = subjects.iter().map(ToString::to_string).collect();
                all.sort();
                all
            }
            Self::Certificate(_) | Self::Key(_) => Vec::new(),
            Self::Keyless { identity, issuer, .. } => vec![identity.clone(), issuer.clone()],
        }
    }

    fn check(&self) -> Result<(), SignerError> {
        match self {
            Self::Ca { certificate, .. } if !certificate.is_ca() => Err(SignerError::Sort(
                "that certificate is no CA's (basic constraints): as a signer's own it is of kind \"certificate\"",
            )),
            Self::Ca { subjects, .. } => {
                let twice = subjects.iter().enumerate().any(|(i, s)| subjects[..i].contains(s));
                if twice || subjects.len() > MAX_SUBJECTS { Err(SignerError::Subjects) } else { Ok(()) }
            }
            Self::Certificate(certificate) if certificate.is_ca() => {
                Err(SignerError::Sort("that certificate is a CA's: it is of kind \"ca\""))
            }
            Self::Certificate(_) | Self::Key(_) => Ok(()),
            Self::Keyless { identity, issuer, .. } => {
                let bad = |s: &str| s.is_empty() || s.len() > MAX_IDENTITY || s.chars().any(char::is_control);
                if bad(identity) {
                    return Err(SignerError::Identity("identity"));
                }
                if bad(issuer) {
                    return Err(SignerError::Identity("issuer"));
                }
                Ok(())
            }
        }
    }
}

impl Rescissions {
    /// The collection whose list it is.
    pub fn collection(&self) -> Option<&CollectionName> {
        match self {
            Self::Tuf(collection) => Some(collection),
            Self::Nowhere | Self::Servers => None,
        }
    }
}

impl fmt::Display for Rescissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tuf(collection) => write!(f, "the revocation list of {collection}"),
            Self::Nowhere => f.write_str("nowhere"),
            Self::Servers => f.write_str("the servers that its certificates name"),
        }
    }
}

/// As the file has it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawSigner {
    id: AnchorId,
    kind: RawKind,
    scope: Scope,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificate: Option<Pinned>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    subjects: Vec<SubjectPattern>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<RawKey>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trusted_root: Option<Pinned>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    identity: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rescissions: Option<RawRescissions>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawKind {
    Ca,
    Certificate,
    Key,
    Keyless,
}

/// Bytes with their fingerprint, which must fit.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pinned {
    sha256: String,
    data: String,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKey {
    spki: String,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum RawRescissions {
    Tuf(CollectionName),
    Servers(True),
}

/// `true` and nothing else.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "bool", into = "bool")]
struct True;

impl TryFrom<bool> for True {
    type Error = &'static str;

    fn try_from(is: bool) -> Result<Self, Self::Error> {
        if is { Ok(Self) } else { Err("servers is true, or left out") }
    }
}

impl From<True> for bool {
    fn from(_: True) -> Self {
        true
    }
}

impl Pinned {
    fn of(bytes: &[u8]) -> Self {
        Self { sha256: Digest::sha256(bytes).hex().to_owned(), data: STANDARD.encode(bytes) }
    }

    fn bytes(&self) -> Result<Vec<u8>, String> {
        let bytes = STANDARD.decode(&self.data).map_err(|_| "data is not base64".to_owned())?;
        if Digest::sha256(&bytes).hex() != self.sha256 {
            return Err("data does not have the fingerprint sha256".to_owned());
        }
        Ok(bytes)
    }

    fn certificate(&self) -> Result<Certificate, SignerError> {
        let der = self.bytes().map_err(SignerError::Certificate)?;
        Certificate::from_der(&der).map_err(|e| SignerError::Certificate(e.to_string()))
    }
}

impl TryFrom<RawSigner> for SignerAnchor {
    type Error = SignerError;

    fn try_from(raw: RawSigner) -> Result<Self, SignerError> {
        let id = raw.id.as_str();
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        if id.is_empty() || id.len() > 64 || !id.bytes().all(plain) {
            return Err(SignerError::Id(id.chars().take(80).collect()));
        }
        let kind = match raw.kind {
            RawKind::Ca => "a CA",
            RawKind::Certificate => "a certificate",
            RawKind::Key => "a key",
            RawKind::Keyless => "a keyless identity",
        };
        let absent = |member| SignerError::Member { kind, fault: "no", member };
        let certificate = || raw.certificate.as_ref().ok_or_else(|| absent("certificate"))?.certificate();
        let trusts = match raw.kind {
            RawKind::Ca => Trusts::Ca { certificate: certificate()?, subjects: raw.subjects.clone() },
            RawKind::Certificate => Trusts::Certificate(certificate()?),
            RawKind::Key => {
                let spki = &raw.key.as_ref().ok_or_else(|| absent("key"))?.spki;
                let der =
                    STANDARD.decode(spki).map_err(|_| SignerError::Key("spki is not base64".to_owned()))?;
                let key = SubjectKey::from_spki(&der).map_err(|e| SignerError::Key(e.to_string()))?;
                Trusts::Key(key)
            }
            RawKind::Keyless => {
                let root = raw.trusted_root.as_ref().ok_or_else(|| absent("trustedRoot"))?;
                Trusts::Keyless {
                    trusted_root: TrustedRoot::parse(&root.bytes().map_err(SignerError::Pinned)?)?,
                    identity: raw.identity.clone().ok_or_else(|| absent("identity"))?,
                    issuer: raw.issuer.clone().ok_or_else(|| absent("issuer"))?,
                }
            }
        };
        let belongs = |kinds: &[RawKind]| kinds.iter().any(|k| *k as u8 == raw.kind as u8);
        for (member, there, kinds) in [
            ("certificate", raw.certificate.is_some(), &[RawKind::Ca, RawKind::Certificate][..]),
            ("subjects", !raw.subjects.is_empty(), &[RawKind::Ca]),
            ("key", raw.key.is_some(), &[RawKind::Key]),
            ("trustedRoot", raw.trusted_root.is_some(), &[RawKind::Keyless]),
            ("identity", raw.identity.is_some(), &[RawKind::Keyless]),
            ("issuer", raw.issuer.is_some(), &[RawKind::Keyless]),
        ] {
            if there && !belongs(kinds) {
                return Err(SignerError::Member { kind, fault: "a member", member });
            }
        }
        trusts.check()?;
        let rescissions = match raw.rescissions {
            None => Rescissions::Nowhere,
            Some(RawRescissions::Tuf(collection)) => Rescissions::Tuf(collection),
            Some(RawRescissions::Servers(_)) => Rescissions::Servers,
        };
        Ok(Self { id: raw.id, scope: raw.scope, trusts, rescissions, origin: Origin::default() })
    }
}

impl From<SignerAnchor> for RawSigner {
    fn from(anchor: SignerAnchor) -> Self {
        let mut raw = Self {
            id: anchor.id,
            kind: RawKind::Key,
            scope: anchor.scope,
            certificate: None,
            subjects: Vec::new(),
            key: None,
            trusted_root: None,
            identity: None,
            issuer: None,
            rescissions: match anchor.rescissions {
                Rescissions::Nowhere => None,
                Rescissions::Tuf(collection) => Some(RawRescissions::Tuf(collection)),
                Rescissions::Servers => Some(RawRescissions::Servers(True)),
            },
        };
        match anchor.trusts {
            Trusts::Ca { certificate, subjects } => {
                raw.kind = RawKind::Ca;
                raw.certificate = Some(Pinned::of(certificate.as_der()));
                raw.subjects = subjects;
            }
            Trusts::Certificate(certificate) => {
                raw.kind = RawKind::Certificate;
                raw.certificate = Some(Pinned::of(certificate.as_der()));
            }
            Trusts::Key(key) => raw.key = Some(RawKey { spki: STANDARD.encode(key.spki()) }),
            Trusts::Keyless { trusted_root, identity, issuer } => {
                raw.kind = RawKind::Keyless;
                raw.trusted_root = Some(Pinned::of(trusted_root.bytes()));
                (raw.identity, raw.issuer) = (Some(identity), Some(issuer));
            }
        }
        raw
    }
}
