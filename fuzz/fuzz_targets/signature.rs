//! Every signature envelope: DSSE, statement, Sigstore bundle, simple signing, Notary JWS and COSE.
#![no_main]

use bulla::envelope::sigstore_bundle::Bundle;
use bulla::envelope::{notary_cose, notary_jws, simple_signing};
use bulla::oci::Digest;
use bulla::sig::SubjectKey;
use bulla::sig::dsse::Envelope;
use bulla::sig::statement::Statement;
use libfuzzer_sys::fuzz_target;

const KEY: &str = include_str!("../../testdata/signatures/sigstore/p256.pub");

fuzz_target!(|bytes: &[u8]| {
    let (Ok(key), digest) = (SubjectKey::from_pem(KEY), Digest::sha256(b"")) else { return };
    if let Ok(envelope) = Envelope::parse(bytes) {
        let _ = envelope.verify("application/vnd.in-toto+json", |_, _| true);
    }
    if let Ok(statement) = Statement::parse(bytes) {
        let _ = (statement.subject(&digest), statement.predicate());
    }
    if let Ok(bundle) = Bundle::parse(bytes) {
        let _ = (bundle.signature(&key, &digest), bundle.verify_message(&key, b""), bundle.log_entries().len());
    }
    let _ = simple_signing::verify(bytes, bytes, &key);
    let _ = (notary_jws::verify(bytes), notary_cose::verify(bytes));
});
