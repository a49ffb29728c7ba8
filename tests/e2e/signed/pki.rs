//! Certificates and envelopes of the Notary Project, also ones that no tool would make.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bulla::envelope::sigstore_bundle;
use bulla::oci::{Descriptor, Digest};
use bulla::sig::x509::Certificate;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SigningKey as _, date_time_ymd,
};
use serde_json::{Value, json};

/// A CA and what it certifies.
pub(super) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    der: Vec<u8>,
}

/// A signer with a chain.
pub(super) struct Leaf {
    key: KeyPair,
    /// Leaf first.
    chain: Vec<Vec<u8>>,
}

/// What is unusual about a leaf.
pub(super) struct Usual {
    pub(super) usages: Vec<KeyUsagePurpose>,
    pub(super) purposes: Vec<ExtendedKeyUsagePurpose>,
    pub(super) until: i32,
}

impl Default for Usual {
    fn default() -> Self {
        let usages = vec![KeyUsagePurpose::DigitalSignature];
        Self { usages, purposes: vec![ExtendedKeyUsagePurpose::CodeSigning], until: 2100 }
    }
}

fn params(name: &str, until: i32) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.distinguished_name.push(DnType::OrganizationName, "Example");
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    params
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

impl Ca {
    pub(super) fn new(name: &str) -> Self {
        let mut params = params(name, 2100);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = key();
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self { issuer: Issuer::new(params, key), der }
    }

    pub(super) fn certificate(&self) -> Certificate {
        Certificate::from_der(&self.der).unwrap()
    }

    /// What it had before: the same key and name, and no longer valid.
    pub(super) fn older(&self, name: &str) -> Certificate {
        let mut params = params(name, 2022);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Certificate::from_der(params.self_signed(self.issuer.key()).unwrap().der()).unwrap()
    }

    pub(super) fn leaf(&self, name: &str, usual: Usual) -> Leaf {
        let mut params = params(name, usual.until);
        params.key_usages = usual.usages;
        params.extended_key_usages = usual.purposes;
        params.is_ca = IsCa::ExplicitNoCa;
        let key = key();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Leaf { key, chain: vec![certificate.der().to_vec(), self.der.clone()] }
    }
}

/// The protected header that notation writes.
pub(super) fn protected() -> Value {
    json!({
        "alg": "ES256", "cty": "application/vnd.cncf.notary.payload.v1+json",
        "crit": ["io.cncf.notary.signingScheme"], "io.cncf.notary.signingScheme": "notary.x509",
        "io.cncf.notary.signingTime": "2026-11-01T00:00:00Z",
    })
}

pub(super) fn payload(artifact: &Descriptor) -> Value {
    json!({"targetArtifact": {
        "mediaType": artifact.media_type, "digest": artifact.digest, "size": artifact.size,
    }})
}

/// r and s side by side, from DER.
fn fixed(der: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 64];
    let mut rest = &der[2..];
    for half in 0..2 {
        let length = rest[1] as usize;
        let number = &rest[2..2 + length];
        let number = number.strip_prefix(&[0]).unwrap_or(number);
        let end = 32 * (half + 1);
        out[end - number.len()..end].copy_from_slice(number);
        rest = &rest[2 + length..];
    }
    out
}

impl Leaf {
    pub(super) fn certificate(&self) -> Certificate {
        Certificate::from_der(&self.chain[0]).unwrap()
    }

    /// A Sigstore bundle, with the certificate in it or a hint of the key alone.
    pub(super) fn bundle(&self, digest: &Digest, with_certificate: bool) -> Vec<u8> {
        let draft = sigstore_bundle::Draft::sign(digest, &BTreeMap::new());
        let signature = self.key.sign(&draft.message()).unwrap();
        let bytes = draft.finish(self.certificate().key(), &signature).unwrap();
        if !with_certificate {
            return bytes;
        }
        let mut bundle: Value = serde_json::from_slice(&bytes).unwrap();
        let certificate = json!({"rawBytes": STANDARD.encode(&self.chain[0])});
        bundle["verificationMaterial"] = json!({"certificate": certificate});
        bundle.to_string().into_bytes()
    }

    /// A JWS envelope with any protected header and payload.
    pub(super) fn jws(&self, protected: &Value, payload: &Value) -> Vec<u8> {
        let protected = URL_SAFE_NO_PAD.encode(protected.to_string());
        let payload = URL_SAFE_NO_PAD.encode(payload.to_string());
        let signature = self.key.sign(format!("{protected}.{payload}").as_bytes()).unwrap();
        let x5c: Vec<_> = self.chain.iter().map(|der| STANDARD.encode(der)).collect();
        json!({
            "payload": payload, "protected": protected, "header": {"x5c": x5c},
            "signature": URL_SAFE_NO_PAD.encode(fixed(&signature)),
        })
        .to_string()
        .into_bytes()
    }

    /// As notation would sign it.
    pub(super) fn sign(&self, artifact: &Descriptor) -> Vec<u8> {
        self.jws(&protected(), &payload(artifact))
    }
}
