//! What one signature is called by, so that it can be taken back: by what its signer alone could make.
//!
//! The manifest that carries it, the envelope's bytes and its hints can be changed by anybody who may push, and of an ECDSA signature
//! (r, s) anybody can make (r, n - s). What stays is r; and of other keys, for which no second form verifies, the whole value.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::found::{Form, Found};
use crate::envelope::sigstore_bundle::Bundle;
use crate::envelope::{notary, notary_cose, notary_jws};
use crate::oci::Digest;
use crate::sig::{KeyKind, ecdsa_r};

/// The name of a signature, whoever made it; none where it has not the form of one. It is the same for whatever carries it.
pub fn name(found: &Found) -> Option<Digest> {
    match found.form {
        Form::SigstoreBundle => Bundle::parse(&found.bytes).ok()?.value().map(of_value),
        Form::SimpleSigning => Some(of_value(&STANDARD.decode(found.signature.as_deref()?).ok()?)),
        Form::NotaryJws => notary_jws::verify(&found.bytes).ok().map(|read| of_notary(&read)),
        Form::NotaryCose => notary_cose::verify(&found.bytes).ok().map(|read| of_notary(&read)),
    }
}

/// In DER where it is ECDSA.
fn of_value(value: &[u8]) -> Digest {
    named(ecdsa_r(value).unwrap_or(value))
}

/// r and s side by side where it is ECDSA.
fn of_notary(read: &notary::Verified) -> Digest {
    let value = read.signature();
    named(match read.chain().leaf().key().kind() {
        KeyKind::P256 | KeyKind::P384 | KeyKind::P521 => &value[..value.len() / 2],
        KeyKind::Ed25519 | KeyKind::Rsa { .. } => value,
    })
}

fn named(value: &[u8]) -> Digest {
    let start = value.iter().position(|byte| *byte != 0).unwrap_or(value.len());
    Digest::sha256(&[b"signature\n", &value[start..]].concat())
}
