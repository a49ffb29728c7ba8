//! PKCS#8 private keys (RFC 5208, RFC 5958), plain and encrypted (PBES2, RFC 8018).

use aws_lc_rs::rand::fill;
use pkcs8::der::asn1::{AnyRef, UintRef};
use pkcs8::der::{Decode as _, Reader as _, SliceReader, Tag, Tagged as _};
use pkcs8::pkcs5::pbes2::{Kdf, Parameters};
use pkcs8::pkcs5::{EncryptionScheme, scrypt};
use pkcs8::{EncryptedPrivateKeyInfo, LineEnding, ObjectIdentifier, PrivateKeyInfo, SecretDocument};
use zeroize::Zeroizing;

use super::{KeyError, MemorySigner, Password, Unreadable};
use crate::sig::Scheme;

/// Cost of the keys written here: N 2^14, r 8, p 5 (16 MiB). openssl refuses to read more than 32 MiB, so the time comes
/// from p.
const LOG_N: u8 = 14;
const R: u32 = 8;
const P: u32 = 5;

/// Limits on what a key file may ask for: memory of scrypt in bytes, its work (N·r·p), PBKDF2 iterations.
const MAX_MEMORY: u128 = 128 << 20;
const MAX_WORK: u128 = 1 << 24;
const MAX_ITERATIONS: u32 = 10_000_000;

const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// Why a private key was not read: the file, or the password.
#[derive(Debug)]
pub(super) enum Refused {
    File(Unreadable),
    Password,
}

/// The key in a DER PKCS#8 document.
pub(super) fn read(der: &[u8]) -> Result<MemorySigner, Unreadable> {
    let info = PrivateKeyInfo::from_der(der).map_err(|_| Unreadable::Pkcs8)?;
    let scheme = match info.algorithm.oid {
        ED25519 => Scheme::Ed25519,
        EC => match info.algorithm.parameters_oid() {
            Ok(P256) => Scheme::EcdsaP256,
            Ok(P384) => Scheme::EcdsaP384,
            Ok(curve) => return Err(Unreadable::Algorithm(format!("EC with curve {curve}"))),
            Err(_) => return Err(Unreadable::Pkcs8),
        },
        RSA => return read_rsa(der, info.private_key),
        other => return Err(Unreadable::Algorithm(other.to_string())),
    };
    MemorySigner::from_pkcs8(scheme, der).map_err(|_| Unreadable::Pkcs8)
}

/// An RSA key; one of a size that does not count is told from a damaged one.
fn read_rsa(der: &[u8], key: &[u8]) -> Result<MemorySigner, Unreadable> {
    match modulus_bits(key) {
        Some(2048..=8192) => MemorySigner::from_pkcs8(Scheme::RsaPss, der).map_err(|_| Unreadable::Pkcs8),
        Some(bits) => Err(Unreadable::Algorithm(format!("RSA of {bits} bits"))),
        None => Err(Unreadable::Pkcs8),
    }
}

/// Size of the modulus in a DER RSAPrivateKey (RFC 8017 A.1.2): version, modulus, and more.
fn modulus_bits(key: &[u8]) -> Option<usize> {
    let fields = AnyRef::from_der(key).ok().filter(|any| any.tag() == Tag::Sequence)?;
    let mut reader = SliceReader::new(fields.value()).ok()?;
    let _version: u8 = reader.decode().ok()?;
    let modulus: UintRef<'_> = reader.decode().ok()?;
    let first = modulus.as_bytes().first()?;
    Some(modulus.as_bytes().len() * 8 - first.leading_zeros() as usize)
}

/// The key in a DER EncryptedPrivateKeyInfo. Its cost is judged before `password` is asked for.
pub(super) fn read_encrypted<E>(
    der: &[u8],
    password: impl FnOnce() -> Result<Password, E>,
) -> Result<Result<MemorySigner, Refused>, E> {
    let info = match EncryptedPrivateKeyInfo::from_der(der) {
        Ok(info) => info,
        Err(e) => return Ok(Err(Refused::File(unreadable_encryption(&e)))),
    };
    if let Err(e) = affordable(&info.encryption_algorithm) {
        return Ok(Err(Refused::File(e)));
    }
    let password = password()?;
    let plain = match info.decrypt(password.as_bytes()) {
        Ok(plain) => plain,
        // pkcs5 0.7 says EncryptFailed when it decrypts to bad padding.
        Err(pkcs8::Error::EncryptedPrivateKey(
            pkcs8::pkcs5::Error::DecryptFailed | pkcs8::pkcs5::Error::EncryptFailed,
        )) => return Ok(Err(Refused::Password)),
        // One wrong password in 256 leaves a well-formed padding, and then DER that is none.
        Err(pkcs8::Error::Asn1(_)) => return Ok(Err(Refused::Password)),
        Err(_) => return Ok(Err(Refused::File(Unreadable::Encryption))),
    };
    Ok(read(plain.as_bytes()).map_err(|e| match e {
        Unreadable::Pkcs8 => Refused::Password,
        e => Refused::File(e),
    }))
}

/// PEM of `key`, encrypted when a password is given.
pub(super) fn write(key: &MemorySigner, password: Option<&Password>) -> Result<Zeroizing<String>, KeyError> {
    let failed = KeyError::Crypto("write a private key");
    let plain = key.to_pkcs8()?;
    let (label, document) = match password {
        None => ("PRIVATE KEY", SecretDocument::try_from(plain.as_slice())),
        Some(password) => {
            let (mut salt, mut iv) = ([0u8; 16], [0u8; 16]);
            fill(&mut salt).map_err(|_| KeyError::Crypto("give random numbers"))?;
            fill(&mut iv).map_err(|_| KeyError::Crypto("give random numbers"))?;
            let cost = scrypt::Params::new(LOG_N, R, P, 32).map_err(|_| failed.clone())?;
            let scheme = Parameters::scrypt_aes256cbc(cost, &salt, &iv).map_err(|_| failed.clone())?;
            let info = PrivateKeyInfo::from_der(&plain).map_err(|_| failed.clone())?;
            let sealed = info.encrypt_with_params(scheme, password.as_bytes()).map_err(|_| failed.clone())?;
            ("ENCRYPTED PRIVATE KEY", Ok(sealed))
        }
    };
    document.and_then(|d| d.to_pem(label, LineEnding::LF)).map_err(|_| failed)
}

fn affordable(scheme: &EncryptionScheme<'_>) -> Result<(), Unreadable> {
    let EncryptionScheme::Pbes2(parameters) = scheme else { return Err(Unreadable::Encryption) };
    match &parameters.kdf {
        Kdf::Scrypt(s) => {
            let (n, r, p) =
                (u128::from(s.cost_parameter), u128::from(s.block_size), u128::from(s.parallelization));
            let memory = 128 * r * (n + p);
            if memory > MAX_MEMORY {
                let asked = format!("{} MiB of memory", memory >> 20);
                return Err(Unreadable::Cost { asked, limit: "128 MiB" });
            }
            if n * r * p > MAX_WORK {
                let asked = format!("scrypt with N {n}, r {r}, p {p}");
                return Err(Unreadable::Cost { asked, limit: "N * r * p = 16777216" });
            }
            Ok(())
        }
        Kdf::Pbkdf2(p) if p.iteration_count > MAX_ITERATIONS => {
            let asked = format!("{} iterations", p.iteration_count);
            Err(Unreadable::Cost { asked, limit: "10000000 iterations" })
        }
        Kdf::Pbkdf2(_) => Ok(()),
        _ => Err(Unreadable::Encryption),
    }
}

/// Structures that parse but name an unknown algorithm are another case than garbage.
fn unreadable_encryption(e: &pkcs8::der::Error) -> Unreadable {
    match e.kind() {
        pkcs8::der::ErrorKind::OidUnknown { .. } | pkcs8::der::ErrorKind::Value { .. } => {
            Unreadable::Encryption
        }
        _ => Unreadable::Pkcs8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed_with(cost: scrypt::Params) -> Vec<u8> {
        let key = MemorySigner::from_seed(&[3; 32]).unwrap().to_pkcs8().unwrap();
        let scheme = Parameters::scrypt_aes256cbc(cost, &[1; 16], &[2; 16]).unwrap();
        PrivateKeyInfo::from_der(&key).unwrap().encrypt_with_params(scheme, b"p").unwrap().as_bytes().to_vec()
    }

    /// Replaces the cost parameter N of an encrypted key (two bytes, INTEGER 02 02) by another of two bytes.
    fn with_n(mut der: Vec<u8>, from: [u8; 2], to: [u8; 2]) -> Vec<u8> {
        let at = der.windows(4).position(|w| w == [2, 2, from[0], from[1]]).unwrap();
        der[at + 2..at + 4].copy_from_slice(&to);
        der
    }

    #[test]
    fn a_hostile_cost_is_refused_before_the_password_is_asked_for() {
        // N 1024, r 64, p 1 is 8 MiB; N 16384 with the same r would be 128 MiB and a little.
        let der = with_n(sealed_with(scrypt::Params::new(10, 64, 1, 32).unwrap()), [4, 0], [0x40, 0]);
        let mut asked = false;
        let result = read_encrypted::<()>(&der, || {
            asked = true;
            Err(())
        });
        assert!(matches!(result, Ok(Err(Refused::File(Unreadable::Cost { .. })))), "{result:?}");
        assert!(!asked);
    }

    #[test]
    fn a_thousand_wrong_passwords_are_all_called_that() {
        let der = sealed_with(scrypt::Params::new(1, 1, 1, 32).unwrap());
        let try_with = |p: &str| {
            let password = Password::new(Zeroizing::new(p.to_owned()));
            read_encrypted(&der, || password).unwrap()
        };
        assert!(try_with("p").is_ok());
        for i in 0..1000 {
            let result = try_with(&format!("wrong {i}"));
            assert!(matches!(result, Err(Refused::Password)), "{i}: {result:?}");
        }
    }
}
