//! Keyless signatures: a bundle whose certificate says which identity an issuer has vouched for, in the minutes of its validity. The
//! authorities, logs and clocks that say so are those of a Sigstore trusted root (sigstore/protobuf-specs `sigstore_trustroot.proto`),
//! which is given; nothing is fetched.
//!
//! The crate `sigstore-verify` judges chain, SCT, log entry, promise, timestamps and the binding to the artifact. What it leaves to
//! its caller is here: that a log entry is there at all and of a log that is known, that the certificate is for signing and has one
//! name, and that no time is later than now.

mod tag;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use sigstore_verify::types::{Bundle as Sigstore, Sha256Hash};
use sigstore_verify::{
    CertificateError, Error, TimestampError, TransparencyLogError, VerificationPolicy, Verifier,
};

use super::sigstore_bundle::{Bundle, Material};
use crate::oci::Digest;
use crate::sig::json;
use crate::sig::x509::{Certificate, DistinguishedName};
use crate::time::UnixTime;

pub use tag::from_annotations;

/// Largest Sigstore trusted root, bytes.
pub const MAX_TRUSTED_ROOT: usize = 1 << 20;
/// Most authorities and logs of one kind in a trusted root.
const MAX_AUTHORITIES: usize = 64;

/// A Sigstore trusted root whose keys and certificates are read: authorities of certificates and of timestamps, logs of entries and
/// of certificates, each with the time in which it counts.
#[derive(Clone)]
pub struct TrustedRoot(Arc<Inner>);

struct Inner {
    bytes: Bytes,
    root: sigstore_verify::trust_root::TrustedRoot,
    verifier: Verifier,
    /// Subjects of the authorities; none where one of them is not read here.
    names: Vec<DistinguishedName>,
}

/// Why a trusted root is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustedRootError {
    /// Larger than [`MAX_TRUSTED_ROOT`].
    #[error("{0} bytes; at most {MAX_TRUSTED_ROOT} are read")]
    TooLarge(usize),
    /// Not strict JSON.
    #[error(transparent)]
    Json(#[from] json::JsonError),
    /// Another document.
    #[error("its mediaType is not that of one")]
    MediaType,
    /// It names none of these, and every keyless signature needs one.
    #[error("it names no {0}: no keyless signature could ever be judged by it")]
    Without(&'static str),
    /// It names too many of these.
    #[error("{count} {what}; at most {MAX_AUTHORITIES} are read")]
    TooMany {
        /// Which.
        what: &'static str,
        /// As found.
        count: usize,
    },
    /// A key, certificate or time in it.
    #[error("{0}")]
    Content(String),
}

/// What was signed: the artifact's bytes where they are at hand, for some signatures are over them.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// Its digest.
    pub digest: &'a Digest,
    /// Its bytes.
    pub bytes: Option<&'a [u8]>,
}

/// A keyless signature that holds: whose it is, as the certificate says. Whether that is who was meant is the caller's to ask, of
/// both at once and exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyless {
    /// The certificate's one alternative name: an address or a URL.
    pub identity: String,
    /// Who vouched for it (1.3.6.1.4.1.57264.1.8, or .1 in older certificates).
    pub issuer: String,
    /// The earliest time that a log or a timestamp authority has signed.
    pub signed_at: UnixTime,
}

/// Why a keyless signature does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeylessError {
    /// The crate does not read it.
    #[error("{0}")]
    Malformed(String),
    /// No log entry is in it.
    #[error("no log entry is in the bundle: nobody could have noticed that this certificate was used")]
    Unlogged,
    /// An entry of a log that the trusted root does not name.
    #[error("a log entry of the log {0}, which the trusted root does not name")]
    UnknownLog(String),
    /// Inclusion proof, checkpoint or promise are not the log's.
    #[error("{0}")]
    Log(String),
    /// The certificate leads to no authority of the trusted root.
    #[error("{0}")]
    Untrusted(String),
    /// The certificate was not logged, as far as a log of certificates says.
    #[error("{0}")]
    Certificate(String),
    /// The certificate is not for signing, or has not exactly one name.
    #[error("{0}")]
    Usage(&'static str),
    /// No signed time, or one at which certificate or authority are not valid.
    #[error("{0}")]
    Time(String),
    /// The certificate says nobody, or not who vouches for him.
    #[error("its certificate names no {0}")]
    Nameless(&'static str),
    /// The signature is not that of the certificate in the bundle.
    #[error("the signature is not that of the certificate in the bundle")]
    Signature,
}

impl TrustedRoot {
    /// Read one: every key and certificate in it must be readable.
    ///
    /// # Errors
    /// Too large, not strict JSON, another document, without what every signature needs, or a key that is not read.
    pub fn parse(bytes: &[u8]) -> Result<Self, TrustedRootError> {
        let content =
            |e: &dyn fmt::Display| TrustedRootError::Content(e.to_string().chars().take(300).collect());
        if bytes.len() > MAX_TRUSTED_ROOT {
            return Err(TrustedRootError::TooLarge(bytes.len()));
        }
        let value = json::parse(bytes)?;
        let media_type = value["mediaType"].as_str().unwrap_or_default();
        if !media_type.starts_with("application/vnd.dev.sigstore.trustedroot") {
            return Err(TrustedRootError::MediaType);
        }
        let text = std::str::from_utf8(bytes).map_err(|e| content(&e))?;
        let root = sigstore_verify::trust_root::TrustedRoot::from_json(text).map_err(|e| content(&e))?;
        for (what, count) in [
            ("certificate authority", root.certificate_authorities.len()),
            ("log of signatures", root.tlogs.len()),
            ("log of certificates", root.ctlogs.len()),
        ] {
            match count {
                0 => return Err(TrustedRootError::Without(what)),
                1..=MAX_AUTHORITIES => {}
                _ => return Err(TrustedRootError::TooMany { what, count }),
            }
        }
        let count = root.timestamp_authorities.len();
        if count > MAX_AUTHORITIES {
            return Err(TrustedRootError::TooMany { what: "timestamp authorities", count });
        }
        let verifier = Verifier::new(&root).map_err(|e| content(&e))?;
        let authorities = root.certificate_authorities.iter().flat_map(|ca| &ca.cert_chain.certificates);
        let names =
            authorities.map(|c| Some(Certificate::from_der(c.raw_bytes.as_bytes()).ok()?.subject().clone()));
        let names = names.collect::<Option<Vec<_>>>().unwrap_or_default();
        Ok(Self(Arc::new(Inner { bytes: Bytes::copy_from_slice(bytes), root, verifier, names })))
    }

    /// As it was given.
    pub fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// When the last of its certificate authorities, or of its logs of one kind, ceases to count, if all of them do: nothing that is
    /// signed later counts.
    pub fn expires(&self) -> Option<UnixTime> {
        let root = &self.0.root;
        let last =
            |windows: Vec<Option<i64>>| windows.into_iter().collect::<Option<Vec<_>>>()?.into_iter().max();
        let end = |window: Option<sigstore_verify::types::TimeRange>| Some(window?.end?.as_second());
        let authorities = last(root.certificate_authorities.iter().map(|ca| end(ca.valid_for)).collect());
        let logs = last(root.tlogs.iter().map(|log| end(log.public_key.valid_for)).collect());
        let of_certificates = last(root.ctlogs.iter().map(|log| end(log.public_key.valid_for)).collect());
        [authorities, logs, of_certificates].into_iter().flatten().min().map(UnixTime::from_secs)
    }

    /// Whether one of the certificates, by the names in them, could be the work of an authority. Cheap, and proves nothing: what most
    /// strangers hang up goes no further.
    fn may_have_issued(&self, certificates: &[Vec<u8>]) -> bool {
        let issuers =
            certificates.iter().filter_map(|der| Some(Certificate::from_der(der).ok()?.issuer().clone()));
        self.0.names.is_empty() || issuers.into_iter().any(|issuer| self.0.names.contains(&issuer))
    }

    fn knows_log(&self, id: &[u8]) -> bool {
        self.0.root.tlogs.iter().any(|log| log.log_id.key_id.as_bytes() == id)
    }

    /// Whose signature of `signed` the bundle is, made at a time when the certificate was valid. `bytes` are those of `bundle`. That it is *a signature* and no attestation is the caller's to ask ([`Bundle::signature`]).
    ///
    /// # Errors
    /// It is not, or nobody could have noticed.
    pub fn judge(
        &self,
        bytes: &[u8],
        bundle: &Bundle,
        signed: Signed<'_>,
        now: UnixTime,
    ) -> Result<Keyless, KeylessError> {
        let Material::Certificates(certificates) = bundle.material() else {
            return Err(KeylessError::Malformed("a bundle without certificate".to_owned()));
        };
        let leaf = certificates.first().map(|der| Certificate::from_der(der));
        let leaf = leaf.and_then(Result::ok).ok_or(KeylessError::Usage("its certificate is not read"))?;
        if !self.may_have_issued(certificates) {
            let who = format!("certified by {}, whom the trusted root does not name", leaf.issuer());
            return Err(KeylessError::Untrusted(who));
        }
        if !leaf.may_sign() || leaf.is_ca() {
            return Err(KeylessError::Usage("its certificate is not for signing (key usage)"));
        }
        if leaf.alternative_names() != 1 {
            return Err(KeylessError::Usage("its certificate has not exactly one alternative name"));
        }
        let [_, ..] = bundle.log_entries() else { return Err(KeylessError::Unlogged) };
        for entry in bundle.log_entries() {
            if !self.knows_log(entry.log_id()) {
                return Err(KeylessError::UnknownLog(hex::encode(entry.log_id())));
            }
            if entry.promise().is_none() && entry.proof().is_none() {
                return Err(KeylessError::Log("a log entry with neither promise nor proof".to_owned()));
            }
        }
        let text = std::str::from_utf8(bytes).map_err(|e| KeylessError::Malformed(e.to_string()))?;
        let theirs = Sigstore::from_json(text).map_err(|e| KeylessError::Malformed(e.to_string()))?;
        let policy = VerificationPolicy::any_identity();
        let result = match signed.bytes {
            Some(artifact) => self.0.verifier.verify(artifact, &theirs, &policy),
            None => {
                let digest = Sha256Hash::from_hex(signed.digest.hex());
                let digest = digest.map_err(|e| KeylessError::Malformed(e.to_string()))?;
                self.0.verifier.verify(digest, &theirs, &policy)
            }
        };
        let result = result.map_err(|e| refused(&e))?;
        if !(result.certificate_verified() && result.sct_verified() && result.tlog_verified()) {
            return Err(KeylessError::Malformed("not everything was verified".to_owned()));
        }
        let times = result.verified_timestamps().iter().map(|t| UnixTime::from_secs(t.as_second()));
        let times: Vec<UnixTime> = times.collect();
        // The crate asks its own clock; the one that decides here is the caller's.
        if let Some(late) = times.iter().find(|t| **t > now) {
            return Err(KeylessError::Time(format!("signed at {late}, which is after now ({now})")));
        }
        let signed_at = times.into_iter().min();
        let signed_at = signed_at.ok_or_else(|| KeylessError::Time("no signed time".to_owned()))?;
        let identity = result.identity().ok_or(KeylessError::Nameless("identity"))?.as_str().to_owned();
        let issuer = result.issuer().ok_or(KeylessError::Nameless("issuer"))?.to_owned();
        Ok(Keyless { identity, issuer, signed_at })
    }
}

impl fmt::Debug for TrustedRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustedRoot({})", Digest::sha256(self.bytes()).short())
    }
}

impl PartialEq for TrustedRoot {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for TrustedRoot {}

fn refused(e: &Error) -> KeylessError {
    let text = e.to_string();
    match e {
        Error::SignatureInvalid(_) => KeylessError::Signature,
        Error::Certificate(e) => match e {
            CertificateError::Sct(_) => KeylessError::Certificate(text),
            CertificateError::NotYetValid { .. }
            | CertificateError::Expired { .. }
            | CertificateError::NoValidAuthority { .. } => KeylessError::Time(text),
            CertificateError::Malformed(_) => KeylessError::Malformed(text),
            // webpki's own words for a certificate outside of its time; the crate keeps only the words.
            CertificateError::ChainInvalid(why)
                if why.contains("CertExpired") || why.contains("CertNotValidYet") =>
            {
                KeylessError::Time(text)
            }
            _ => KeylessError::Untrusted(text),
        },
        Error::TransparencyLog(e) => match e {
            TransparencyLogError::UnknownLog { log_id } => KeylessError::UnknownLog(log_id.clone()),
            TransparencyLogError::EntryMismatch(_) | TransparencyLogError::MalformedEntry(_) => {
                KeylessError::Malformed(text)
            }
            TransparencyLogError::IntegratedTime(_) => KeylessError::Time(text),
            _ => KeylessError::Log(text),
        },
        Error::Timestamp(TimestampError::NoVerifiedTimestamp(_)) => {
            KeylessError::Time("no log and no timestamp authority of the trusted root says when".to_owned())
        }
        Error::Timestamp(_) => KeylessError::Time(text),
        Error::Bundle(_) => KeylessError::Log(text),
        _ => KeylessError::Malformed(text),
    }
}

#[cfg(test)]
mod tests;
