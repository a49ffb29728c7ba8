//! The forms in which other tools read signatures, and what each of them takes.

use std::fmt;

use crate::envelope::notary::{self, NotaryError};
use crate::sig::dsse::sigstore_algorithms;
use crate::sig::x509::ChainError;
use crate::sig::{Algorithm, KeyKind, SubjectKey};

/// A form of signature (docs/signatures.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// A Sigstore bundle, as cosign 3 writes it.
    Sigstore,
    /// A JWS of the Notary Project.
    Notation,
    /// A COSE_Sign1 of the Notary Project.
    NotationCose,
    /// Simple signing at the tag `sha256-<hex>.sig`, as cosign 2 writes it.
    CosignTag,
}

/// Why something cannot be signed so. Judged before any key is used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// The form has no place for such a key's signature.
    #[error("a key {key} does not sign in the form {form}: {why}")]
    Key {
        /// The form.
        form: Form,
        /// The kind of key.
        key: KeyKind,
        /// Why.
        why: &'static str,
    },
    /// What holds the key does not sign in the way that the form asks for.
    #[error("what holds the key does not sign as the form {0} asks for")]
    Device(Form),
    /// Signed is a certificate's key, and there is no certificate.
    #[error("the form {0} is signed with a certificate")]
    NoChain(Form),
    /// The form names a key, and has no place for a chain.
    #[error("the form {0} has no place for a certificate chain")]
    NoPlaceForChain(Form),
    /// The chain was not valid at the time of signing.
    #[error("certificate chain: {0}")]
    Chain(#[from] ChainError),
    /// The chain is another key's.
    #[error("the first certificate of the chain is not that of the signing key")]
    OtherKey,
    /// The form has no field for an expiry.
    #[error("the form {0} has no field for an expiry")]
    Expiry(Form),
    /// An annotation that the form reserves.
    #[error("an annotation that begins with {0:?} is reserved")]
    Annotation(&'static str),
    /// The form needs the name of a repository, and none is known.
    #[error("the form {0} signs the name of the repository too, and an OCI layout has none")]
    NoName(Form),
    /// The tag of such a digest would be too long.
    #[error("the digest {0} is too long for a tag, which the form cosign-tag needs")]
    LongDigest(String),
}

impl Form {
    /// As it is typed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sigstore => "sigstore",
            Self::Notation => "notation",
            Self::NotationCose => "notation-cose",
            Self::CosignTag => "cosign-tag",
        }
    }

    /// Whether a certificate's key signs.
    pub fn needs_chain(self) -> bool {
        matches!(self, Self::Notation | Self::NotationCose)
    }

    /// The one algorithm with which such a key signs in this form, so that the form's own tool takes it.
    pub(super) fn algorithm(self, key: &SubjectKey) -> Result<Algorithm, Unfit> {
        let kind = key.kind();
        let no = |why| Err(Unfit::Key { form: self, key: kind, why });
        let known = sigstore_algorithms(kind);
        match (self, kind) {
            (Self::Sigstore, KeyKind::Ed25519) => {
                no("cosign wants Ed25519ph in bundles, which is another algorithm")
            }
            (Self::Sigstore, _) => known.first().copied().map_or_else(|| no("it has no algorithm"), Ok),
            (Self::CosignTag, KeyKind::P384 | KeyKind::P521) => {
                no("cosign wants SHA-256 there, and such a key signs with a longer hash")
            }
            (Self::CosignTag, _) => known.last().copied().map_or_else(|| no("it has no algorithm"), Ok),
            (Self::Notation | Self::NotationCose, _) => match notary::algorithm(key) {
                Ok((algorithm, _)) => Ok(algorithm),
                Err(NotaryError::Key(_)) => {
                    no("the Notary Project has RSA of 2048, 3072 and 4096 bits and ECDSA")
                }
                Err(_) => no("the Notary Project has no algorithm for it"),
            },
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{MemorySigner, Signer as _};
    use crate::sig::{Hash, Scheme};

    #[test]
    fn each_kind_of_key_signs_what_the_page_says() {
        use Algorithm::{Ecdsa, Ed25519, RsaPkcs1, RsaPss};
        use Form::{CosignTag, Notation, NotationCose, Sigstore};
        let key = |scheme| SubjectKey::from(MemorySigner::generate(scheme).unwrap().public_key());
        for (scheme, sigstore, tag, notation) in [
            (Scheme::Ed25519, None, Some(Ed25519), None),
            (
                Scheme::EcdsaP256,
                Some(Ecdsa(Hash::Sha256)),
                Some(Ecdsa(Hash::Sha256)),
                Some(Ecdsa(Hash::Sha256)),
            ),
            (Scheme::EcdsaP384, Some(Ecdsa(Hash::Sha384)), None, Some(Ecdsa(Hash::Sha384))),
            (
                Scheme::RsaPss,
                Some(RsaPkcs1(Hash::Sha256)),
                Some(RsaPkcs1(Hash::Sha256)),
                Some(RsaPss(Hash::Sha384)),
            ),
        ] {
            let key = key(scheme);
            for (form, is) in
                [(Sigstore, sigstore), (CosignTag, tag), (Notation, notation), (NotationCose, notation)]
            {
                assert_eq!(form.algorithm(&key).ok(), is, "{form} {scheme}");
            }
        }
    }
}
