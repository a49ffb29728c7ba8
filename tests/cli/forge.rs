//! Signatures that no honest tool makes: signed with a good key, and wrong in one place.

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bulla::oci::{Digest, media_type, sorted_json};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData as _,
};
use serde_json::{Value, json};

use crate::registry::Registry;

pub(crate) const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
pub(crate) const SIGN: &str = "https://sigstore.dev/cosign/sign/v1";
const NOTARY: &str = "application/vnd.cncf.notary.signature";

/// A CA of a test, and whom it certifies.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// The root, in DER.
    pub(crate) root: Vec<u8>,
}

/// A signer: a key, and a chain for it.
pub(crate) struct Forger {
    pkcs8: Vec<u8>,
    /// The public key, SubjectPublicKeyInfo in DER.
    pub(crate) spki: Vec<u8>,
    chain: Vec<Vec<u8>>,
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    for (kind, value) in [
        (DnType::CountryName, "DE"),
        (DnType::StateOrProvinceName, "Berlin"),
        (DnType::OrganizationName, "Example, Inc."),
        (DnType::CommonName, name),
    ] {
        params.distinguished_name.push(kind, value);
    }
    params
}

impl Authority {
    pub(crate) fn new() -> Self {
        let (mut params, key) = (named("Root"), key());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages.push(KeyUsagePurpose::KeyCertSign);
        let root = params.self_signed(&key).unwrap().der().to_vec();
        Self { issuer: Issuer::new(params, key), root }
    }

    /// An honest signer of this CA.
    pub(crate) fn signer(&self, name: &str) -> Forger {
        self.signer_for(name, &[])
    }

    /// One whose certificate is for these uses besides signing.
    pub(crate) fn signer_for(&self, name: &str, extended: &[ExtendedKeyUsagePurpose]) -> Forger {
        let (mut params, key) = (named(name), key());
        params.key_usages.push(KeyUsagePurpose::DigitalSignature);
        params.extended_key_usages = extended.to_vec();
        let leaf = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        let chain = vec![leaf, self.root.clone()];
        Forger { pkcs8: key.serialize_der(), spki: key.subject_public_key_info(), chain }
    }

    /// An anchor that trusts whom this CA certified.
    pub(crate) fn anchor(&self, id: &str, scope: &str) -> Value {
        let certificate =
            json!({"sha256": Digest::sha256(&self.root).hex(), "data": STANDARD.encode(&self.root)});
        json!({"id": id, "kind": "ca", "scope": scope, "certificate": certificate})
    }
}

/// The protected header of an honest JWS, signed and to expire at these times.
pub(crate) fn header(at: &str, expires: Option<&str>) -> Value {
    let mut header = json!({
        "alg": "ES256",
        "crit": ["io.cncf.notary.signingScheme"],
        "cty": "application/vnd.cncf.notary.payload.v1+json",
        "io.cncf.notary.signingScheme": "notary.x509",
        "io.cncf.notary.signingTime": at,
    });
    if let Some(expires) = expires {
        header["crit"].as_array_mut().unwrap().push("io.cncf.notary.expiry".into());
        header["io.cncf.notary.expiry"] = expires.into();
    }
    header
}

/// A statement about a digest.
pub(crate) fn statement(digest: &str, predicate: &str) -> Value {
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"digest": {"sha256": digest.trim_start_matches("sha256:")}}],
        "predicateType": predicate,
        "predicate": {},
    })
}

impl Forger {
    pub(crate) fn anchor(&self, id: &str, scope: &str) -> Value {
        json!({"id": id, "kind": "key", "scope": scope, "key": {"spki": STANDARD.encode(&self.spki)}})
    }

    /// A JWS of the Notary Project with this protected header.
    pub(crate) fn jws(&self, header: &Value, subject: &Value) -> Vec<u8> {
        let protected = URL_SAFE_NO_PAD.encode(header.to_string());
        let payload = URL_SAFE_NO_PAD.encode(json!({"targetArtifact": subject}).to_string());
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.pkcs8).unwrap();
        let signature = key.sign(&SystemRandom::new(), format!("{protected}.{payload}").as_bytes()).unwrap();
        let x5c: Vec<String> = self.chain.iter().map(|c| STANDARD.encode(c)).collect();
        sorted_json(&json!({
            "payload": payload, "protected": protected, "header": {"x5c": x5c},
            "signature": URL_SAFE_NO_PAD.encode(signature),
        }))
    }

    /// A Sigstore bundle over this statement.
    pub(crate) fn bundle(&self, statement: &Value) -> Value {
        let payload = statement.to_string();
        let kind = "application/vnd.in-toto+json";
        let signed = format!("DSSEv1 {} {kind} {} {payload}", kind.len(), payload.len());
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &self.pkcs8).unwrap();
        let signature = key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        let hint = STANDARD.encode(digest::digest(&digest::SHA256, &self.spki));
        json!({
            "mediaType": BUNDLE,
            "verificationMaterial": {"publicKey": {"hint": hint}},
            "dsseEnvelope": {
                "payload": STANDARD.encode(payload),
                "payloadType": kind,
                "signatures": [{"sig": STANDARD.encode(signature)}],
            },
        })
    }
}

/// The descriptor of a manifest in the registry.
pub(crate) fn descriptor(registry: &Registry, repo: &str, reference: &str) -> Value {
    let (digest, media_type, bytes) = registry.manifest(repo, reference).unwrap();
    json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
}

/// Hangs an envelope on a manifest: a JWS, or a bundle.
pub(crate) fn hang(
    registry: &Registry,
    repo: &str,
    subject: &Value,
    envelope: &[u8],
    is_jws: bool,
) -> String {
    let (artifact_type, layer) = if is_jws { (NOTARY, "application/jose+json") } else { (BUNDLE, BUNDLE) };
    let annotations = if is_jws {
        json!({"io.cncf.notary.x509chain.thumbprint#S256": "[]"})
    } else {
        json!({"dev.sigstore.bundle.content": "dsse-envelope", "dev.sigstore.bundle.predicateType": SIGN})
    };
    let config = registry.put_blob(repo, "{}");
    let blob = registry.put_blob(repo, envelope.to_vec());
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "artifactType": artifact_type,
        "config": {"mediaType": media_type::OCI_EMPTY, "digest": config, "size": 2},
        "layers": [{"mediaType": layer, "digest": blob, "size": envelope.len()}],
        "subject": subject, "annotations": annotations,
    });
    registry.put_manifest(repo, None, media_type::OCI_MANIFEST, sorted_json(&manifest))
}
