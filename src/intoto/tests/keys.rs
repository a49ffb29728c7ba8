use serde_json::json;

use crate::intoto::sim::Person;
use crate::intoto::{Document, Envelope, Form, Key, Link, ListedKey, Unusable};
use crate::sig::KeyId;

const P256: &str = include_str!("../../../testdata/signatures/sigstore/p256.pub");
const P521: &str = include_str!("../../../testdata/signatures/sigstore/p521.pub");
const RSA1024: &str = "-----BEGIN PUBLIC KEY-----\n\
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQC2XD/hEy22nja0ZTqvgIiuZgs2\n\
mu/txvNXEcW3tifIgqnw1JCxNTJg5zPOREJk3np0p+mYkIyHYuXgnXeL/x2kMS20\n\
UNoVXo0kv1r9+YP8L/Xalf2Ii3qYJfUyi0AGZ6ixrUR3B6dK0L8X9YnIuniYlHZ6\n\
GFSqPpLtHyrXoUdUqwIDAQAB\n\
-----END PUBLIC KEY-----\n\n";
const RSA: &str = include_str!("../../../testdata/signatures/sigstore/rsa2048.pub");

/// Computed with securesystemslib 1.6.0 for one PEM.
#[test]
fn k1_every_formula_of_a_key_id_names_the_key() {
    let key = Key::from_pem(P256).unwrap();
    assert_eq!(key.id().as_str(), "1f88e762625865529fed087e4476f29502fcbe603282f0bd0ed2bee8781d4e30");
    for id in [
        "1f88e762625865529fed087e4476f29502fcbe603282f0bd0ed2bee8781d4e30",
        "2d7bb0c636be6d0603c6efe3c13d40e8699f9ab4efe5f182365bf9761d34dae2",
        "7c59ce0f445d114ea1925007f258f6cf52d670845651aee9b5e81e381b0a4a4d",
        "4bce0eb8b1daa68ca4f8ee599d3e4fbba68f1ab5339c0beb0159f01ea6da6c95",
        "a416eebe9c7fad589f062a8a6741169376c7e20816b7025cf7207da72500168d",
        "5d8f9513b70311b7082f374c7e3d01d24cf5d85bb88a7c23b516a99cd6a46583",
        "edc91007dcc59fe3fd3c73b1aecfc8e06b1c0b66d6930be139692fb6ab731ae3",
        "7efdd735704cd16fff78146edcd3dbd7cbbfdd49ddc0f229f048e60933b3ee9c",
        crate::oci::Digest::sha256(&key.spki()).hex(),
    ] {
        assert!(key.is_named(id), "{id}");
        assert!(key.is_named_from(&id[..8]), "{id}");
    }
    assert_eq!(key.ids().count(), 9);
    assert!(!key.is_named("00"));
    // Ed25519 keys are hex: with and without the list of hash algorithms, and the hash of the key.
    assert_eq!(Person::new(1).key().ids().count(), 3);
}

#[test]
fn k2_kinds_of_keys() {
    let read = |keytype: &str, scheme: &str, public: &str| {
        Key::from_value(
            &json!({"keytype": keytype, "scheme": scheme, "keyval": {"public": public, "private": ""},
            "keyid_hash_algorithms": ["sha256", "sha512"]}),
        )
    };
    for (keytype, scheme, public) in [
        ("ecdsa", "ecdsa-sha2-nistp256", P256),
        ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256", P256),
        ("ecdsa", "ecdsa-sha2-nistp521", P521),
        ("ecdsa-sha2-nistp521", "ecdsa-sha2-nistp521", P521),
        ("rsa", "rsassa-pss-sha256", RSA),
        ("rsa", "rsassa-pss-sha384", RSA),
        ("rsa", "rsassa-pss-sha512", RSA),
        ("rsa", "rsa-pkcs1v15-sha256", RSA),
        ("rsa", "rsa-pkcs1v15-sha384", RSA),
        ("rsa", "rsa-pkcs1v15-sha512", RSA),
    ] {
        let key = read(keytype, scheme, public).unwrap();
        assert_eq!(key.scheme(), scheme);
        assert_eq!(Key::from_value(&key.to_value()), Ok(key.clone()));
        assert_eq!(Key::from_pem(public), Ok(key), "one key, whatever the scheme");
    }
    for (keytype, scheme, public) in [
        ("rsa", "rsassa-pss-sha256", RSA1024),
        ("ecdsa", "ecdsa-sha2-nistp521", P256),
        ("ecdsa", "ecdsa-sha2-nistp256", P521),
        ("rsa", "rsassa-pss-sha384", P521),
        ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp521", P521),
        ("rsa", "rsassa-pss-sha224", RSA),
        ("ed25519", "ecdsa-sha2-nistp521", P521),
        ("ed25519", "ed25519", "00"),
    ] {
        assert!(read(keytype, scheme, public).is_err(), "{keytype} {scheme}");
    }
    assert_eq!(Key::from_pem(P521).unwrap().to_value()["keyval"]["public"], P521);
}

#[test]
fn k3_gpg_keys_and_unknown_kinds_are_listed_and_cannot_sign() {
    let id = KeyId::try_from("0123456789abcdef".to_owned()).unwrap();
    let gpg = json!({"type": "rsa", "method": "pgp+rsa-pkcsv1.5", "hashes": ["pgp+SHA2"], "keyid": "01234567",
        "keyval": {"private": "", "public": {"e": "010001", "n": "00"}}, "subkeys": {}});
    let read = ListedKey::from_value(&id, &gpg).unwrap();
    assert!(matches!(read, ListedKey::Unusable(Unusable::Gpg, _)) && read.usable().is_none());
    let other = json!({"keytype": "ml-dsa", "scheme": "ml-dsa-44", "keyval": {"public": ""}});
    assert!(matches!(ListedKey::from_value(&id, &other).unwrap(), ListedKey::Unusable(Unusable::Kind(_), _)));
    let bad = json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": "zz"}});
    assert!(ListedKey::from_value(&id, &bad).is_err());
}

#[test]
fn k4_ids_are_hints_and_the_key_decides() {
    let (alice, bob) = (Person::new(1), Person::new(2));
    for form in [Form::Classic, Form::Dsse] {
        let link = Document::Link(Link::new("build".parse().unwrap()));
        let mut envelope = Envelope::draft(form, &link);
        let signature = alice.sign(envelope.message());
        // Under a foreign id, and behind a signature that is nobody's.
        envelope.add(&alice.key().id(), &[7; 64]);
        envelope.add(&bob.key().id(), &signature);
        let envelope = Envelope::parse(&envelope.to_bytes()).unwrap();
        assert_eq!(envelope.signed_by(&alice.key()).unwrap().keyid(), Some(bob.key().id().as_str()));
        assert!(envelope.signed_by(&bob.key()).is_none() && envelope.verify(&bob.key()).is_none());
        assert!(envelope.verify(&alice.key()).unwrap().is_ok());
    }
}
