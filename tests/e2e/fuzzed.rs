//! The entries of the fuzz targets (`fuzz/entries.rs`) over changed examples, for machines without a nightly toolchain.

#[path = "../../fuzz/entries.rs"]
mod entries;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bulla::client::state::{self, Kind};
use bulla::keys::{MemorySigner, Signer};
use bulla::sig::dsse;
use bulla::tuf::{FileName, Files};
use bytes::Bytes;
use serde_json::json;

use super::soak;
use super::states::vectors::{self, BUNDLE, LIST};
use super::states::world::{Changes, Rng};

/// Examples of every kind; each entry gets all of them, since what one refuses may be what another reads.
fn examples() -> Vec<Vec<u8>> {
    let mut out = vec![BUNDLE.to_vec(), LIST.to_vec(), b"{}".to_vec(), Vec::new()];
    let mut files = Files::new();
    for (name, bytes) in vectors::honest().serve(&Changes::default()) {
        if let Ok(name) = name.parse::<FileName>() {
            files.put(name, Bytes::copy_from_slice(&bytes));
        }
        out.push(bytes);
    }
    out.push(state::pack(Kind::State, &files, None).manifest.bytes().to_vec());
    let key = MemorySigner::from_seed(&[7; 32]).unwrap().public_key().clone();
    out.push(key.to_pem().into_bytes());
    out.push(
        dsse::envelope("application/vnd.in-toto+json", b"{}", b"signature", Some(&key.key_id()))
            .to_string()
            .into_bytes(),
    );
    let digest = format!("sha256:{}", "11".repeat(32));
    let documents = [
        json!({"_type": "bulla-delegation-request", "signature": "00", "body": {"collection": "example.com/a/b", "identity": "A. <a@example.com>",
               "key": key.to_tuf(), "paths": ["example.com/a/b:dev-*"], "at": "2026-11-20T23:00:00Z"}}),
        json!({"_type": "bulla-delegation-denial", "signature": "00", "body": {"collection": "example.com/a/b", "request": "11".repeat(32),
               "reason": "no", "at": "2026-11-20T23:00:00Z", "by": key.key_id()}}),
        json!({"at": "2026-11-20T23:00:00Z", "done": "copied", "reference": "example.com/a/b:v1", "digest": digest}),
        json!({"schemaVersion": 1, "entries": [{"id": "1", "kind": "tombstone", "digest": digest, "at": "2026-11-20T23:00:00Z",
               "reason": "broken", "by": key.key_id()}]}),
        json!({"publicKey": {"publicKeyPEM": base64(key.to_pem().as_bytes())}}),
        json!({"_type": "https://in-toto.io/Statement/v1", "subject": [{"name": "a", "digest": {"sha256": "11".repeat(32)}}],
               "predicateType": "https://slsa.dev/provenance/v1", "predicate": {}}),
        json!({"_type": "layout", "expires": "2030-01-01T00:00:00Z", "readme": "", "keys": {key.key_id().as_str(): key.to_tuf()},
               "steps": [{"_type": "step", "name": "s", "threshold": 1, "pubkeys": [key.key_id()], "expected_command": ["{x}"],
                          "expected_materials": [["MATCH", "*", "IN", "a", "WITH", "PRODUCTS", "IN", "b", "FROM", "t"]],
                          "expected_products": [["ALLOW", "[!a-z]*"], ["DISALLOW", "*"]]}],
               "inspect": [{"_type": "inspection", "name": "i", "run": ["true"], "expected_materials": [], "expected_products": []}]}),
        json!({"signed": {"_type": "link", "name": "s", "command": [], "materials": {}, "products": {"a/b": {"sha256": "00"}}, "byproducts": {},
                          "environment": {}}, "signatures": [{"keyid": key.key_id(), "sig": "00"}]}),
        json!({"_type": "https://in-toto.io/Statement/v1", "subject": [{"name": "a", "digest": {"sha256": "00"}}],
               "predicateType": "https://in-toto.io/attestation/link/v0.3", "predicate": {"name": "s", "materials": []}}),
        json!({"schemaVersion": 1, "anchors": [], "statements": []}),
        json!({"schemaVersion": "v1.0.0", "name": "a", "version": "1", "invocationImages": [{"image": "a", "contentDigest": digest}],
               "images": {"b": {"image": "b", "contentDigest": digest, "size": 0.5}}}),
        json!({"schemaVersion": 2, "manifests": [
            {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 1, "annotations": {"io.cnab.manifest.type": "config"}},
            {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 1, "annotations": {"io.cnab.manifest.type": "invocation"}},
        ]}),
        json!({"a": format!("example.com/a@{digest}"), "b": format!("example.com/a@{digest}")}),
        json!({"schemaVersion": 2, "statements": [{"scope": "*", "require": {"attestations": [
            {"type": "vuln", "match": [{"pointer": "/a~1b", "oneOf": [1, null]}]}]}}]}),
        json!({"schemaVersion": 1, "scope": "example.com/*", "organisation": "example.com/org", "root": "1.root.json"}),
    ];
    out.extend(documents.iter().map(|d| d.to_string().into_bytes()));
    out.push(include_bytes!("../../testdata/requirements/trustpolicy.json").to_vec());
    out.push(include_bytes!("../../testdata/requirements/truststore.json").to_vec());
    out.push(include_bytes!("../../testdata/signatures/sigstore-rust/trusted_root.json").to_vec());
    out.push(include_bytes!("../../testdata/signatures/sigstore-rust/cosign-v3-blob.sigstore.json").to_vec());
    let policies = [
        json!({"version": "1.0", "trustPolicies": [{"name": "a", "registryScopes": ["*"], "signatureVerification": {"level": "skip"}}]}),
        json!({"keys": [{"use": "jwt-svid", "kid": "a", "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}], "spiffe_sequence": 1}),
        json!({"schemaVersion": 2, "locked": true, "anchors": [{"id": "a", "kind": "key", "scope": "*", "key": {"spki": base64(&key.to_spki())}}],
               "statements": [{"scope": "*", "require": {"tuf": true, "signatures": false}, "checks": {"expiry": false}, "reason": "r"}],
               "deny": [{"digest": digest, "reason": "broken"}]}),
    ];
    out.extend(policies.iter().map(|d| d.to_string().into_bytes()));
    let texts = [
        "example.com/a/b:v1",
        "oci:/a/b:v1",
        &digest,
        "1.targets%2Freleases.json",
        "mirror.example/*",
        "2026-11-20T23:00:00Z",
        "9999-12-31T23:59:59Z",
        "awskms:///alias/x",
        "example.com/a/b:dev-*",
        "7d",
        "targets/releases",
        "MATCH [!a]*?.c IN src WITH PRODUCTS IN src/ FROM tag",
        "outer.00112233/inner.44556677.link",
    ];
    out.extend(texts.iter().map(|t| t.as_bytes().to_vec()));
    out
}

fn base64(bytes: &[u8]) -> String {
    let value = dsse::envelope("x", bytes, b"", None);
    value["payload"].as_str().unwrap().to_owned()
}

/// One change: a byte, a piece cut out, doubled or taken from another example, a number, a name, a depth.
fn change(rng: &mut Rng, bytes: &mut Vec<u8>, others: &[Vec<u8>]) {
    const PIECES: [&[u8]; 12] = [
        b"\"",
        b"{",
        b"]",
        b",",
        b"null",
        b"-1",
        b"9007199254740993",
        b"1e9",
        b"\\u0000",
        b"\xff",
        b"/../",
        b"*",
    ];
    let at = rng.below(bytes.len() + 1);
    let to = at + rng.below((bytes.len() - at).min(40) + 1);
    match rng.below(7) {
        0 if at < bytes.len() => bytes[at] = rng.next() as u8,
        1 if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
        2 => drop(bytes.drain(at..to)),
        3 => {
            let piece = bytes[at..to].to_vec();
            drop(bytes.splice(at..at, piece));
        }
        4 => {
            let other = rng.pick(others);
            let from = rng.below(other.len() + 1);
            let piece = other[from..(from + 60).min(other.len())].to_vec();
            drop(bytes.splice(at..to, piece));
        }
        5 => bytes.truncate(at),
        _ => drop(bytes.splice(at..to, rng.pick(&PIECES).to_vec())),
    }
}

#[test]
fn changed_examples_are_read_or_refused() {
    let examples = examples();
    let each = Duration::from_millis(soak::of(300, 20_000));
    for (number, (name, entry)) in entries::ALL.iter().enumerate() {
        let mut rng = Rng::new(number as u64 + 1);
        let (begun, mut runs) = (Instant::now(), 0);
        examples.iter().for_each(|example| entry(example));
        while begun.elapsed() < each {
            let mut bytes = rng.pick(&examples).clone();
            for _ in 0..=rng.below(6) {
                change(&mut rng, &mut bytes, &examples);
            }
            entry(&bytes);
            runs += 1;
        }
        soak::report(&format!("fuzzed  {name}: {runs} changed examples"));
        assert!(runs > 20, "{name}: {runs}");
    }
}

/// Every entry is a fuzz target, and the other way round.
#[test]
fn every_entry_is_a_fuzz_target() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let names: BTreeSet<String> = entries::ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
    let files = std::fs::read_dir(root.join("fuzz/fuzz_targets")).unwrap();
    let files = files.map(|f| f.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned());
    assert_eq!(files.collect::<BTreeSet<_>>(), names);
    let manifest = std::fs::read_to_string(root.join("fuzz/Cargo.toml")).unwrap();
    let makefile = std::fs::read_to_string(root.join("Makefile")).unwrap();
    let run = makefile.lines().find(|l| l.contains("cargo +nightly fuzz run")).unwrap();
    for name in names {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        assert!(run.contains(&format!(" {name}")), "{name}");
    }
}
