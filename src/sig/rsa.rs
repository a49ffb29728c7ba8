//! RSA public keys (RFC 8017 A.1.1) and RSA-PSS signatures as TUF has them: SHA-256, MGF1 over SHA-256.

use aws_lc_rs::digest::{Digest, SHA256, digest};
use aws_lc_rs::rsa::{PublicKey, RsaParameters};
use aws_lc_rs::signature::{RSA_PSS_2048_8192_SHA256, RsaPssSaltLength, VerificationAlgorithm as _};

use super::KeyError;

/// Sizes of the modulus that count, in bits. TUF's specification (4.2) asks for 2048 at least; a key of more than 8192
/// costs a verifier more than it can be worth.
const BITS: std::ops::RangeInclusive<u32> = 2048..=8192;

/// AlgorithmIdentifier rsaEncryption with NULL parameters (RFC 3279 2.3.1).
const ALGORITHM: &[u8] =
    &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

/// Length of a SHA-256 digest.
const HASH: u16 = 32;

/// Lengths of salts that are tried beside the usual two: none, and the digests of SHA-1, SHA-384 and SHA-512.
const SALTS: [u16; 4] = [0, 20, 48, 64];

/// DER RSAPublicKey that is well-formed, of a size that counts, and has an odd public exponent from 3 up to 33 bits.
pub(super) fn checked(der: &[u8]) -> Result<Vec<u8>, KeyError> {
    let malformed = KeyError::Malformed("not a DER RSAPublicKey with a sound modulus and exponent");
    let bits = modulus_bits(der).ok_or_else(|| malformed.clone())?;
    if !BITS.contains(&bits) {
        let scheme = format!("rsassa-pss-sha256 of {bits} bits");
        return Err(KeyError::Unsupported { keytype: "rsa".into(), scheme });
    }
    // Read and written again: whatever is not the one DER form of this key would be a second name for it.
    match PublicKey::from_der(der) {
        Ok(key) if key.as_ref() == der => Ok(der.to_vec()),
        _ => Err(malformed),
    }
}

/// Whether `der` is a SubjectPublicKeyInfo of an RSA key.
pub(super) fn is_spki(der: &[u8]) -> bool {
    // SEQUENCE with its length in one to five bytes, then the algorithm.
    der.first() == Some(&0x30) && (2..=6).any(|at| der.get(at..).is_some_and(|d| d.starts_with(ALGORITHM)))
}

/// The RSAPublicKey in a DER SubjectPublicKeyInfo.
pub(super) fn from_spki(der: &[u8]) -> Result<Vec<u8>, KeyError> {
    let malformed = KeyError::Malformed("not a DER SubjectPublicKeyInfo of an RSA key");
    let key = PublicKey::from_der(der).map_err(|_| malformed.clone())?;
    let raw = checked(key.as_ref())?;
    if to_spki(&raw) == der { Ok(raw) } else { Err(malformed) }
}

/// DER SubjectPublicKeyInfo of a DER RSAPublicKey.
pub(super) fn to_spki(raw: &[u8]) -> Vec<u8> {
    let bits = [&[0], raw].concat();
    tagged(0x30, &[ALGORITHM, &tagged(0x03, &bits)].concat())
}

/// Size of the modulus of a DER RSAPublicKey in bits.
pub(super) fn modulus_bits(raw: &[u8]) -> Option<u32> {
    RsaParameters::public_modulus_len(raw).ok()
}

/// Whether `signature` over exactly `message` is this key's. The salt may be as long as the digest (securesystemslib, PKCS#11,
/// cloud services), as long as it fits (go-tuf, openssl), or of a length in [`SALTS`]. python-tuf takes any length; to find
/// it out would cost a public-key operation for each that is possible, for every bad signature that anybody sends.
pub(super) fn verify(raw: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let Some(bits) = modulus_bits(raw) else { return false };
    if signature.len() != bits.div_ceil(8) as usize {
        return false;
    }
    // emLen - hLen - 2 (RFC 8017 9.1.1), emLen counted from modBits - 1.
    let longest = ((bits - 1).div_ceil(8) as u16).saturating_sub(HASH + 2);
    let digest = digest(&SHA256, message);
    [HASH, longest].iter().chain(&SALTS).any(|salt| verify_with(raw, &digest, signature, *salt))
}

fn verify_with(raw: &[u8], digest: &Digest, signature: &[u8], salt: u16) -> bool {
    let parameters = RSA_PSS_2048_8192_SHA256.with_pss_salt_length(RsaPssSaltLength::Custom(salt));
    parameters.verify_digest_sig(raw, digest, signature).is_ok()
}

/// DER: tag, length, content.
pub(super) fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length = &length[length.iter().take_while(|b| **b == 0).count()..];
    match *length {
        [] => vec![tag, 0],
        [short] if short < 0x80 => [&[tag, short], content].concat(),
        _ => [&[tag, 0x80 | length.len() as u8], length, content].concat(),
    }
}
