//! Chains: order, signatures and usages, by the rules of the Notary Project ("Certificate Requirements" of its signature
//! specification), which sharpen RFC 5280.

use super::certificate::{Certificate, KeyUsage, SignatureKind};
use crate::time::UnixTime;

/// Most certificates in a chain.
pub const MAX_CHAIN: usize = 10;

/// Certificates from a signer's to a self-signed root: each signed by the next, each of a form for its place. Made by
/// [`Chain::notary`] only. Says nothing of whether the root is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    certificates: Vec<Certificate>,
}

/// Why certificates are no chain, or were not valid. An index counts from the leaf, 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// None, or more than [`MAX_CHAIN`].
    #[error("a chain of {0} certificates; 1 to {MAX_CHAIN} are read")]
    Length(usize),
    /// The last is not self-signed: the chain does not end in a root.
    #[error("certificate {0}, the last one, is not self-signed: the chain must end in its root")]
    NoRoot(usize),
    /// One before the last is self-signed.
    #[error("certificate {0} is self-signed, and others follow it")]
    SelfSigned(usize),
    /// Its issuer is not the subject of the next.
    #[error("certificate {0} was not issued by the one after it (its issuer has another name)")]
    Issuer(usize),
    /// It is not signed by the key of the next.
    #[error("certificate {0} is not signed with the key of its issuer")]
    Signature(usize),
    /// Signed with an algorithm that does not count, as everything with SHA-1.
    #[error("certificate {index} is signed with the algorithm {oid}, which does not count")]
    Algorithm {
        /// Which.
        index: usize,
        /// Object identifier of the algorithm.
        oid: String,
    },
    /// A critical extension that is not understood (RFC 5280 4.2).
    #[error("certificate {index} has the critical extension {oid}, which is not understood")]
    Critical {
        /// Which.
        index: usize,
        /// Object identifier of the extension.
        oid: String,
    },
    /// An issuer without basic constraints that say so, critically.
    #[error("certificate {0} is no CA (basic constraints, critical, with CA)")]
    NotCa(usize),
    /// More CAs below it than it allows.
    #[error("certificate {index} allows {allowed} CAs below it, and there are {found}")]
    PathLength {
        /// Which.
        index: usize,
        /// What it allows.
        allowed: u32,
        /// What is there.
        found: usize,
    },
    /// The signer's certificate is a CA's.
    #[error("the signing certificate is a CA's")]
    LeafIsCa,
    /// The key usage does not fit the place.
    #[error("the key usage of certificate {index} {fault}")]
    Usage {
        /// Which.
        index: usize,
        /// What is wrong.
        fault: UsageFault,
    },
    /// The signer's certificate is for something else too.
    #[error("the signing certificate has the extended key usage {0}, which a signer's must not have")]
    Purpose(String),
    /// Not yet valid.
    #[error("certificate {index} is valid from {from} on, not at {at}")]
    NotYet {
        /// Which.
        index: usize,
        /// Its first second.
        from: UnixTime,
        /// The time that was asked for.
        at: UnixTime,
    },
    /// No longer valid.
    #[error("certificate {index} was valid until {until}, not at {at}")]
    Expired {
        /// Which.
        index: usize,
        /// Its last second.
        until: UnixTime,
        /// The time that was asked for.
        at: UnixTime,
    },
}

/// What is wrong with a key usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UsageFault {
    /// There is none.
    #[error("is missing")]
    Missing,
    /// It is not critical.
    #[error("is not critical")]
    NotCritical,
    /// A bit that must be there is not.
    #[error("lacks {0}")]
    Lacks(&'static str),
    /// A bit that must not be there is.
    #[error("has {0}")]
    Has(&'static str),
}

/// Bits of RFC 5280 4.2.1.3, by position; a signer may have the first two.
const USAGES: [&str; 9] = [
    "digitalSignature",
    "nonRepudiation",
    "keyEncipherment",
    "dataEncipherment",
    "keyAgreement",
    "keyCertSign",
    "cRLSign",
    "encipherOnly",
    "decipherOnly",
];
const DIGITAL_SIGNATURE: usize = 0;
const KEY_CERT_SIGN: usize = 5;

/// serverAuth, clientAuth, emailProtection, timeStamping, OCSPSigning, anyExtendedKeyUsage.
const OTHER_PURPOSES: [&str; 6] = [
    "1.3.6.1.5.5.7.3.1",
    "1.3.6.1.5.5.7.3.2",
    "1.3.6.1.5.5.7.3.4",
    "1.3.6.1.5.5.7.3.8",
    "1.3.6.1.5.5.7.3.9",
    "2.5.29.37.0",
];

impl Chain {
    /// The chain of a signature of the Notary Project, leaf first, root included, nothing missing and nothing more. One self-signed
    /// certificate alone is judged as a leaf.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn notary(certificates: Vec<Certificate>) -> Result<Self, ChainError> {
        if certificates.is_empty() || certificates.len() > MAX_CHAIN {
            return Err(ChainError::Length(certificates.len()));
        }
        for (index, certificate) in certificates.iter().enumerate() {
            if let Some(oid) = &certificate.unknown_critical {
                return Err(ChainError::Critical { index, oid: oid.clone() });
            }
            issued(index, certificate, certificates.get(index + 1))?;
            if index == 0 { leaf(certificate)? } else { authority(index, certificate)? }
        }
        Ok(Self { certificates })
    }

    /// The signer's certificate.
    pub fn leaf(&self) -> &Certificate {
        // Never empty: `notary` refuses that.
        &self.certificates[0]
    }

    /// The self-signed one at the end; of a chain of one, the leaf.
    pub fn root(&self) -> &Certificate {
        &self.certificates[self.certificates.len() - 1]
    }

    /// All, leaf first.
    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// Whether every certificate is valid at `at`.
    ///
    /// # Errors
    /// The first that is not.
    pub fn valid_at(&self, at: UnixTime) -> Result<(), ChainError> {
        for (index, certificate) in self.certificates.iter().enumerate() {
            let (from, until) = (certificate.not_before(), certificate.not_after());
            if at < from {
                return Err(ChainError::NotYet { index, from, at });
            }
            if at > until {
                return Err(ChainError::Expired { index, until, at });
            }
        }
        Ok(())
    }
}

/// Signed by the one after it; the last one by itself.
fn issued(index: usize, certificate: &Certificate, next: Option<&Certificate>) -> Result<(), ChainError> {
    let itself = certificate.issuer() == certificate.subject() && signed_by(index, certificate, certificate)?;
    match next {
        None if itself => Ok(()),
        None => Err(ChainError::NoRoot(index)),
        Some(_) if itself => Err(ChainError::SelfSigned(index)),
        Some(next) if certificate.issuer() != next.subject() => Err(ChainError::Issuer(index)),
        Some(next) if signed_by(index, certificate, next)? => Ok(()),
        Some(_) => Err(ChainError::Signature(index)),
    }
}

fn signed_by(index: usize, certificate: &Certificate, issuer: &Certificate) -> Result<bool, ChainError> {
    match &certificate.algorithm {
        SignatureKind::Known(algorithm) => {
            Ok(issuer.key().verify(*algorithm, &certificate.tbs, &certificate.signature))
        }
        SignatureKind::Other(oid) => Err(ChainError::Algorithm { index, oid: oid.clone() }),
    }
}

impl Certificate {
    /// Whether its usages are a signer's, as those of a chain's leaf must be.
    pub fn may_sign(&self) -> bool {
        leaf(self).is_ok()
    }

    /// Whether this CA's key has signed it, under this CA's name.
    pub fn is_issued_by(&self, ca: &Self) -> bool {
        self.issuer() == ca.subject() && signed_by(0, self, ca).unwrap_or(false)
    }
}

fn leaf(certificate: &Certificate) -> Result<(), ChainError> {
    if certificate.is_ca() {
        return Err(ChainError::LeafIsCa);
    }
    let usage = critical_usage(0, certificate, DIGITAL_SIGNATURE)?;
    if let Some(bit) = (2..USAGES.len()).find(|bit| usage.flags & 1 << bit != 0) {
        return Err(ChainError::Usage { index: 0, fault: UsageFault::Has(USAGES[bit]) });
    }
    let purposes = certificate.extended_usage.iter().flatten();
    match purposes.into_iter().find(|oid| OTHER_PURPOSES.contains(&oid.as_str())) {
        Some(oid) => Err(ChainError::Purpose(oid.clone())),
        None => Ok(()),
    }
}

/// `index` is at least 1, and all between it and the leaf are CAs.
fn authority(index: usize, certificate: &Certificate) -> Result<(), ChainError> {
    let constraints = certificate.constraints.as_ref().filter(|c| c.ca && c.critical);
    let constraints = constraints.ok_or(ChainError::NotCa(index))?;
    let found = index - 1;
    if let Some(allowed) = constraints.path_length.filter(|allowed| (*allowed as usize) < found) {
        return Err(ChainError::PathLength { index, allowed, found });
    }
    critical_usage(index, certificate, KEY_CERT_SIGN).map(|_| ())
}

fn critical_usage(index: usize, certificate: &Certificate, bit: usize) -> Result<&KeyUsage, ChainError> {
    let fault = match &certificate.usage {
        None => UsageFault::Missing,
        Some(usage) if !usage.critical => UsageFault::NotCritical,
        Some(usage) if usage.flags & 1 << bit == 0 => UsageFault::Lacks(USAGES[bit]),
        Some(usage) => return Ok(usage),
    };
    Err(ChainError::Usage { index, fault })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/signatures/x509/");

    fn certificates(name: &str) -> Vec<Certificate> {
        Certificate::from_pem(&std::fs::read_to_string(format!("{FOLDER}{name}.pem")).unwrap()).unwrap()
    }

    fn usage(index: usize, fault: UsageFault) -> ChainError {
        ChainError::Usage { index, fault }
    }

    fn purpose(last: u8) -> ChainError {
        ChainError::Purpose(format!("1.3.6.1.5.5.7.3.{last}"))
    }

    /// The rule that each file of testdata breaks.
    fn broken() -> Vec<(&'static str, ChainError)> {
        use ChainError::{
            Algorithm, Critical, Issuer, LeafIsCa, NoRoot, NotCa, PathLength, SelfSigned, Signature,
        };
        use UsageFault::{Has, Lacks, Missing, NotCritical};
        let oid = String::from;
        vec![
            ("root-first", SelfSigned(0)),
            ("no-root", NoRoot(1)),
            ("gap", Issuer(0)),
            ("one-more", SelfSigned(2)),
            ("twice", SelfSigned(2)),
            ("root-alone", LeafIsCa),
            ("same-names-other-key", Signature(0)),
            ("same-names-other-root", Signature(1)),
            ("path-length", PathLength { index: 2, allowed: 0, found: 1 }),
            ("leaf-as-issuer", NotCa(1)),
            ("ca-without-constraints", NotCa(1)),
            ("ca-constraints-not-critical", NotCa(1)),
            ("ca-without-usage", usage(1, Missing)),
            ("ca-usage-not-critical", usage(1, NotCritical)),
            ("ca-may-not-sign-certificates", usage(1, Lacks("keyCertSign"))),
            ("ca-name-constraints", Critical { index: 1, oid: oid("2.5.29.30") }),
            ("leaf-is-ca", LeafIsCa),
            ("leaf-without-usage", usage(0, Missing)),
            ("leaf-usage-not-critical", usage(0, NotCritical)),
            ("leaf-may-not-sign", usage(0, Lacks("digitalSignature"))),
            ("leaf-signs-certificates", usage(0, Has("keyCertSign"))),
            ("leaf-enciphers", usage(0, Has("keyEncipherment"))),
            ("leaf-agrees", usage(0, Has("keyAgreement"))),
            ("leaf-server-auth", purpose(1)),
            ("leaf-time-stamping", purpose(8)),
            ("leaf-ocsp-signing", purpose(9)),
            ("leaf-any-usage", ChainError::Purpose(oid("2.5.29.37.0"))),
            ("leaf-unknown-critical", Critical { index: 0, oid: oid("1.2.3.4") }),
            ("sha1", Algorithm { index: 0, oid: oid("1.2.840.10045.4.1") }),
        ]
    }

    #[test]
    fn every_file_breaks_the_rule_of_its_name() {
        let names: BTreeSet<String> = std::fs::read_dir(FOLDER)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap().trim_end_matches(".pem").to_owned())
            .collect();
        let mut seen: BTreeSet<String> = ["expired-leaf", "future-leaf", "rsa-1024", "p256k1", "ed25519"]
            .into_iter()
            .map(String::from)
            .collect();
        for (name, is) in broken() {
            assert_eq!(Chain::notary(certificates(name)), Err(is), "{name}");
            seen.insert(name.to_owned());
        }
        for name in names.iter().filter(|n| n.starts_with("good-")) {
            let chain = Chain::notary(certificates(name)).unwrap();
            assert_eq!(chain.root().issuer(), chain.root().subject());
            assert_eq!(chain.certificates().len(), certificates(name).len());
            seen.insert(name.clone());
        }
        assert_eq!(names, seen, "each file is tested");
    }

    #[test]
    fn validity_is_a_question_about_a_time() {
        let at = |s: &str| s.parse::<UnixTime>().unwrap();
        let good = Chain::notary(certificates("good-three")).unwrap();
        for (time, is) in [
            ("2026-01-01T00:00:00Z", true),
            ("2120-01-01T00:00:00Z", true),
            ("2025-12-31T23:59:59Z", false),
            ("2120-01-01T00:00:01Z", false),
        ] {
            assert_eq!(good.valid_at(at(time)).is_ok(), is, "{time}");
        }
        let expired = Chain::notary(certificates("expired-leaf")).unwrap();
        let now = at("2026-11-21T00:00:00Z");
        let until = at("2021-01-01T00:00:00Z");
        assert_eq!(expired.valid_at(now), Err(ChainError::Expired { index: 0, until, at: now }));
        // The leaf was valid then, its issuers were not yet.
        let then = at("2020-06-01T00:00:00Z");
        let from = at("2026-01-01T00:00:00Z");
        assert_eq!(expired.valid_at(then), Err(ChainError::NotYet { index: 1, from, at: then }));
        let future = Chain::notary(certificates("future-leaf")).unwrap();
        assert!(matches!(future.valid_at(now), Err(ChainError::NotYet { index: 0, .. })));
    }

    #[test]
    fn lengths_are_bounded() {
        assert_eq!(Chain::notary(Vec::new()), Err(ChainError::Length(0)));
        let eleven = vec![certificates("good-self-signed").remove(0); MAX_CHAIN + 1];
        assert_eq!(Chain::notary(eleven), Err(ChainError::Length(MAX_CHAIN + 1)));
    }

    /// Also outside of the signed part, where x509-parser alone would let some pass.
    #[test]
    fn every_changed_bit_breaks_the_chain() {
        let good = certificates("good-three");
        for index in 0..good.len() {
            for at in 0..good[index].as_der().len() {
                let mut der = good[index].as_der().to_vec();
                for bit in 0..8 {
                    der[at] ^= 1 << bit;
                    if let Ok(changed) = Certificate::from_der(&der) {
                        let mut chain = good.clone();
                        chain[index] = changed;
                        assert!(
                            Chain::notary(chain).is_err(),
                            "bit {bit} of byte {at} of certificate {index}"
                        );
                    }
                    der[at] ^= 1 << bit;
                }
            }
        }
    }
}
