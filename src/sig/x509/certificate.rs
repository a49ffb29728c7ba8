//! One certificate, read strictly.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{ExtendedKeyUsage, GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer as _;
use x509_parser::signature_algorithm::{RsaSsaPssParams, SignatureAlgorithm};
use x509_parser::x509::{AlgorithmIdentifier, X509Version};

use super::DistinguishedName;
use crate::oci::Digest;
use crate::sig::der::{element, only};
use crate::sig::{Algorithm, Hash, KeyError, SubjectKey};
use crate::time::UnixTime;

/// Largest certificate in bytes.
pub const MAX_CERTIFICATE: usize = 64 << 10;
/// id-ad-ocsp (RFC 5280 4.2.2.1).
const OCSP: &str = "1.3.6.1.5.5.7.48.1";
/// Most certificates in one PEM text.
const MAX_PEM: usize = 100;

/// A certificate that parsed. Nothing about it is verified: a [`super::Chain`] does that.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    pub(super) der: Vec<u8>,
    pub(super) tbs: Vec<u8>,
    pub(super) signature: Vec<u8>,
    pub(super) algorithm: SignatureKind,
    subject: DistinguishedName,
    issuer: DistinguishedName,
    key: SubjectKey,
    not_before: UnixTime,
    not_after: UnixTime,
    pub(super) constraints: Option<BasicConstraints>,
    pub(super) usage: Option<KeyUsage>,
    pub(super) extended_usage: Option<Vec<String>>,
    pub(super) unknown_critical: Option<String>,
    uris: Vec<String>,
    alternative_names: usize,
    names_revocation: bool,
}

/// The algorithm that a certificate names, where it is one that counts; else its object identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SignatureKind {
    Known(Algorithm),
    Other(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BasicConstraints {
    pub(super) critical: bool,
    pub(super) ca: bool,
    pub(super) path_length: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyUsage {
    pub(super) critical: bool,
    /// Bit n is bit n of RFC 5280 4.2.1.3.
    pub(super) flags: u16,
}

/// Why bytes are no certificate that is read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// Larger than [`MAX_CERTIFICATE`].
    #[error("a certificate of {0} bytes; at most {MAX_CERTIFICATE} are read")]
    TooLarge(usize),
    /// Not DER of a certificate.
    #[error("not a DER certificate (RFC 5280): {0}")]
    Malformed(&'static str),
    /// Its key is of a kind that is not read.
    #[error("its public key: {0}")]
    Key(#[from] KeyError),
    /// A PEM text without certificate, with something else in it, or with too many.
    #[error("not a PEM text of certificates: {0}")]
    Pem(&'static str),
}

/// Most extensions; real certificates have about ten.
const MAX_EXTENSIONS: usize = 64;

impl Certificate {
    /// From DER, with nothing after it.
    ///
    /// # Errors
    /// Too large, malformed, a key that is not read.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        use CertificateError::Malformed;
        if der.len() > MAX_CERTIFICATE {
            return Err(CertificateError::TooLarge(der.len()));
        }
        let Ok((rest, parsed)) = X509Certificate::from_der(der) else {
            return Err(Malformed("it does not parse"));
        };
        if !rest.is_empty() {
            return Err(Malformed("bytes follow it"));
        }
        let tbs = &parsed.tbs_certificate;
        if tbs.version() != X509Version::V3 {
            return Err(Malformed("its version is not 3"));
        }
        framed(der, tbs.as_ref(), &parsed.signature_value.data)
            .ok_or(Malformed("what is not signed has another form than DER, or another algorithm"))?;
        let mut certificate = Self {
            der: der.to_vec(),
            tbs: tbs.as_ref().to_vec(),
            signature: parsed.signature_value.data.to_vec(),
            algorithm: algorithm(&parsed.signature_algorithm),
            subject: DistinguishedName::of(tbs.subject()),
            issuer: DistinguishedName::of(tbs.issuer()),
            key: SubjectKey::from_spki(tbs.subject_pki.raw)?,
            not_before: UnixTime::from_secs(tbs.validity().not_before.timestamp()),
            not_after: UnixTime::from_secs(tbs.validity().not_after.timestamp()),
            constraints: None,
            usage: None,
            extended_usage: None,
            unknown_critical: None,
            uris: Vec::new(),
            alternative_names: 0,
            names_revocation: false,
        };
        certificate.extensions(&parsed)?;
        Ok(certificate)
    }

    fn extensions(&mut self, parsed: &X509Certificate<'_>) -> Result<(), CertificateError> {
        use CertificateError::Malformed;
        let extensions = parsed.extensions();
        if extensions.len() > MAX_EXTENSIONS {
            return Err(Malformed("more extensions than a certificate has"));
        }
        for (i, extension) in extensions.iter().enumerate() {
            if extensions[..i].iter().any(|e| e.oid == extension.oid) {
                return Err(Malformed("an extension stands in it twice"));
            }
            let critical = extension.critical;
            match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(names) => {
                    let uris = names.general_names.iter().filter_map(|name| match name {
                        GeneralName::URI(uri) => Some((*uri).to_owned()),
                        _ => None,
                    });
                    self.uris = uris.collect();
                    self.alternative_names = names.general_names.len();
                }
                ParsedExtension::CRLDistributionPoints(_) => self.names_revocation = true,
                ParsedExtension::AuthorityInfoAccess(access) => {
                    let ocsp = access.accessdescs.iter().any(|a| a.access_method.to_id_string() == OCSP);
                    self.names_revocation |= ocsp;
                }
                _ => {}
            }
            match extension.parsed_extension() {
                ParsedExtension::BasicConstraints(c) => {
                    let (ca, path_length) = (c.ca, c.path_len_constraint);
                    self.constraints = Some(BasicConstraints { critical, ca, path_length });
                }
                ParsedExtension::KeyUsage(usage) => {
                    self.usage = Some(KeyUsage { critical, flags: usage.flags });
                }
                ParsedExtension::ExtendedKeyUsage(usage) => self.extended_usage = Some(purposes(usage)),
                ParsedExtension::ParseError { .. } => return Err(Malformed("an extension does not parse")),
                _ if critical => self.unknown_critical = Some(extension.oid.to_id_string()),
                _ => {}
            }
        }
        Ok(())
    }

    /// All certificates of a PEM text, in order. Text around the blocks is ignored; blocks of another kind are not.
    ///
    /// # Errors
    /// None in it, more than 100, other blocks, or one that is malformed.
    pub fn from_pem(text: &str) -> Result<Vec<Self>, CertificateError> {
        use CertificateError::Pem;
        let mut out = Vec::new();
        let mut rest = text;
        while let Some((_, from)) = rest.split_once("-----BEGIN ") {
            let Some(("CERTIFICATE", body)) = from.split_once("-----") else {
                return Err(Pem("a block that is no CERTIFICATE"));
            };
            let Some((body, tail)) = body.split_once("-----END CERTIFICATE-----") else {
                return Err(Pem("a block without end"));
            };
            if out.len() == MAX_PEM {
                return Err(Pem("more than 100 certificates"));
            }
            let packed: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
            out.push(Self::from_der(&STANDARD.decode(packed).map_err(|_| Pem("bad base64"))?)?);
            rest = tail;
        }
        if out.is_empty() { Err(Pem("no certificate in it")) } else { Ok(out) }
    }

    /// The DER form, as received.
    pub fn as_der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-256 over the DER form: what other tools call the certificate by. No identity: of an issuer's ECDSA signature anybody can
    /// make a second one that verifies (r, n - s), and so a second thumbprint. Signers are told apart by their keys.
    pub fn thumbprint(&self) -> Digest {
        Digest::sha256(&self.der)
    }

    /// Every thumbprint that this certificate can have: its own, and that of the second form which anybody can make of an issuer's
    /// ECDSA signature. An entry that takes the one back takes the other back.
    pub fn thumbprints(&self) -> Vec<Digest> {
        let twins = super::twins::of(&self.der, &self.tbs, &self.signature);
        std::iter::once(self.thumbprint()).chain(twins.iter().map(|der| Digest::sha256(der))).collect()
    }

    /// Whose key it is, as its issuer says.
    pub fn subject(&self) -> &DistinguishedName {
        &self.subject
    }

    /// Who issued it.
    pub fn issuer(&self) -> &DistinguishedName {
        &self.issuer
    }

    /// The key that it is about.
    pub fn key(&self) -> &SubjectKey {
        &self.key
    }

    /// The first second at which it is valid.
    pub fn not_before(&self) -> UnixTime {
        self.not_before
    }

    /// The last second at which it is valid.
    pub fn not_after(&self) -> UnixTime {
        self.not_after
    }

    /// The URIs among its subject's alternative names (RFC 5280 4.2.1.6): of an X.509-SVID its SPIFFE ID.
    pub fn uris(&self) -> &[String] {
        &self.uris
    }

    /// How many alternative names its subject has, of whatever kind.
    pub fn alternative_names(&self) -> usize {
        self.alternative_names
    }

    /// Whether it names servers that know whether it was revoked: OCSP, or a CRL.
    pub fn names_revocation(&self) -> bool {
        self.names_revocation
    }

    /// Whether it says that its key issues certificates.
    pub fn is_ca(&self) -> bool {
        self.constraints.as_ref().is_some_and(|c| c.ca)
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({:?} {})", self.subject, self.thumbprint().short())
    }
}

/// What stands outside of the signed part has one encoding: the algorithm is byte for byte
/// the signed one (RFC 5280 4.1.1.2), lengths are the shortest, the signature is whole bytes.
fn framed(der: &[u8], tbs: &[u8], signature: &[u8]) -> Option<()> {
    const SEQUENCE: u8 = 0x30;
    let (_, after) = element(only(der, SEQUENCE)?, SEQUENCE)?;
    let (_, bits) = element(after, SEQUENCE)?;
    let algorithm = after.strip_suffix(bits)?;
    // version, serialNumber, signature
    let (_, rest) = element(only(tbs, SEQUENCE)?, 0xa0)?;
    let (_, rest) = element(rest, 0x02)?;
    let whole = only(bits, 0x03)?.strip_prefix(&[0])? == signature;
    (whole && rest.starts_with(algorithm)).then_some(())
}

/// The purposes as object identifiers.
fn purposes(usage: &ExtendedKeyUsage<'_>) -> Vec<String> {
    let named = [
        (usage.any, "2.5.29.37.0"),
        (usage.server_auth, "1.3.6.1.5.5.7.3.1"),
        (usage.client_auth, "1.3.6.1.5.5.7.3.2"),
        (usage.code_signing, "1.3.6.1.5.5.7.3.3"),
        (usage.email_protection, "1.3.6.1.5.5.7.3.4"),
        (usage.time_stamping, "1.3.6.1.5.5.7.3.8"),
        (usage.ocsp_signing, "1.3.6.1.5.5.7.3.9"),
    ];
    let named = named.into_iter().filter(|(there, _)| *there).map(|(_, oid)| oid.to_owned());
    named.chain(usage.other.iter().map(x509_parser::der_parser::Oid::to_id_string)).collect()
}

fn algorithm(id: &AlgorithmIdentifier<'_>) -> SignatureKind {
    let oid = id.algorithm.to_id_string();
    let known = match oid.as_str() {
        "1.2.840.113549.1.1.11" => Some(Algorithm::RsaPkcs1(Hash::Sha256)),
        "1.2.840.113549.1.1.12" => Some(Algorithm::RsaPkcs1(Hash::Sha384)),
        "1.2.840.113549.1.1.13" => Some(Algorithm::RsaPkcs1(Hash::Sha512)),
        "1.2.840.113549.1.1.10" => match SignatureAlgorithm::try_from(id) {
            Ok(SignatureAlgorithm::RSASSA_PSS(parameters)) => pss(&parameters),
            _ => None,
        },
        "1.2.840.10045.4.3.2" => Some(Algorithm::Ecdsa(Hash::Sha256)),
        "1.2.840.10045.4.3.3" => Some(Algorithm::Ecdsa(Hash::Sha384)),
        "1.2.840.10045.4.3.4" => Some(Algorithm::Ecdsa(Hash::Sha512)),
        "1.3.101.112" => Some(Algorithm::Ed25519),
        _ => None,
    };
    known.map_or(SignatureKind::Other(oid), SignatureKind::Known)
}

/// Only the parameters that everybody uses: one hash for message and mask, a salt as long as it (RFC 4055 3.1).
fn pss(parameters: &RsaSsaPssParams<'_>) -> Option<Algorithm> {
    let (hash, salt) = match parameters.hash_algorithm_oid().to_id_string().as_str() {
        "2.16.840.1.101.3.4.2.1" => (Hash::Sha256, 32),
        "2.16.840.1.101.3.4.2.2" => (Hash::Sha384, 48),
        "2.16.840.1.101.3.4.2.3" => (Hash::Sha512, 64),
        _ => return None,
    };
    let mask = parameters.mask_gen_algorithm().ok()?;
    let usual = mask.mgf.to_id_string() == "1.2.840.113549.1.1.8"
        && mask.hash == *parameters.hash_algorithm_oid()
        && parameters.salt_length() == salt
        && parameters.trailer_field() == 1;
    usual.then_some(Algorithm::RsaPss(hash))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pem(name: &str) -> String {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/signatures/x509/");
        std::fs::read_to_string(format!("{path}{name}.pem")).unwrap()
    }

    #[test]
    fn a_certificate_says_who_and_when() {
        let chain = Certificate::from_pem(&pem("good-three")).unwrap();
        let [leaf, mid, root] = &chain[..] else { panic!("{chain:?}") };
        assert_eq!(leaf.subject().to_string(), "CN=Signer,O=Example\\, Inc.,ST=Berlin,C=DE");
        assert_eq!(leaf.issuer(), mid.subject());
        assert_eq!(root.issuer(), root.subject());
        assert_eq!(
            (leaf.not_before().to_string(), leaf.not_after().to_string()),
            ("2026-01-01T00:00:00Z".into(), "2120-01-01T00:00:00Z".into())
        );
        assert_eq!((leaf.is_ca(), mid.is_ca()), (false, true));
        assert_eq!(leaf.extended_usage, None);
        assert_eq!(
            mid.constraints,
            Some(BasicConstraints { critical: true, ca: true, path_length: Some(0) })
        );
        assert_eq!(leaf.usage, Some(KeyUsage { critical: true, flags: 1 }));
        let signing = Certificate::from_pem(&pem("good-code-signing")).unwrap();
        assert_eq!(signing[0].extended_usage, Some(vec!["1.3.6.1.5.5.7.3.3".to_owned()]));
        let pss = Certificate::from_pem(&pem("good-rsa-pss")).unwrap();
        assert_eq!(pss[0].algorithm, SignatureKind::Known(Algorithm::RsaPss(Hash::Sha512)));
        assert_eq!(pss[1].algorithm, SignatureKind::Known(Algorithm::RsaPss(Hash::Sha256)));
    }

    #[test]
    fn keys_that_are_not_read_and_other_texts_are_refused() {
        for name in ["rsa-1024", "p256k1"] {
            assert!(matches!(Certificate::from_pem(&pem(name)), Err(CertificateError::Key(_))), "{name}");
        }
        let good = pem("good-self-signed");
        let der = Certificate::from_pem(&good).unwrap()[0].as_der().to_vec();
        let longer = [&der[..], &[0]].concat();
        assert_eq!(Certificate::from_der(&longer), Err(CertificateError::Malformed("bytes follow it")));
        let large = vec![0x30; MAX_CERTIFICATE + 1];
        assert_eq!(Certificate::from_der(&large), Err(CertificateError::TooLarge(MAX_CERTIFICATE + 1)));
        let many = good.repeat(MAX_PEM + 1);
        for (text, why) in [
            ("", "no certificate in it"),
            (&good[..100], "a block without end"),
            (&good.replace("CERTIFICATE", "PUBLIC KEY"), "a block that is no CERTIFICATE"),
            (&good.replacen("MI", "!!", 1), "bad base64"),
            (&many, "more than 100 certificates"),
        ] {
            assert_eq!(Certificate::from_pem(text), Err(CertificateError::Pem(why)));
        }
        assert_eq!(Certificate::from_pem(&format!("text\n{good}text\n{good}")).unwrap().len(), 2);
    }

    proptest! {
        #[test]
        fn no_changed_byte_makes_it_panic(at: prop::sample::Index, with: u8, cut: prop::sample::Index) {
            let mut der = Certificate::from_pem(&pem("good-three")).unwrap()[1].as_der().to_vec();
            let at = at.index(der.len());
            der[at] = with;
            let _ = Certificate::from_der(&der).map(|c| format!("{c:?}"));
            let _ = Certificate::from_der(&der[..cut.index(der.len())]);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, text in ".{0,200}") {
            let _ = Certificate::from_der(&bytes);
            let _ = Certificate::from_pem(&text);
        }
    }
}
