//! Public keys as JSON Web Keys (RFC 7517, RFC 7518 6): elliptic curves P-256, P-384, P-521 and RSA. The key alone is read; `alg`
//! and `key_ops` are for whoever uses it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::rsa::{tagged, to_spki};
use super::{KeyError, SubjectKey};

/// id-ecPublicKey (RFC 5480 2.1.1).
const EC: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
const P521: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23];

impl SubjectKey {
    /// From a JSON Web Key.
    ///
    /// # Errors
    /// A private key, another kind of key, or one that is malformed.
    pub fn from_jwk(jwk: &Value) -> Result<Self, KeyError> {
        let text = |name: &str| jwk[name].as_str().unwrap_or_default();
        if ["d", "k", "p", "q"].iter().any(|name| jwk.get(name).is_some()) {
            return Err(KeyError::Malformed("a JSON Web Key with its private part"));
        }
        let number = |name: &str| {
            let bytes = URL_SAFE_NO_PAD.decode(text(name)).ok().filter(|b| !b.is_empty() && b.len() <= 1024);
            bytes.ok_or(KeyError::Malformed("a JSON Web Key whose numbers are not base64url"))
        };
        let spki = match (text("kty"), text("crv")) {
            ("EC", curve) => {
                let (curve, size) = match curve {
                    "P-256" => (P256, 32),
                    "P-384" => (P384, 48),
                    "P-521" => (P521, 66),
                    _ => return Err(unsupported(jwk)),
                };
                let (x, y) = (number("x")?, number("y")?);
                if x.len() != size || y.len() != size {
                    return Err(KeyError::Malformed(
                        "a JSON Web Key with numbers of another length than its curve",
                    ));
                }
                let point = [&[0, 4][..], &x, &y].concat();
                let algorithm = tagged(0x30, &[EC, curve].concat());
                tagged(0x30, &[algorithm, tagged(0x03, &point)].concat())
            }
            ("RSA", _) => {
                let positive = |bytes: Vec<u8>| match bytes.first() {
                    Some(first) if first & 0x80 != 0 => tagged(0x02, &[&[0], &bytes[..]].concat()),
                    _ => tagged(0x02, &bytes),
                };
                to_spki(&tagged(0x30, &[positive(number("n")?), positive(number("e")?)].concat()))
            }
            _ => return Err(unsupported(jwk)),
        };
        Self::from_spki(&spki)
    }
}

fn unsupported(jwk: &Value) -> KeyError {
    let cut = |name: &str| jwk[name].as_str().unwrap_or("none").chars().take(40).collect();
    KeyError::Unsupported { keytype: cut("kty"), scheme: cut("crv") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn key(name: &str) -> SubjectKey {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/signatures/sigstore/");
        SubjectKey::from_pem(&std::fs::read_to_string(format!("{folder}{name}.pub")).unwrap()).unwrap()
    }

    fn point(key: &SubjectKey, curve: &str, size: usize) -> Value {
        let spki = key.spki();
        let (x, y) = spki[spki.len() - 2 * size..].split_at(size);
        json!({"kty": "EC", "crv": curve, "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)})
    }

    #[test]
    fn curves_come_back() {
        for (name, curve, size) in [("p256", "P-256", 32), ("p384", "P-384", 48), ("p521", "P-521", 66)] {
            assert_eq!(SubjectKey::from_jwk(&point(&key(name), curve, size)), Ok(key(name)), "{name}");
        }
        let mut private = point(&key("p256"), "P-256", 32);
        private["d"] = json!("AA");
        assert!(SubjectKey::from_jwk(&private).is_err());
        assert!(SubjectKey::from_jwk(&point(&key("p256"), "P-384", 32)).is_err());
        for bad in [json!({}), json!(null), json!({"kty": "OKP", "crv": "Ed25519", "x": "AA"})] {
            assert!(SubjectKey::from_jwk(&bad).is_err());
        }
    }

    #[test]
    fn rsa_comes_back() {
        let rsa = key("rsa2048");
        let raw = crate::sig::rsa::from_spki(rsa.spki()).unwrap();
        // SEQUENCE with a length of three bytes, INTEGER of 257 bytes; then the exponent 65537.
        let n = &raw[9..9 + 256];
        let jwk = json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode(n), "e": "AQAB"});
        assert_eq!(SubjectKey::from_jwk(&jwk), Ok(rsa));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(kty in "(EC|RSA|OKP|)", crv in "(P-256|P-384|P-521|x)", a in "[A-Za-z0-9_=-]{0,90}", b in "[A-Za-z0-9_-]{0,90}") {
            let _ = SubjectKey::from_jwk(&json!({"kty": kty, "crv": crv, "x": a, "y": b, "n": a, "e": b}));
        }
    }
}
