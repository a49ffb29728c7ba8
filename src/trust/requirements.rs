//! The trust policy and the trust store of the Notary Project's key management requirements
//! (`requirements/keymanagementrequirements.md`), read byte for byte as they stand there: PEM text with its line breaks inside strings.

use std::num::NonZeroU32;

use serde::Deserialize;

use super::addition::Addition;
use super::policy::{AskedSignatures, Checked};
use super::{
    Listing, Require, RequireSignatures, Rescissions, Scope, SignerAnchor, SignerError, Statement, Subject,
    Trusts,
};
use crate::oci::Digest;
use crate::sig::x509::{Certificate, CertificateError};
use crate::sig::{KeyError, SubjectKey, lenient};

/// Largest document, bytes.
pub const MAX_DOCUMENT: u64 = 4 * 1024 * 1024;
/// Most roots, stores and artifacts that a document names.
const MAX_NAMED: usize = 1_024;

/// Either document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// `trustPolicy`.
    Policy(Policy),
    /// `trustedRoots`.
    Store(Store),
}

/// A trust policy.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    signature_check: bool,
    #[serde(default)]
    optional_checks: OptionalChecks,
    /// The stores that it goes by, in order.
    #[serde(default)]
    pub trust_store: Vec<StoreRef>,
    #[serde(default)]
    trusted_artifacts: Vec<Artifact>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OptionalChecks {
    signature_expiry: Option<bool>,
    signature_rescinded: Option<bool>,
}

/// A store, in the document or in a file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum StoreRef {
    /// The file's name, relative to the document's folder.
    File(String),
    /// The store itself.
    Inline(Store),
}

/// A trust store.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Store {
    /// Whom it trusts for what.
    pub trusted_roots: Vec<TrustedRoot>,
}

/// A root, intermediate or signer's certificate, or a public key, and what it is trusted for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrustedRoot {
    root: String,
    scope: Option<Scope>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum Artifact {
    Name(String),
    Said(SaidArtifact),
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct SaidArtifact {
    artifact: String,
    #[serde(default)]
    unsigned: bool,
    reason: Option<String>,
}

/// Why a document is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequirementsError {
    /// Malformed, or with members that it does not have.
    #[error("{0}")]
    Malformed(String),
    /// Neither of the two.
    #[error("it is neither a trust policy (\"trustPolicy\") nor a trust store (\"trustedRoots\")")]
    Neither,
    /// Too many entries.
    #[error("more than {MAX_NAMED} {0}")]
    Many(&'static str),
    /// A name that is no file beside it or below.
    #[error("\"{0}\" is no file name relative to this file, without \"..\"")]
    FileName(String),
    /// A certificate that is not read.
    #[error("trustedRoots[{index}]: {reason}")]
    Root {
        /// Counted from 0.
        index: usize,
        /// Why.
        reason: RootError,
    },
    /// A root for something else than the policy is for.
    #[error(
        "trustedRoots[{index}] is for {own}, and the policy is to hold for {scope}: nothing that it signs would count"
    )]
    Outside {
        /// Counted from 0.
        index: usize,
        /// What the root says that it is for.
        own: Scope,
        /// What the policy is for.
        scope: Scope,
    },
    /// A policy that checks signatures and trusts nobody.
    #[error("it checks signatures, and its trust stores name no root")]
    NoRoots,
    /// An artifact that is none.
    #[error("trustedArtifacts: \"{0}\" is neither a digest nor repository:tag nor repository@digest")]
    Artifact(String),
    /// An artifact that is to pass unsigned, for no reason.
    #[error("trustedArtifacts: \"{0}\" is \"unsigned\" without a \"reason\"")]
    NoReason(String),
}

/// Why a root is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RootError {
    /// No certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// No public key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// It makes no anchor.
    #[error(transparent)]
    Signer(#[from] SignerError),
}

impl Document {
    /// Read either document.
    ///
    /// # Errors
    /// Malformed, too many entries, unknown members.
    pub fn parse(bytes: &[u8]) -> Result<Self, RequirementsError> {
        let malformed = |e: &dyn std::fmt::Display| RequirementsError::Malformed(e.to_string());
        let value = lenient::parse(bytes).map_err(|e| malformed(&e))?;
        let members: Vec<&String> = value.as_object().into_iter().flat_map(|o| o.keys()).collect();
        match members.iter().map(|m| m.as_str()).collect::<Vec<_>>()[..] {
            ["trustPolicy"] => {
                let policy: Policy =
                    serde_json::from_value(value["trustPolicy"].clone()).map_err(|e| malformed(&e))?;
                let stores = &policy.trust_store;
                let mut inline = stores.iter().filter_map(|s| match s {
                    StoreRef::Inline(store) => Some(store),
                    StoreRef::File(_) => None,
                });
                inline.try_for_each(Store::check)?;
                if stores.len() > MAX_NAMED || policy.trusted_artifacts.len() > MAX_NAMED {
                    return Err(RequirementsError::Many("stores or artifacts"));
                }
                Ok(Self::Policy(policy))
            }
            ["trustedRoots"] => Ok(Self::Store(Store::read(&value)?)),
            _ => Err(RequirementsError::Neither),
        }
    }
}

impl Store {
    /// Read a trust store.
    ///
    /// # Errors
    /// Malformed, too many entries, unknown members.
    pub fn parse(bytes: &[u8]) -> Result<Self, RequirementsError> {
        let value = lenient::parse(bytes).map_err(|e| RequirementsError::Malformed(e.to_string()))?;
        Self::read(&value)
    }

    fn read(value: &serde_json::Value) -> Result<Self, RequirementsError> {
        let store: Self =
            Self::deserialize(value).map_err(|e| RequirementsError::Malformed(e.to_string()))?;
        store.check()?;
        Ok(store)
    }

    fn check(&self) -> Result<(), RequirementsError> {
        if self.trusted_roots.len() > MAX_NAMED { Err(RequirementsError::Many("roots")) } else { Ok(()) }
    }

    /// Add the anchors that it stands for, each for `scope` at most; `file` reads those that are files.
    ///
    /// # Errors
    /// One of them is not read: nothing of the store counts then.
    pub fn anchors<E: From<RequirementsError>>(
        &self,
        scope: &Scope,
        to: &mut Addition,
        file: &mut dyn FnMut(&str) -> Result<Vec<u8>, E>,
    ) -> Result<(), E> {
        for (index, trusted) in self.trusted_roots.iter().enumerate() {
            let wrong = |reason: RootError| RequirementsError::Root { index, reason };
            let bytes = match trusted.root.contains("-----BEGIN ") {
                true => trusted.root.clone().into_bytes(),
                false => file(file_name(&trusted.root)?)?,
            };
            let own = trusted.scope.as_ref().unwrap_or(scope);
            let outside = || RequirementsError::Outside { index, own: own.clone(), scope: scope.clone() };
            let scope = own.within(scope).ok_or_else(outside)?;
            for trusts in trusts_in(&bytes).map_err(wrong)? {
                let anchor = SignerAnchor::new(scope.clone(), trusts, Rescissions::Nowhere);
                to.trust(anchor.map_err(|e| wrong(e.into()))?);
            }
        }
        Ok(())
    }
}

impl Policy {
    /// The statement and the lists that it stands for, in a `scope`; `name` is what the report will call the file. The anchors of its
    /// stores, and they alone, must be in `to` already: nobody else counts for it.
    ///
    /// # Errors
    /// An artifact that is not read, or signatures are to be checked, and nobody's would count.
    pub fn says(&self, scope: &Scope, name: &str, to: &mut Addition) -> Result<(), RequirementsError> {
        let mut off = Vec::new();
        let mut check = |member: &'static str, stands: Option<bool>| {
            if stands == Some(false) {
                off.push(format!("\"{member}\": false"));
            }
            stands.filter(|stands| !stands)
        };
        let checks = Checked {
            signature: check("signatureCheck", Some(self.signature_check)),
            expiry: check("signatureExpiry", self.optional_checks.signature_expiry),
            certificate_expiry: None,
            // Asked for, it must be known; left out, what is known decides.
            rescinded: check("signatureRescinded", self.optional_checks.signature_rescinded)
                .or(self.optional_checks.signature_rescinded),
        };
        let from: Vec<_> = to.signers.iter().map(|a| a.id.clone()).collect();
        if self.signature_check && from.is_empty() {
            return Err(RequirementsError::NoRoots);
        }
        let signatures = RequireSignatures { threshold: NonZeroU32::MIN, from };
        if !self.signature_check {
            // Whom it would trust if it checked, it trusts with nothing now.
            to.signers.clear();
        }
        let require = Require {
            tuf: None,
            attestations: None,
            signatures: Some(AskedSignatures::Some(signatures)).filter(|_| self.signature_check),
        };
        to.statements.push(Statement {
            require: Some(require).filter(|r| *r != Require::default()),
            checks,
            reason: (!off.is_empty()).then(|| format!("{name} says {}", off.join(", "))),
            imported_from: Some(name.to_owned()),
            ..Statement::of(scope.clone())
        });
        for artifact in &self.trusted_artifacts {
            to.allow.push(artifact.listing(name)?);
        }
        Ok(())
    }
}

impl Artifact {
    fn listing(&self, file: &str) -> Result<Listing, RequirementsError> {
        let (name, unsigned, reason) = match self {
            Self::Name(name) => (name, false, None),
            Self::Said(said) => (&said.artifact, said.unsigned, said.reason.clone()),
        };
        let wrong = || RequirementsError::Artifact(name.chars().take(200).collect());
        let said = reason.filter(|r| !r.trim().is_empty());
        if unsigned && said.is_none() {
            return Err(RequirementsError::NoReason(name.chars().take(200).collect()));
        }
        let (digest, scope) = match (name.parse::<Digest>(), name.split_once('@')) {
            (Ok(digest), _) => (Some(digest), Scope::Any),
            (Err(_), Some((place, digest))) => {
                let place: Subject = place.parse().map_err(|_| wrong())?;
                let digest = digest.parse().map_err(|_| wrong())?;
                (Some(digest), Scope::Repository(place.repository))
            }
            (Err(_), None) => match name.parse::<Scope>() {
                Ok(scope @ Scope::Tag(..)) => (None, scope),
                _ => return Err(wrong()),
            },
        };
        let reason = said.unwrap_or_else(|| format!("{file} lists it among its trusted artifacts"));
        Ok(Listing { digest, scope, unsigned, reason, origin: super::Origin::default() })
    }
}

/// A name that stays below the folder of the file that says it.
///
/// # Errors
/// Absolute, with `..`, a URL, or with bytes that no file name should have.
pub fn file_name(name: &str) -> Result<&str, RequirementsError> {
    let part = |p: &str| !p.is_empty() && p != "." && p != "..";
    let odd = name.chars().any(|c| c.is_control() || matches!(c, '\\' | ':'));
    if name.len() > 1024 || odd || !name.split('/').all(part) {
        return Err(RequirementsError::FileName(
            name.chars().take(200).collect::<String>().escape_debug().to_string(),
        ));
    }
    Ok(name)
}

/// What a PEM text or a DER certificate stands for: certificates, or one public key.
///
/// # Errors
/// Neither.
pub fn trusts_in(bytes: &[u8]) -> Result<Vec<Trusts>, RootError> {
    let text = std::str::from_utf8(bytes).ok().filter(|t| t.contains("-----BEGIN "));
    Ok(match text {
        Some(text) if text.contains("-----BEGIN PUBLIC KEY-----") => {
            vec![Trusts::Key(SubjectKey::from_pem(text)?)]
        }
        Some(text) => {
            let all = Certificate::from_pem(text)?.into_iter();
            all.map(|certificate| Trusts::of(certificate, Vec::new())).collect()
        }
        None => vec![Trusts::of(Certificate::from_der(bytes)?, Vec::new())],
    })
}

#[cfg(test)]
mod tests;
