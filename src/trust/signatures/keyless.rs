//! Keyless signatures against anchors of that kind: each trusted root judges one signature once, and who it says it was is compared
//! with every anchor that has it.

use bytes::Bytes;

use super::found::Found;
use super::judge::{Bench, Fault, Sound, names_of, untrusted_certificate};
use super::voice::Voice;
use crate::envelope::keyless::{Keyless, KeylessError, Signed, TrustedRoot};
use crate::envelope::sigstore_bundle::Bundle;
use crate::oci::Digest;
use crate::sig::x509::Certificate;
use crate::trust::code::Code;
use crate::trust::{AnchorId, SignerAnchor, Trusts};

/// A trusted root, and the anchors that have it: whom, by which issuer's word.
type Named<'a> = (&'a TrustedRoot, Vec<(&'a SignerAnchor, &'a str, &'a str)>);
/// A bundle with its bytes, and what it signs: its digest, and its bytes where the signature is over them.
pub(super) type Held<'a> = (Bytes, Bundle, Digest, Option<&'a [u8]>);

impl Bench<'_> {
    /// A signature by the key of a certificate for minutes, by whom an anchor names; none where no anchor names an identity.
    /// `held` says that the leaf's key has signed, and what.
    pub(super) fn by_identity<'h>(
        &self,
        found: &Found,
        certificates: &[Certificate],
        held: impl FnOnce(&Certificate) -> Result<Held<'h>, Fault>,
    ) -> Option<Result<Sound, Fault>> {
        let mut roots: Vec<Named<'_>> = Vec::new();
        for anchor in self.signers {
            let Trusts::Keyless { trusted_root, identity, issuer } = &anchor.trusts else { continue };
            let whom = (anchor, identity.as_str(), issuer.as_str());
            match roots.iter_mut().find(|(root, _)| *root == trusted_root) {
                Some((_, all)) => all.push(whom),
                None => roots.push((trusted_root, vec![whom])),
            }
        }
        if roots.is_empty() {
            return None;
        }
        let Some(leaf) = certificates.first() else { return Some(Err(untrusted_certificate(None))) };
        Some(held(leaf).and_then(|held| self.identified(found, leaf, &held, &roots)))
    }

    fn identified(
        &self,
        found: &Found,
        leaf: &Certificate,
        (bytes, bundle, digest, artifact): &Held<'_>,
        roots: &[Named<'_>],
    ) -> Result<Sound, Fault> {
        let mut fault = untrusted_certificate(Some(leaf));
        let (mut ids, mut who): (Vec<AnchorId>, Option<Keyless>) = (Vec::new(), None);
        for (root, anchors) in roots {
            let signed = Signed { digest, bytes: *artifact };
            let keyless = match root.judge(bytes, bundle, signed, self.now) {
                Ok(keyless) => keyless,
                Err(e) => {
                    // Another root may know the authority; why one that does know it refuses is told.
                    if !matches!(e, KeylessError::Untrusted(_)) || fault.code == Code::SignatureUntrusted {
                        fault = self::fault(&e);
                    }
                    continue;
                }
            };
            for (anchor, identity, issuer) in anchors {
                match (keyless.identity == *identity, keyless.issuer == *issuer) {
                    (true, true) => ids.push(anchor.id.clone()),
                    (same_identity, _) => fault = other(&keyless, same_identity, anchor),
                }
            }
            who.get_or_insert(keyless);
        }
        let Some(keyless) = who.filter(|_| !ids.is_empty()) else { return Err(fault) };
        let voice = Voice::of_identity(leaf.key(), &keyless.identity, &keyless.issuer, ids);
        let materials = leaf.thumbprints().into_iter().chain(names_of(leaf.key())).collect();
        Ok(Sound {
            signed_at: Some(keyless.signed_at),
            // A log or a timestamp authority of the trusted root says so.
            proven_at: Some(keyless.signed_at),
            names_revocation: leaf.names_revocation(),
            ..self.sound(found, voice, materials)
        })
    }
}

fn other(keyless: &Keyless, same_identity: bool, anchor: &SignerAnchor) -> Fault {
    let anchor = anchor.id.as_str();
    let (code, whom) = match same_identity {
        true => (Code::SignatureIssuer, format!("and the anchor {anchor} names another issuer")),
        false => (Code::SignatureIdentity, format!("for whom the anchor {anchor} is not")),
    };
    let Keyless { identity, issuer, .. } = keyless;
    Fault::new(code, format!("signed by {identity} (by {issuer}), {whom}"))
}

pub(super) fn fault(e: &KeylessError) -> Fault {
    let code = match e {
        KeylessError::Malformed(_) => Code::SignatureMalformed,
        KeylessError::Unlogged => Code::SignatureUnlogged,
        KeylessError::UnknownLog(_) => Code::SignatureLogUnknown,
        KeylessError::Log(_) => Code::SignatureLogProof,
        KeylessError::Untrusted(_) => Code::SignatureUntrusted,
        KeylessError::Certificate(_) => Code::SignatureSct,
        KeylessError::Usage(_) => Code::SignatureUsage,
        KeylessError::Time(_) => Code::SignatureTime,
        KeylessError::Nameless(_) => Code::SignatureIdentity,
        KeylessError::Signature => Code::SignatureWrong,
    };
    Fault::new(code, e)
}
