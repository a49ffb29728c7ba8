//! Sigstore's services in small: an authority that certifies identities for minutes, a log of certificates and a log of signatures,
//! with the trusted root that names them. Each can be made to err in one place.

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulla::oci::sorted_json;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, SanType,
    SerialNumber,
};
use serde_json::{Value, json};

use crate::forge::BUNDLE;

/// When everything here is signed: seconds.
pub(crate) const SIGNED_AT: i64 = 1_777_500_000;
pub(crate) const IDENTITY: &str = "https://ci.example.com/acme/app/release.yml@refs/heads/main";
pub(crate) const ISSUER: &str = "https://token.example.com";

const LOG: &str = "rekor.example.com - 1";

/// One instance.
pub(crate) struct Fulcio {
    issuer: Issuer<'static, KeyPair>,
    ca: Vec<u8>,
    ca_spki: Vec<u8>,
    certificates: LogKey,
    signatures: LogKey,
}

struct LogKey {
    pkcs8: Vec<u8>,
    spki: Vec<u8>,
}

/// A certificate for minutes, and its key.
pub(crate) struct Signer {
    pkcs8: Vec<u8>,
    leaf: Vec<u8>,
}

/// What a certificate says, and what is wrong with it.
#[derive(Clone)]
pub(crate) struct Says {
    pub(crate) names: Vec<SanType>,
    pub(crate) issuer: &'static str,
    /// Seconds from [`SIGNED_AT`].
    pub(crate) valid: (i64, i64),
    pub(crate) purpose: ExtendedKeyUsagePurpose,
    pub(crate) logged: bool,
}

impl Says {
    pub(crate) fn honest() -> Self {
        Self {
            names: vec![SanType::URI(IDENTITY.try_into().unwrap())],
            issuer: ISSUER,
            valid: (-60, 540),
            purpose: ExtendedKeyUsagePurpose::CodeSigning,
            logged: true,
        }
    }

    pub(crate) fn named(name: &str) -> Self {
        Self { names: vec![SanType::URI(name.try_into().unwrap())], ..Self::honest() }
    }
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, bytes).as_ref().to_vec()
}

fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn sign(pkcs8: &[u8], message: &[u8]) -> Vec<u8> {
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8).unwrap();
    key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
}

impl LogKey {
    fn new() -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        Self { pkcs8: key.serialize_der(), spki: key.subject_public_key_info() }
    }

    fn id(&self) -> Vec<u8> {
        sha256(&self.spki)
    }

    fn trusted(&self, url: &str) -> Value {
        json!({
            "baseUrl": url, "hashAlgorithm": "SHA2_256", "logId": {"keyId": base64(&self.id())},
            "publicKey": {
                "rawBytes": base64(&self.spki), "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                "validFor": {"start": "2020-01-01T00:00:00Z"},
            },
        })
    }
}

impl Fulcio {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "fulcio.example.com");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages.push(KeyUsagePurpose::KeyCertSign);
        let ca = params.self_signed(&key).unwrap().der().to_vec();
        let ca_spki = key.subject_public_key_info();
        Self {
            issuer: Issuer::new(params, key),
            ca,
            ca_spki,
            certificates: LogKey::new(),
            signatures: LogKey::new(),
        }
    }

    /// The document that names the keys of this instance.
    pub(crate) fn trusted_root(&self) -> Value {
        json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [self.signatures.trusted("https://rekor.example.com")],
            "certificateAuthorities": [{
                "subject": {"organization": "Example", "commonName": "fulcio.example.com"},
                "uri": "https://fulcio.example.com",
                "certChain": {"certificates": [{"rawBytes": base64(&self.ca)}]},
                "validFor": {"start": "2020-01-01T00:00:00Z"},
            }],
            "ctlogs": [self.certificates.trusted("https://ct.example.com")],
        })
    }

    /// A certificate for these minutes.
    pub(crate) fn signer(&self, says: &Says) -> Signer {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        let at = |seconds: i64| {
            let since = std::time::Duration::from_secs((SIGNED_AT + seconds) as u64);
            (std::time::UNIX_EPOCH + since).into()
        };
        params.distinguished_name = DistinguishedName::new();
        params.serial_number = Some(SerialNumber::from(77u64));
        (params.not_before, params.not_after) = (at(says.valid.0), at(says.valid.1));
        params.subject_alt_names = says.names.clone();
        params.key_usages.push(KeyUsagePurpose::DigitalSignature);
        params.extended_key_usages = vec![says.purpose.clone()];
        let issuer = [&[0x0c, says.issuer.len() as u8][..], says.issuer.as_bytes()].concat();
        let extension = |oid: &[u64], content| CustomExtension::from_oid_content(oid, content);
        params.custom_extensions.push(extension(&[1, 3, 6, 1, 4, 1, 57264, 1, 8], issuer));
        if says.logged {
            let before = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
            let oid = [1, 3, 6, 1, 4, 1, 11129, 2, 4, 2];
            params.custom_extensions.push(extension(&oid, self.sct(&before)));
        }
        let leaf = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        Signer { pkcs8: key.serialize_der(), leaf }
    }

    /// The extension of a certificate that the log of certificates has taken (RFC 6962 3.2 and 3.3).
    fn sct(&self, before: &[u8]) -> Vec<u8> {
        use x509_parser::prelude::FromDer as _;
        let (_, read) = x509_parser::certificate::X509Certificate::from_der(before).unwrap();
        let tbs: &[u8] = read.tbs_certificate.as_ref();
        let at = ((SIGNED_AT * 1000) as u64).to_be_bytes();
        let length = (tbs.len() as u32).to_be_bytes();
        let signed =
            [&[0, 0][..], &at[..], &[0, 1], &sha256(&self.ca_spki), &length[1..], tbs, &[0, 0]].concat();
        let signature = sign(&self.certificates.pkcs8, &signed);
        let size = (signature.len() as u16).to_be_bytes();
        let sct = [&[0][..], &self.certificates.id()[..], &at, &[0, 0, 4, 3], &size, &signature].concat();
        let one = [&(sct.len() as u16).to_be_bytes()[..], &sct].concat();
        let list = [&(one.len() as u16).to_be_bytes()[..], &one].concat();
        let length: Vec<u8> =
            if list.len() < 128 { vec![list.len() as u8] } else { vec![0x81, list.len() as u8] };
        [&[0x04][..], &length[..], &list].concat()
    }

    /// What the log of signatures says of an entry that it took as its second, at this time.
    pub(crate) fn entry(&self, kind: (&str, &str), body: &[u8], at: i64) -> Value {
        let id = self.signatures.id();
        let promised = sorted_json(&json!({
            "body": base64(body), "integratedTime": at, "logID": hex::encode(&id), "logIndex": 1,
        }));
        let leaf = |bytes: &[u8]| sha256(&[&[0][..], bytes].concat());
        let (first, second) = (leaf(b"the one before"), leaf(body));
        let root = base64(&sha256(&[&[1][..], &first[..], &second].concat()));
        let note = format!("{LOG}\n2\n{root}\n");
        let signature = base64(&[&id[..4], &sign(&self.signatures.pkcs8, note.as_bytes())].concat());
        json!({
            "logIndex": "1", "logId": {"keyId": base64(&id)},
            "kindVersion": {"kind": kind.0, "version": kind.1}, "integratedTime": at.to_string(),
            "inclusionPromise": {"signedEntryTimestamp": base64(&sign(&self.signatures.pkcs8, &promised))},
            "inclusionProof": {
                "logIndex": "1", "rootHash": root, "treeSize": "2", "hashes": [base64(&first)],
                "checkpoint": {"envelope": format!("{note}\n— rekor.example.com {signature}\n")},
            },
            "canonicalizedBody": base64(body),
        })
    }

    /// A bundle over this statement, logged at this time.
    pub(crate) fn bundle_at(&self, signer: &Signer, statement: &Value, at: i64) -> Value {
        let payload = statement.to_string();
        let kind = "application/vnd.in-toto+json";
        let signed = format!("DSSEv1 {} {kind} {} {payload}", kind.len(), payload.len());
        let signature = sign(&signer.pkcs8, signed.as_bytes());
        let body = sorted_json(&json!({
            "apiVersion": "0.0.1", "kind": "dsse",
            "spec": {
                "envelopeHash": {"algorithm": "sha256", "value": hex::encode(sha256(b"whatever was sent"))},
                "payloadHash": {"algorithm": "sha256", "value": hex::encode(sha256(payload.as_bytes()))},
                "signatures": [{"signature": base64(&signature), "verifier": base64(signer.pem().as_bytes())}],
            },
        }));
        json!({
            "mediaType": BUNDLE,
            "verificationMaterial": {
                "certificate": {"rawBytes": base64(&signer.leaf)},
                "tlogEntries": [self.entry(("dsse", "0.0.1"), &body, at)],
            },
            "dsseEnvelope": {
                "payload": base64(payload.as_bytes()), "payloadType": kind,
                "signatures": [{"sig": base64(&signature)}],
            },
        })
    }

    pub(crate) fn bundle(&self, signer: &Signer, statement: &Value) -> Value {
        self.bundle_at(signer, statement, SIGNED_AT)
    }

    /// The annotations of a layer at cosign's tag, for this payload.
    pub(crate) fn annotations(&self, signer: &Signer, payload: &[u8]) -> Value {
        let signature = sign(&signer.pkcs8, payload);
        let body = sorted_json(&json!({
            "apiVersion": "0.0.1", "kind": "hashedrekord",
            "spec": {
                "data": {"hash": {"algorithm": "sha256", "value": hex::encode(sha256(payload))}},
                "signature": {
                    "content": base64(&signature), "publicKey": {"content": base64(signer.pem().as_bytes())},
                },
            },
        }));
        let entry = self.entry(("hashedrekord", "0.0.1"), &body, SIGNED_AT);
        let promise = json!({
            "SignedEntryTimestamp": entry["inclusionPromise"]["signedEntryTimestamp"],
            "Payload": {
                "body": base64(&body), "integratedTime": SIGNED_AT, "logIndex": 1,
                "logID": hex::encode(self.signatures.id()),
            },
        });
        json!({
            "dev.cosignproject.cosign/signature": base64(&signature),
            "dev.sigstore.cosign/certificate": signer.pem(),
            "dev.sigstore.cosign/chain": pem(&self.ca),
            "dev.sigstore.cosign/bundle": promise.to_string(),
        })
    }
}

impl Signer {
    fn pem(&self) -> String {
        pem(&self.leaf)
    }
}

fn pem(der: &[u8]) -> String {
    let base64 = base64(der);
    let lines: Vec<&str> = base64.as_bytes().chunks(64).map(|c| std::str::from_utf8(c).unwrap()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
