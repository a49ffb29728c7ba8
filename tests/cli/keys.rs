//! `bulla key`.

use bulla::sig::PublicKey;

use crate::run::Bulla;

fn vector(name: &str) -> String {
    format!("{}/testdata/keys/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn generate_list_show() {
    let home = tempfile::tempdir().unwrap();
    let bulla = || Bulla::at(home.path());
    assert_eq!(bulla().run("key list").ok(), "");
    let made = bulla().stdin(b"pass word\n").run("key generate app-online --password-stdin").ok();
    let file = home.path().join("keys/app-online.pem");
    assert!(
        made.starts_with("generated  app-online  ed25519  ") && made.contains(file.to_str().unwrap()),
        "{made}"
    );
    bulla().run("key generate ci --type ecdsa-p256 --dangerously-unencrypted").ok();

    bulla().run("key generate hsm --type rsa-3072 --dangerously-unencrypted").ok();
    bulla().stdin(b"p\n").run("key generate offline --type ecdsa-p384 --password-stdin").ok();

    let list = bulla().run("key list --format json").json();
    let keys = list["result"]["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 4);
    for (key, (name, kind, encrypted)) in keys.iter().zip([
        ("app-online", "ed25519", true),
        ("ci", "ecdsa-p256", false),
        ("hsm", "rsa-3072", false),
        ("offline", "ecdsa-p384", true),
    ]) {
        assert_eq!(
            (&key["name"], &key["type"], &key["encrypted"]),
            (&name.into(), &kind.into(), &encrypted.into())
        );
        let public = PublicKey::from_pem(key["publicKey"].as_str().unwrap()).unwrap();
        assert_eq!(key["keyId"], public.key_id().as_str());
        let shown = bulla().args(["key", "show", name]).ok();
        assert!(shown.contains(public.key_id().as_str()) && shown.contains(&public.to_pem()), "{shown}");
    }
    let text = bulla().run("key list").ok();
    assert!(
        text.lines().count() == 4 && text.contains("NOT ENCRYPTED") && text.contains("  encrypted"),
        "{text}"
    );

    let again = bulla().run("key generate ci --dangerously-unencrypted --format json");
    assert_eq!((again.exit, again.json()["error"]["code"].as_str()), (2, Some("key.exists")));
}

#[test]
fn show_asks_for_a_password_only_when_it_must() {
    let home = tempfile::tempdir().unwrap();
    let bulla = || Bulla::at(home.path());
    bulla().var("BULLA_PASSWORD", "p").run("key generate k").ok();
    let with = bulla().run("key show k").ok();
    std::fs::remove_file(home.path().join("keys/k.pub")).unwrap();
    assert_eq!(bulla().run("key show k").exit, 3);
    assert_eq!(bulla().var("BULLA_PASSWORD", "p").run("key show k").ok(), with);
    let wrong = bulla().var("BULLA_PASSWORD", "q").run("key show k --format json");
    assert_eq!((wrong.exit, wrong.json()["error"]["code"].as_str()), (3, Some("key.password")));
    assert!(bulla().run("key list").ok().contains("id unknown"));
}

#[test]
fn import_what_openssl_made() {
    let home = tempfile::tempdir().unwrap();
    let bulla = || Bulla::at(home.path());
    let import = |b: Bulla, file: &str, more: &[&str]| {
        b.args(["key", "import", &vector(file)].iter().chain(more).copied().chain(["--format", "json"]))
    };
    let password = || bulla().stdin(b"open-sesame\n");
    let json = import(password(), "p256-pbkdf2.pem", &["--password-stdin"]).json();
    assert_eq!(json["result"]["keys"][0]["name"], "p256-pbkdf2");
    assert_eq!(json["result"]["keys"][0]["encrypted"], true);
    let public = std::fs::read_to_string(vector("p256.pub")).unwrap();
    assert_eq!(json["result"]["keys"][0]["publicKey"], public);
    let json = import(bulla(), "ed25519.pub", &["deployers-view"]).json();
    assert_eq!(json["result"]["keys"][0]["private"], false);

    let json = import(bulla(), "rsa.pem", &["old", "--dangerously-unencrypted"]).json();
    assert_eq!(json["result"]["keys"][0]["type"], "rsa-2048");

    for (file, more, code, word) in [
        ("p256-pbkdf2.pem", vec!["x"], "key.password", "--password-stdin"),
        ("sec1.pem", vec!["x"], "key.unreadable", "openssl pkcs8 -topk8"),
        ("rsa-pkcs1.pem", vec!["x"], "key.unreadable", "openssl pkcs8 -topk8"),
        ("rsa-1024.pem", vec!["x"], "key.unreadable", "not supported"),
        ("README.md", vec!["x"], "key.unreadable", "no PEM key"),
    ] {
        let ran = import(bulla(), file, &more);
        assert_eq!((ran.exit, ran.json()["error"]["code"].as_str()), (3, Some(code)), "{file}");
        assert!(ran.out.contains(word), "{file}: {}", ran.out);
    }
    let wrong = import(bulla().stdin(b"sesame\n"), "ed25519-scrypt.pem", &["x", "--password-stdin"]);
    assert_eq!((wrong.exit, wrong.json()["error"]["code"].as_str()), (3, Some("key.password")));
}

#[cfg(unix)]
#[test]
fn a_key_folder_that_cannot_be_written() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("keys"), "a file").unwrap();
    let ran = Bulla::at(home.path()).run("key generate k --dangerously-unencrypted --format json");
    assert_eq!(ran.exit, 3);
    assert!(ran.out.contains(home.path().join("keys").to_str().unwrap()), "{}", ran.out);
}
