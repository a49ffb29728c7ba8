//! cosign's private key files (sigstore/cosign `pkg/cosign/keys.go`, go-securesystemslib `encrypted`): PKCS#8 in NaCl secretbox
//! under a key from scrypt, as JSON in PEM.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crypto_secretbox::aead::{Aead as _, KeyInit as _};
use crypto_secretbox::{Key, Nonce, XSalsa20Poly1305};
use pkcs8::pkcs5::scrypt;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::pkcs8::Refused;
use super::{KeyError, MemorySigner, Password, Unreadable, pkcs8 as document};

/// Label of the PEM block that is written.
pub(super) const LABEL: &str = "ENCRYPTED SIGSTORE PRIVATE KEY";
/// The label of cosign 1, which is read.
pub(super) const OLD_LABEL: &str = "ENCRYPTED COSIGN PRIVATE KEY";

/// The costs that cosign has ever written, N = 2^15, 2^16, 2^17 (32 to 128 MiB); a file must not ask for another.
const LOG_N: [u8; 3] = [15, 16, 17];
const WRITTEN_LOG_N: u8 = 16;
const R: u32 = 8;
const P: u32 = 1;

/// A file that parsed, still sealed.
struct Sealed {
    log_n: u8,
    salt: Vec<u8>,
    nonce: [u8; 24],
    ciphertext: Vec<u8>,
}

/// The key in the JSON of a key file. Its form and cost are judged before `password` is asked for. The empty password, which
/// cosign allows, is tried first: whoever chose it is not asked for one.
pub(super) fn read<E>(
    json: &[u8],
    password: impl FnOnce() -> Result<Password, E>,
) -> Result<Result<MemorySigner, Refused>, E> {
    let sealed = match parse(json) {
        Ok(sealed) => sealed,
        Err(e) => return Ok(Err(Refused::File(e))),
    };
    let plain = match open(&sealed, b"") {
        Some(plain) => plain,
        None => match open(&sealed, password()?.as_bytes()) {
            Some(plain) => plain,
            None => return Ok(Err(Refused::Password)),
        },
    };
    Ok(document::read(&plain).map_err(Refused::File))
}

/// The PEM text of `key` as a key file that `cosign --key` reads.
///
/// # Errors
/// The system gives no random numbers.
pub fn cosign_key_file(key: &MemorySigner, password: &Password) -> Result<String, KeyError> {
    let no_random = |_| KeyError::Crypto("give random numbers");
    let failed = || KeyError::Crypto("write a private key");
    let (mut salt, mut nonce) = ([0; 32], [0; 24]);
    aws_lc_rs::rand::fill(&mut salt).map_err(no_random)?;
    aws_lc_rs::rand::fill(&mut nonce).map_err(no_random)?;
    let plain = key.to_pkcs8()?;
    let secret = derived(WRITTEN_LOG_N, &salt, password.as_bytes()).ok_or_else(failed)?;
    let cipher = XSalsa20Poly1305::new(Key::from_slice(&secret[..]));
    let ciphertext = cipher.encrypt(Nonce::from_slice(&nonce), &plain[..]).map_err(|_| failed())?;
    let json = json!({
        "kdf": {
            "name": "scrypt",
            "params": {"N": 1u32 << WRITTEN_LOG_N, "r": R, "p": P},
            "salt": STANDARD.encode(salt),
        },
        "cipher": {"name": "nacl/secretbox", "nonce": STANDARD.encode(nonce)},
        "ciphertext": STANDARD.encode(ciphertext),
    });
    let body = STANDARD.encode(json.to_string());
    let lines: Vec<&str> = (0..body.len()).step_by(64).map(|at| &body[at..body.len().min(at + 64)]).collect();
    Ok(format!("-----BEGIN {LABEL}-----\n{}\n-----END {LABEL}-----\n", lines.join("\n")))
}

fn parse(json: &[u8]) -> Result<Sealed, Unreadable> {
    let value = crate::sig::json::parse(json).map_err(|_| Unreadable::Encryption)?;
    let named = |part: &Value, name: &str| part["name"] == name;
    let (kdf, cipher) = (&value["kdf"], &value["cipher"]);
    if !named(kdf, "scrypt") || !named(cipher, "nacl/secretbox") {
        return Err(Unreadable::Encryption);
    }
    let number = |name: &str| kdf["params"][name].as_u64().ok_or(Unreadable::Encryption);
    let (n, r, p) = (number("N")?, number("r")?, number("p")?);
    let log_n = LOG_N.into_iter().find(|log_n| n == 1 << log_n);
    let Some(log_n) = log_n.filter(|_| (r, p) == (R.into(), P.into())) else {
        let asked = format!("scrypt with N {n}, r {r}, p {p}");
        return Err(Unreadable::Cost {
            asked,
            limit: "N 32768, 65536 or 131072, r 8, p 1, as cosign writes",
        });
    };
    let bytes = |v: &Value| v.as_str().and_then(|t| STANDARD.decode(t).ok()).ok_or(Unreadable::Encryption);
    let nonce = bytes(&cipher["nonce"])?.try_into().map_err(|_| Unreadable::Encryption)?;
    let salt = bytes(&kdf["salt"])?;
    // scrypt takes any salt; without one, equal passwords are equal keys.
    if salt.len() < 16 {
        return Err(Unreadable::Encryption);
    }
    Ok(Sealed { log_n, salt, nonce, ciphertext: bytes(&value["ciphertext"])? })
}

fn open(sealed: &Sealed, password: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let secret = derived(sealed.log_n, &sealed.salt, password)?;
    let cipher = XSalsa20Poly1305::new(Key::from_slice(&secret[..]));
    cipher.decrypt(Nonce::from_slice(&sealed.nonce), &sealed.ciphertext[..]).ok().map(Zeroizing::new)
}

fn derived(log_n: u8, salt: &[u8], password: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let parameters = scrypt::Params::new(log_n, R, P, 32).ok()?;
    let mut secret = Zeroizing::new([0; 32]);
    scrypt::scrypt(password, salt, &parameters, &mut secret[..]).ok()?;
    Some(secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Signer as _;
    use crate::sig::{PublicKey, Scheme};

    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/signatures/sigstore/");

    /// The JSON in a key file.
    fn body(pem: &str) -> Vec<u8> {
        assert!(pem.starts_with(&format!("-----BEGIN {LABEL}-----\n")));
        STANDARD.decode(pem.lines().filter(|l| !l.starts_with('-')).collect::<String>()).unwrap()
    }

    fn file(kind: &str) -> Vec<u8> {
        body(&std::fs::read_to_string(format!("{FOLDER}{kind}.key")).unwrap())
    }

    fn public(kind: &str) -> PublicKey {
        PublicKey::from_pem(&std::fs::read_to_string(format!("{FOLDER}{kind}.pub")).unwrap()).unwrap()
    }

    fn password(text: &str) -> Password {
        Password::new(Zeroizing::new(text.to_owned())).unwrap()
    }

    fn opened(json: &[u8], with: &str) -> Result<MemorySigner, Refused> {
        read::<()>(json, || Ok(password(with))).unwrap()
    }

    #[test]
    fn what_cosign_wrote_is_read() {
        for kind in ["generated", "p256", "p384", "rsa2048", "ed25519"] {
            assert_eq!(*opened(&file(kind), "password").unwrap().public_key(), public(kind), "{kind}");
        }
        assert!(matches!(opened(&file("p256"), "passwort"), Err(Refused::Password)));
        // P-521: cosign makes such keys, bulla has no signer for them.
        assert!(matches!(opened(&file("p521"), "password"), Err(Refused::File(Unreadable::Algorithm(_)))));
        // The empty password opens without a question.
        let open = read::<()>(&file("empty-password"), || panic!("asked")).unwrap().unwrap();
        assert_eq!(*open.public_key(), public("empty-password"));
    }

    #[test]
    fn what_is_written_is_read_and_never_twice_the_same() {
        let key = MemorySigner::generate(Scheme::EcdsaP256).unwrap();
        let pem = cosign_key_file(&key, &password("p")).unwrap();
        assert!(pem.lines().all(|l| l.len() <= 64));
        assert_eq!(opened(&body(&pem), "p").unwrap().public_key(), key.public_key());
        assert_ne!(cosign_key_file(&key, &password("p")).unwrap(), pem);
    }

    #[test]
    fn a_hostile_file_is_refused_before_the_password_is_asked_for() {
        for (pointer, with) in [
            ("/kdf/params/N", json!(1u64 << 30)),
            ("/kdf/params/N", json!(65537)),
            ("/kdf/params/N", json!(2)),
            ("/kdf/params/r", json!(1024)),
            ("/kdf/params/p", json!(1024)),
            ("/kdf/params/p", json!(0)),
            ("/kdf/name", json!("pbkdf2")),
            ("/kdf/salt", json!("")),
            ("/cipher/name", json!("aes")),
            ("/cipher/nonce", json!("AAAA")),
            ("/ciphertext", json!(7)),
        ] {
            let mut value = crate::sig::json::parse(&file("generated")).unwrap();
            *value.pointer_mut(pointer).unwrap() = with;
            let result = read::<()>(value.to_string().as_bytes(), || panic!("asked"));
            assert!(matches!(result, Ok(Err(Refused::File(_)))), "{pointer}");
        }
        for bytes in [&b""[..], b"{}", b"[1]", b"\xff"] {
            assert!(matches!(read::<()>(bytes, || panic!("asked")), Ok(Err(Refused::File(_)))));
        }
    }

    #[test]
    fn a_changed_ciphertext_does_not_open() {
        let mut value = crate::sig::json::parse(&file("generated")).unwrap();
        let mut bytes = STANDARD.decode(value["ciphertext"].as_str().unwrap()).unwrap();
        bytes[40] ^= 1;
        value["ciphertext"] = json!(STANDARD.encode(bytes));
        assert!(matches!(opened(value.to_string().as_bytes(), "password"), Err(Refused::Password)));
    }
}
