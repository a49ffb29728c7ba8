use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};

use super::*;

/// Keys and signatures made by openssl; testdata/keys/README.md says how.
macro_rules! vector {
    ($name:literal) => {
        include_str!(concat!("../../../testdata/keys/", $name))
    };
}

/// The signature of `message` with this name.
fn signature(file: &str, name: &str) -> Vec<u8> {
    let line = file.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
    hex::decode(line.unwrap()).unwrap()
}

fn der(pem: &str, label: &str) -> Vec<u8> {
    pem_block(pem, label).unwrap().unwrap()
}

fn pem(der: &[u8], label: &str) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

fn tuf(keytype: &str, scheme: &str, public: &str) -> Result<PublicKey, KeyError> {
    PublicKey::from_tuf(&json!({"keytype": keytype, "scheme": scheme, "keyval": {"public": public}}))
}

#[test]
fn all_forms_survive_the_round_trip() {
    let ed = PublicKey::from_raw(Scheme::Ed25519, &[7; 32]).unwrap();
    let keys = [vector!("p256.pub"), vector!("p384.pub"), vector!("rsa.pub")];
    let keys = keys.map(|pem| (pem, PublicKey::from_pem(pem).unwrap()));
    for (pem, key) in &keys {
        assert_eq!(&key.to_pem(), pem, "as openssl writes it");
    }
    for key in [&ed, &keys[0].1, &keys[1].1, &keys[2].1] {
        assert_eq!(PublicKey::from_pem(&key.to_pem()).as_ref(), Ok(key));
        assert_eq!(PublicKey::from_tuf(&key.to_tuf()).as_ref(), Ok(key));
        assert_eq!(PublicKey::from_raw(key.scheme, &key.raw).as_ref(), Ok(key));
        assert_eq!(key.key_id().as_str().len(), 64);
    }
    let kinds: Vec<_> = keys.iter().map(|(_, k)| (k.scheme().keytype(), k.scheme().as_str())).collect();
    assert_eq!(
        kinds,
        [("ecdsa", "ecdsa-sha2-nistp256"), ("ecdsa", "ecdsa-sha2-nistp384"), ("rsa", "rsassa-pss-sha256")]
    );
    assert_eq!((keys[1].1.modulus_bits(), keys[2].1.modulus_bits()), (None, Some(2048)));
}

#[test]
fn unknown_kinds_are_named() {
    let rsa = vector!("rsa.pub");
    for (keytype, scheme) in [
        ("rsa", "rsa-pkcs1v15-sha256"),
        ("rsa", "rsassa-pss-sha384"),
        ("ecdsa", "rsassa-pss-sha256"),
        ("ecdsa", "ecdsa-sha2-nistp521"),
        ("ml-dsa", "ml-dsa-65/1"),
        ("", ""),
    ] {
        let unsupported = KeyError::Unsupported { keytype: keytype.into(), scheme: scheme.into() };
        assert_eq!(tuf(keytype, scheme, rsa), Err(unsupported));
    }
    assert!(PublicKey::from_raw(Scheme::Ed25519, &[0; 31]).is_err());
    assert!(KeyId::try_from(String::new()).is_err());
    assert!(KeyId::try_from("a b".to_owned()).is_err());
}

#[test]
fn a_key_signs_under_its_own_curve_and_kind_only() {
    let (p256, p384, rsa) = (vector!("p256.pub"), vector!("p384.pub"), vector!("rsa.pub"));
    for keytype in ["ecdsa", "ecdsa-sha2-nistp256"] {
        assert!(tuf(keytype, "ecdsa-sha2-nistp256", p256).is_ok());
    }
    for keytype in ["ecdsa", "ecdsa-sha2-nistp384"] {
        assert!(tuf(keytype, "ecdsa-sha2-nistp384", p384).is_ok());
    }
    for (keytype, scheme, public) in [
        ("ecdsa", "ecdsa-sha2-nistp256", p384),
        ("ecdsa", "ecdsa-sha2-nistp384", p256),
        ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", p384),
        ("ecdsa-sha2-nistp384", "ecdsa-sha2-nistp256", p256),
        ("ecdsa", "ecdsa-sha2-nistp384", rsa),
        ("rsa", "rsassa-pss-sha256", p256),
        ("rsa", "rsassa-pss-sha256", p384),
        ("rsa", "rsassa-pss-sha256", vector!("ed25519.pub")),
        ("rsa", "rsassa-pss-sha256", vector!("rsa-1024.pub")),
        ("rsa", "rsassa-pss-sha256", vector!("rsa-pss.pub")),
        ("ecdsa", "ecdsa-sha2-nistp256", vector!("p256-compressed.pub")),
    ] {
        let refused = tuf(keytype, scheme, public);
        assert!(matches!(refused, Err(KeyError::Unsupported { .. })), "{keytype} {scheme}: {refused:?}");
    }
}

#[test]
fn p384_of_openssl() {
    let key = PublicKey::from_pem(vector!("p384.pub")).unwrap();
    let signature = |name| signature(vector!("p384.signatures"), name);
    assert!(key.verify(b"message", &signature("p384-sha384")));
    assert!(!key.verify(b"massage", &signature("p384-sha384")));
    assert!(!key.verify(b"message", &signature("p384-sha256")), "the curve's hash and no other");
}

/// `r` and `s` of a DER signature, without leading zeros.
fn integers(der: &[u8]) -> [Vec<u8>; 2] {
    let r = &der[4..4 + der[3] as usize];
    let s = &der[6 + r.len()..];
    [r, s].map(|n| n.iter().copied().skip_while(|b| *b == 0).collect())
}

fn sequence(r: &[u8], s: &[u8]) -> Vec<u8> {
    let one = |n: &[u8]| [&[2, n.len() as u8], n].concat();
    let both = [one(r), one(s)].concat();
    [&[0x30, both.len() as u8], &both[..]].concat()
}

fn positive(n: &[u8]) -> Vec<u8> {
    if n[0] & 0x80 == 0 { n.to_vec() } else { [&[0], n].concat() }
}

#[test]
fn an_ecdsa_signature_has_one_encoding() {
    let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).unwrap();
    let key = PublicKey::from_raw(Scheme::EcdsaP384, pair.public_key().as_ref()).unwrap();
    // Both integers with their top bit set: 48 bytes and a needed leading zero each.
    let good = loop {
        let s = pair.sign(&SystemRandom::new(), b"m").unwrap().as_ref().to_vec();
        if integers(&s).iter().all(|n| n.len() == 48 && n[0] & 0x80 != 0) {
            break s;
        }
    };
    let [r, s] = integers(&good);
    assert_eq!(sequence(&positive(&r), &positive(&s)), good);
    assert!(key.verify(b"m", &good));
    let padded = |n: &[u8]| [&[0, 0], n].concat();
    let long_form = [&[0x30, 0x81, good[1]], &good[2..]].concat();
    for (what, bad) in [
        ("empty", Vec::new()),
        ("a leading zero too many in r", sequence(&padded(&r), &positive(&s))),
        ("a leading zero too many in s", sequence(&positive(&r), &padded(&s))),
        ("a leading zero too few: negative", sequence(&r, &positive(&s))),
        ("r = 0", sequence(&[0], &positive(&s))),
        ("s = 0", sequence(&positive(&r), &[0])),
        ("long form of the length", long_form),
        ("something behind", [&good[..], &[0]].concat()),
        ("cut", good[..good.len() - 1].to_vec()),
        ("raw r and s, as tokens give it", [r.clone(), s.clone()].concat()),
    ] {
        assert!(!key.verify(b"m", &bad), "{what}");
    }
}

#[test]
fn rsa_pss_with_a_salt_of_a_usual_length() {
    let key = PublicKey::from_pem(vector!("rsa.pub")).unwrap();
    let signature = |name: &str| signature(vector!("rsa.signatures"), name);
    for salt in [0, 20, 32, 222] {
        let good = signature(&format!("pss-sha256-{salt}"));
        assert!(key.verify(b"message", &good), "{salt}");
        assert!(!key.verify(b"massage", &good), "{salt}");
    }
    for other in ["pss-sha256-221", "pkcs1-sha256", "pss-sha384-48", "pss-sha256-mgf1-sha1"] {
        assert!(!key.verify(b"message", &signature(other)), "{other}");
    }
    let good = signature("pss-sha256-32");
    for i in [0, 128, 255] {
        let mut bad = good.clone();
        bad[i] ^= 1;
        assert!(!key.verify(b"message", &bad));
    }
    assert!(!key.verify(b"message", &[&[0], &good[..]].concat()), "as long as the modulus, no leading zero");
    assert!(!key.verify(b"message", &good[1..]));
    assert!(!key.verify(b"message", &[]));
    assert!(!key.verify(b"message", &[0xff; 256]), "above the modulus");
}

#[test]
fn an_rsa_key_has_one_encoding_in_each_of_two_forms() {
    let key = PublicKey::from_pem(vector!("rsa.pub")).unwrap();
    let (spki, pkcs1) = (vector!("rsa.pub"), vector!("rsa-pkcs1.pub"));
    assert_eq!(tuf("rsa", "rsassa-pss-sha256", spki), Ok(key.clone()));
    assert_eq!(tuf("rsa", "rsassa-pss-sha256", pkcs1), Ok(key.clone()), "one key");
    assert_eq!(tuf("rsa", "rsassa-pss-sha256", pkcs1).unwrap().to_pem(), spki);

    // RSAPublicKey: SEQUENCE { INTEGER 00 modulus, INTEGER 010001 }, with two bytes of length where needed.
    let der1 = der(pkcs1, "RSA PUBLIC KEY");
    let modulus = &der1[9..9 + 256];
    let public = |modulus: &[u8], exponent: &[u8]| {
        let long = |tag: u8, c: &[u8]| [&[tag, 0x82], &(c.len() as u16).to_be_bytes()[..], c].concat();
        long(0x30, &[long(2, modulus), [&[2, exponent.len() as u8], exponent].concat()].concat())
    };
    let whole = [&[0], modulus].concat();
    assert_eq!(public(&whole, &[1, 0, 1]), der1);
    assert!(PublicKey::from_raw(Scheme::RsaPss, &public(&whole, &[3])).is_ok());
    let mut even = whole.clone();
    even[256] &= 0xfe;
    for (what, bad) in [
        ("a leading zero too many", public(&[&[0], &whole[..]].concat(), &[1, 0, 1])),
        ("negative", public(modulus, &[1, 0, 1])),
        ("an even modulus", public(&even, &[1, 0, 1])),
        ("a leading zero in the exponent", public(&whole, &[0, 1, 0, 1])),
        ("exponent 1", public(&whole, &[1])),
        ("exponent 0", public(&whole, &[0])),
        ("an even exponent", public(&whole, &[1, 0, 0])),
        ("an exponent of 34 bits", public(&whole, &[2, 0, 0, 0, 1])),
        ("something behind", [&der1[..], &[0]].concat()),
        ("cut", der1[..der1.len() - 1].to_vec()),
        ("empty", Vec::new()),
    ] {
        let refused = PublicKey::from_raw(Scheme::RsaPss, &bad);
        assert!(matches!(refused, Err(KeyError::Malformed(_))), "{what}: {refused:?}");
        let refused = tuf("rsa", "rsassa-pss-sha256", &pem(&bad, "RSA PUBLIC KEY"));
        assert!(matches!(refused, Err(KeyError::Malformed(_))), "{what}: {refused:?}");
    }

    let der2 = der(spki, "PUBLIC KEY");
    let mut no_null = der2.clone();
    no_null.drain(17..19);
    (no_null[3], no_null[5]) = (no_null[3] - 2, 0x0b);
    let mut unused_bits = der2.clone();
    unused_bits[23] = 1;
    for bad in [[&der2[..], &[0]].concat(), der2[..der2.len() - 1].to_vec(), no_null, unused_bits] {
        assert!(PublicKey::from_spki(&bad).is_err(), "{}", hex::encode(&bad[..30]));
    }
    // A modulus of 1024 and of 8200 bits: sound, but of no size that counts.
    let mut large = vec![0xff; 1025];
    large.insert(0, 0);
    let small = PublicKey::from_pem(vector!("rsa-1024.pub"));
    for refused in [small, PublicKey::from_raw(Scheme::RsaPss, &public(&large, &[1, 0, 1]))] {
        assert!(matches!(refused, Err(KeyError::Unsupported { .. })), "{refused:?}");
    }
}
