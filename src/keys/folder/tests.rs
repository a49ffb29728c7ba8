use std::process::Command;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::*;
use crate::keys::{NoPrompt, PasswordError, sign_checked};
use crate::sig::Scheme;

/// Keys made by openssl; testdata/keys/README.md says how.
macro_rules! vector {
    ($name:literal) => {
        include_str!(concat!("../../../testdata/keys/", $name))
    };
}

const ALL: [Scheme; 4] = [Scheme::Ed25519, Scheme::EcdsaP256, Scheme::EcdsaP384, Scheme::RsaPss];

fn with(password: &str) -> Passwords {
    Passwords::new(Some(Password::new(Zeroizing::new(password.to_owned())).unwrap()), Arc::new(NoPrompt))
}

fn none() -> Passwords {
    Passwords::new(None, Arc::new(NoPrompt))
}

fn folder() -> (tempfile::TempDir, KeyFolder) {
    let dir = tempfile::tempdir().unwrap();
    let keys = KeyFolder::new(dir.path().join("keys"));
    (dir, keys)
}

fn name(s: &str) -> KeyName {
    s.parse().unwrap()
}

/// Opens `text` as a file, and gives the public key or the error.
fn opened(text: &str, passwords: &Passwords) -> Result<PublicKey, KeyError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("k.pem");
    std::fs::write(&path, text).unwrap();
    let opened = KeyFolder::new(dir.path()).open(&KeyRef::File(path), passwords);
    opened.map(|o| o.signer.public_key().clone())
}

fn reason(text: &str) -> Unreadable {
    match opened(text, &with("open-sesame")) {
        Err(KeyError::Unreadable { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

/// The key that cosign generated, from its file, and after `import`.
#[test]
fn cosigns_key_files_are_read_where_others_are() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/signatures/sigstore/generated");
    let text = std::fs::read_to_string(format!("{file}.key")).unwrap();
    let public = PublicKey::from_pem(&std::fs::read_to_string(format!("{file}.pub")).unwrap()).unwrap();
    assert_eq!(opened(&text, &with("password")), Ok(public.clone()));
    assert!(matches!(opened(&text, &with("passwort")), Err(KeyError::WrongPassword { .. })));
    assert!(matches!(opened(&text, &none()), Err(KeyError::Password { .. })));
    let (_dir, keys) = folder();
    let from = PathBuf::from(format!("{file}.key"));
    keys.import(&from, &name("app"), &with("password"), false).unwrap();
    let entry = keys.look(&KeyRef::Name(name("app"))).unwrap();
    assert_eq!((entry.public, entry.private, entry.encrypted), (Some(public), true, true));
}

#[tokio::test]
async fn kept_encrypted_and_opened_again() {
    let (_dir, keys) = folder();
    assert_eq!(keys.list(), Ok(Vec::new()));
    for scheme in ALL {
        let key = MemorySigner::generate(scheme).unwrap();
        let name = name(scheme.as_str());
        let password = with("pass word").opening("").unwrap();
        let entry = keys.keep(&name, &key, Some(&password)).unwrap();
        assert!(entry.encrypted && entry.private);
        assert!(
            std::fs::read_to_string(&entry.file)
                .unwrap()
                .starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----")
        );
        let by_name = KeyRef::Name(name.clone());
        assert_eq!(keys.look(&by_name), Ok(entry.clone()));

        let opened = keys.open(&by_name, &with("pass word")).unwrap();
        assert_eq!(opened.signer.public_key(), key.public_key());
        assert_eq!(opened.warnings, []);
        let signature = sign_checked(opened.signer.as_ref(), b"m").await.unwrap();
        assert!(key.public_key().verify(b"m", &signature));

        let path = entry.file.clone();
        assert_eq!(
            keys.open(&by_name, &with("pass w0rd")).err(),
            Some(KeyError::WrongPassword { path: path.clone() })
        );
        assert_eq!(
            keys.open(&by_name, &none()).err(),
            Some(KeyError::Password { key: name.to_string(), reason: PasswordError::NoSource })
        );
        assert_eq!(keys.find(key.public_key()), Ok(Some(name.clone())));
        assert_eq!(keys.keep(&name, &key, None), Err(KeyError::Exists { path }));
    }
    assert_eq!(keys.list().unwrap().len(), 4);
    let stray = std::fs::read_dir(keys.path()).unwrap().count();
    assert_eq!(stray, 8, "two files a key, no temporary ones");
}

#[test]
fn nothing_is_overwritten_not_even_a_public_key_or_a_dangling_link() {
    let (_dir, keys) = folder();
    let key = MemorySigner::from_seed(&[1; 32]).unwrap();
    keys.keep_public(&name("a"), key.public_key()).unwrap();
    assert!(matches!(keys.keep(&name("a"), &key, None), Err(KeyError::Exists { .. })));
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("nowhere", keys.path().join("b.pem")).unwrap();
        assert!(matches!(keys.keep(&name("b"), &key, None), Err(KeyError::Exists { .. })));
        assert!(!keys.path().join("nowhere").exists());
    }
    let entry = keys.look(&KeyRef::Name(name("a"))).unwrap();
    assert!(!entry.private && entry.public.as_ref() == Some(key.public_key()));
    assert_eq!(keys.find(key.public_key()), Ok(None), "the private half is not here");
}

#[cfg(unix)]
#[test]
fn modes_and_warnings() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_dir, keys) = folder();
    let key = MemorySigner::from_seed(&[1; 32]).unwrap();
    let path = keys.keep(&name("plain"), &key, None).unwrap().file;
    let mode = |p: &Path| p.metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&path), mode(keys.path())), (0o600, 0o700));

    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let other = MemorySigner::from_seed(&[2; 32]).unwrap();
    let public = path.with_extension("pub");
    std::fs::write(&public, other.public_key().to_pem()).unwrap();
    let opened = keys.open(&KeyRef::Name(name("plain")), &none()).unwrap();
    assert_eq!(
        opened.warnings,
        [
            KeyWarning::Permissions { path: path.clone(), mode: 0o640 },
            KeyWarning::NotEncrypted { path },
            KeyWarning::PublicDiffers { path: public },
        ]
    );
}

#[test]
fn keys_of_openssl_are_read() {
    let ed = PublicKey::from_pem(vector!("ed25519.pub")).unwrap();
    let ec = PublicKey::from_pem(vector!("p256.pub")).unwrap();
    assert_eq!(opened(vector!("ed25519.pem"), &none()), Ok(ed.clone()));
    assert_eq!(opened(vector!("p256.pem"), &none()), Ok(ec.clone()));
    assert_eq!(opened(vector!("ed25519-scrypt.pem"), &with("open-sesame")), Ok(ed));
    assert_eq!(opened(vector!("p256-pbkdf2.pem"), &with("open-sesame")), Ok(ec.clone()));
    assert_eq!(opened(vector!("p256-pbkdf2-sha512.pem"), &with("open-sesame")), Ok(ec.clone()));
    let p384 = PublicKey::from_pem(vector!("p384.pub")).unwrap();
    assert_eq!(opened(vector!("p384.pem"), &none()), Ok(p384));
    let rsa = PublicKey::from_pem(vector!("rsa.pub")).unwrap();
    assert_eq!(opened(vector!("rsa.pem"), &none()), Ok(rsa));
    let sealed = opened(vector!("rsa-3072-pbkdf2.pem"), &with("open-sesame")).unwrap();
    assert_eq!(sealed.modulus_bits(), Some(3072));
    for sealed in [vector!("p256-pbkdf2.pem"), vector!("rsa-3072-pbkdf2.pem")] {
        let wrong = opened(sealed, &with("open-sesami"));
        assert!(matches!(wrong, Err(KeyError::WrongPassword { .. })), "{wrong:?}");
    }
    let around = format!("Bag Attributes\n  friendlyName: x\n{}\ntrailing", vector!("p256.pem"));
    assert_eq!(opened(&around, &none()), Ok(ec));
}

#[test]
fn what_is_no_key_is_named() {
    assert_eq!(reason(vector!("sec1.pem")), Unreadable::Sec1);
    assert_eq!(reason(vector!("rsa-pkcs1.pem")), Unreadable::Pkcs1);
    assert_eq!(reason(vector!("p521.pem")), Unreadable::Algorithm("EC with curve 1.3.132.0.35".into()));
    assert_eq!(reason(vector!("rsa-1024.pem")), Unreadable::Algorithm("RSA of 1024 bits".into()));
    assert_eq!(reason(vector!("rsa-pss.pem")), Unreadable::Algorithm("1.2.840.113549.1.1.10".into()));
    assert_eq!(reason(vector!("p256-pbes1.pem")), Unreadable::Encryption);
    assert_eq!(reason(vector!("p256-des3.pem")), Unreadable::Encryption);
    assert_eq!(reason(vector!("p256-pbkdf2-sha1.pem")), Unreadable::Encryption);
    assert_eq!(reason(vector!("p256-explicit.pem")), Unreadable::Pkcs8);
    assert_eq!(reason(vector!("p256.pub")), Unreadable::PublicOnly);
    assert_eq!(reason("hello"), Unreadable::NoPem);
    assert_eq!(reason(""), Unreadable::NoPem);
    assert_eq!(reason(&vector!("p256.pem").repeat(2)), Unreadable::Several(2));
    assert_eq!(reason("-----BEGIN PRIVATE KEY-----\nAAAA"), Unreadable::Pem("PRIVATE KEY".into()));
    assert_eq!(
        reason("-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----"),
        Unreadable::Pem("PRIVATE KEY".into())
    );
    assert_eq!(reason("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"), Unreadable::Pkcs8);
    assert_eq!(
        reason("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----"),
        Unreadable::Pkcs8
    );
    assert_eq!(
        reason("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"),
        Unreadable::Block("CERTIFICATE".into())
    );
    assert_eq!(reason(&"x".repeat(70_000)), Unreadable::TooLarge(MAX_KEY_FILE));
    let dir = tempfile::tempdir().unwrap();
    let keys = KeyFolder::new(dir.path());
    let asked = KeyRef::File(dir.path().to_owned());
    assert_eq!(
        keys.look(&asked),
        Err(KeyError::Unreadable { path: dir.path().to_owned(), reason: Unreadable::NotAFile })
    );
    keys.keep(&name("here"), &MemorySigner::from_seed(&[1; 32]).unwrap(), None).unwrap();
    let absent = keys.look(&KeyRef::Name(name("gone")));
    let path = dir.path().join("gone.pem");
    assert_eq!(absent, Err(KeyError::Absent { key: "gone".into(), path, known: vec!["here".into()] }));
}

#[test]
fn import_keeps_the_protection() {
    let (dir, keys) = folder();
    let file = dir.path().join("from.pem");
    let ec = PublicKey::from_pem(vector!("p256.pub")).unwrap();
    let import = |text: &str, as_name: &str, passwords: &Passwords, unencrypted| {
        std::fs::write(&file, text).unwrap();
        keys.import(&file, &name(as_name), passwords, unencrypted)
    };
    let entry = import(vector!("p256-pbkdf2.pem"), "a", &with("open-sesame"), false).unwrap();
    assert!(entry.encrypted && entry.public == Some(ec.clone()));
    assert!(keys.open(&KeyRef::Name(name("a")), &with("open-sesame")).is_ok());

    let entry = import(vector!("p256.pem"), "b", &with("new"), false).unwrap();
    assert!(entry.encrypted);
    assert!(keys.open(&KeyRef::Name(name("b")), &with("new")).is_ok());

    let none_chosen = import(vector!("p256.pem"), "c", &none(), false);
    assert_eq!(none_chosen, Err(KeyError::Password { key: "c".into(), reason: PasswordError::NoSource }));
    assert!(!import(vector!("p256.pem"), "c", &none(), true).unwrap().encrypted);
    assert!(!import(vector!("p256.pub"), "d", &none(), false).unwrap().private);
    let taken = import(vector!("p256.pem"), "a", &with("new"), false);
    assert!(matches!(taken, Err(KeyError::Exists { .. })), "{taken:?}");
}

/// Both ways with the openssl on this machine.
#[test]
#[allow(clippy::print_stderr)]
fn openssl_reads_what_is_written_here() {
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("SKIPPED openssl_reads_what_is_written_here: no openssl on this machine");
        return;
    }
    let (_dir, keys) = folder();
    for scheme in ALL {
        for password in [None, Some("pass word")] {
            let key = MemorySigner::generate(scheme).unwrap();
            let name = name(&format!("{scheme}-{}", password.is_some()));
            let typed = password.map(|p| with(p).opening("").unwrap());
            let file = keys.keep(&name, &key, typed.as_ref()).unwrap().file;
            let pass = format!("pass:{}", password.unwrap_or("unused"));
            let run = Command::new("openssl")
                .args(["pkey", "-pubout", "-passin", &pass, "-in"])
                .arg(&file)
                .output()
                .unwrap();
            assert!(run.status.success(), "{name}: {}", String::from_utf8_lossy(&run.stderr));
            let public = PublicKey::from_pem(&String::from_utf8(run.stdout).unwrap()).unwrap();
            assert_eq!(&public, key.public_key());
        }
    }
}
