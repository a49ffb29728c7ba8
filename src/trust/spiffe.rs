//! SPIFFE trust bundles (SPIFFE_Trust_Domain_and_Bundle.md 4): the authorities of one trust domain, a JSON Web Key set.

use serde_json::Value;

use super::addition::Addition;
use super::{Rescissions, Scope, SignerAnchor, SignerError, SubjectPattern, Trusts};
use crate::sig::x509::{Certificate, CertificateError};
use crate::sig::{KeyError, SubjectKey, json};

/// Largest bundle, bytes.
pub const MAX_BUNDLE: u64 = 4 * 1024 * 1024;
/// Most keys of a bundle.
const MAX_KEYS: usize = 256;

/// A trust bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpiffeBundle {
    sequence: Option<u64>,
    authorities: Vec<Authority>,
    /// Entries of other uses, which are to be ignored.
    ignored: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Authority {
    /// Signs X.509-SVIDs.
    X509(Certificate),
    /// Signs JWT-SVIDs.
    Jwt(SubjectKey),
}

/// Why a bundle is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpiffeError {
    /// Not strict JSON.
    #[error(transparent)]
    Json(#[from] json::JsonError),
    /// No key set, or one of another form.
    #[error("it is no SPIFFE bundle: {0}")]
    Form(&'static str),
    /// A key that is not read.
    #[error("keys[{index}]: {reason}")]
    Key {
        /// Counted from 0.
        index: usize,
        /// Why.
        reason: KeyError,
    },
    /// A certificate that is not read.
    #[error("keys[{index}]: {reason}")]
    Certificate {
        /// Counted from 0.
        index: usize,
        /// Why.
        reason: CertificateError,
    },
    /// An entry that breaks a rule.
    #[error("keys[{index}]: {why}")]
    Entry {
        /// Counted from 0.
        index: usize,
        /// Which.
        why: &'static str,
    },
    /// An authority of another trust domain.
    #[error("an authority of the bundle is {found}'s, not {domain}'s")]
    Domain {
        /// As its certificate says.
        found: String,
        /// As asked for.
        domain: String,
    },
    /// No name of a trust domain.
    #[error("\"{0}\" is no trust domain")]
    Name(String),
    /// It makes no anchor.
    #[error(transparent)]
    Signer(#[from] SignerError),
}

impl SpiffeBundle {
    /// Read a bundle.
    ///
    /// # Errors
    /// Malformed, too many keys, or one that breaks a rule.
    pub fn parse(bytes: &[u8]) -> Result<Self, SpiffeError> {
        use SpiffeError::{Entry, Form};
        let value = json::parse(bytes)?;
        let keys = value["keys"].as_array().ok_or(Form("it has no \"keys\""))?;
        if keys.is_empty() {
            return Err(Form("it has no authorities: that trust domain was taken back"));
        }
        if keys.len() > MAX_KEYS {
            return Err(Form("it has more than 256 keys"));
        }
        let sequence = match value.get("spiffe_sequence") {
            None => None,
            Some(n) => Some(n.as_u64().ok_or(Form("its spiffe_sequence is no number"))?),
        };
        let mut bundle = Self { sequence, authorities: Vec::new(), ignored: 0 };
        for (index, jwk) in keys.iter().enumerate() {
            let authority = match jwk["use"].as_str() {
                Some("x509-svid") => Authority::X509(x509(index, jwk)?),
                Some("jwt-svid") => {
                    if jwk["kid"].as_str().is_none_or(str::is_empty) {
                        return Err(Entry { index, why: "a key for JWT-SVIDs without kid" });
                    }
                    let key = SubjectKey::from_jwk(jwk);
                    Authority::Jwt(key.map_err(|reason| SpiffeError::Key { index, reason })?)
                }
                // "MUST be ignored" (4.2.2).
                _ => {
                    bundle.ignored += 1;
                    continue;
                }
            };
            if !bundle.authorities.contains(&authority) {
                bundle.authorities.push(authority);
            }
        }
        if bundle.authorities.is_empty() {
            return Err(Form("it has no authority whose use is x509-svid or jwt-svid"));
        }
        Ok(bundle)
    }

    /// Its authorities as anchors for a scope: of X.509 the CA, for the IDs of the trust domain; of JWT the key itself.
    ///
    /// # Errors
    /// No name of a trust domain, or an authority of another.
    pub fn anchors(
        &self,
        domain: &str,
        scope: &Scope,
        rescissions: &Rescissions,
    ) -> Result<Addition, SpiffeError> {
        let name =
            || SpiffeError::Name(domain.chars().take(300).collect::<String>().escape_debug().to_string());
        let id = format!("spiffe://{domain}");
        let subject: SubjectPattern = id.parse().map_err(|_| name())?;
        if domain.contains('/') {
            return Err(name());
        }
        let mut out = Addition::default();
        for authority in &self.authorities {
            let trusts = match authority {
                Authority::X509(certificate) => {
                    let own = certificate.uris().iter().find(|uri| uri.starts_with("spiffe://"));
                    if let Some(found) = own.filter(|own| **own != id) {
                        return Err(SpiffeError::Domain { found: found.clone(), domain: id.clone() });
                    }
                    Trusts::ca(certificate.clone(), vec![subject.clone()])
                }
                Authority::Jwt(key) => Trusts::Key(key.clone()),
            };
            out.trust(SignerAnchor::new(scope.clone(), trusts, rescissions.clone())?);
        }
        if self.authorities.iter().any(|a| matches!(a, Authority::X509(_))) {
            out.notes.push(
                "certificates of workloads count only where they may sign: those for TLS (serverAuth, clientAuth) do not"
                    .to_owned(),
            );
        }
        if self.authorities.iter().any(|a| matches!(a, Authority::Jwt(_))) {
            out.notes
                .push(format!("who has a JWT key of {domain} counts as a signer, whatever ID he signs for"));
        }
        if let Some(sequence) = self.sequence {
            out.notes.push(format!(
                "sequence {sequence} of the bundle of {domain}: import it again when it changes"
            ));
        }
        if self.ignored > 0 {
            out.notes.push(format!("{} keys of other uses were ignored", self.ignored));
        }
        Ok(out)
    }
}

/// 4.2.2: exactly one certificate, whose key the entry repeats.
fn x509(index: usize, jwk: &Value) -> Result<Certificate, SpiffeError> {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let entry = |why| SpiffeError::Entry { index, why };
    let chain = jwk["x5c"].as_array().map(Vec::as_slice);
    let Some([Value::String(text)]) = chain else {
        return Err(entry("an authority for X.509-SVIDs has not exactly one certificate in x5c"));
    };
    let der = STANDARD.decode(text).map_err(|_| entry("x5c is not base64"))?;
    let certificate =
        Certificate::from_der(&der).map_err(|reason| SpiffeError::Certificate { index, reason })?;
    if !certificate.is_ca() {
        return Err(entry("its certificate is no CA's"));
    }
    // The parameters of the key may be left out by careless writers; where they are there, they are the certificate's.
    if ["x", "n"].iter().any(|name| jwk.get(name).is_some()) {
        let key = SubjectKey::from_jwk(jwk).map_err(|reason| SpiffeError::Key { index, reason })?;
        if key != *certificate.key() {
            return Err(entry("its key is not that of its certificate"));
        }
    }
    Ok(certificate)
}

#[cfg(test)]
mod tests;
