//! `bulla login` and `bulla logout`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::places::run;
use crate::registry::{Auth, Config, Registry};
use crate::run::Bulla;

/// A run with a home of its own and the credential file that a variable names.
fn bulla(home: &Path, password: &str) -> Bulla {
    let file = home.join("auth.json").display().to_string();
    Bulla::at(home).var("REGISTRY_AUTH_FILE", &file).stdin(password.as_bytes())
}
fn read(file: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_checked_kept_used_and_forgotten() {
    for auth in [Auth::bearer("alice", "s3cret"), Auth::basic("alice", "s3cret")] {
        let registry = Registry::start(Config { auth, ..Config::default() }).await;
        registry.put_manifest(
            "team/app",
            Some("v1"),
            "application/vnd.oci.image.index.v1+json",
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#,
        );
        let home = tempfile::tempdir().unwrap();
        let (home, host) = (home.path(), registry.host());
        let file = home.join("auth.json");
        let tree = format!("tree {host}/team/app:v1 --format json");
        assert_eq!(run(bulla(home, ""), tree.clone()).await.json()["error"]["code"], "registry.unauthorized");

        let wrong = run(
            bulla(home, "wr0ng\n"),
            format!("login {host} --username alice --password-stdin --format json"),
        )
        .await;
        assert_eq!(
            (wrong.exit, &wrong.json()["error"]["code"]),
            (3, &"registry.unauthorized".into()),
            "{wrong:#?}"
        );
        assert!(wrong.out.contains("nothing was stored") && !wrong.out.contains("wr0ng"), "{wrong:#?}");
        assert!(!file.exists());

        let line = format!("login {host} --username alice --password-stdin");
        let text = run(bulla(home, "s3cret\n"), line.clone()).await.ok();
        let want = format!(
            "logged in  {host}  as alice\nkept       {}  (only you may read it; it is not encrypted)\n",
            file.display()
        );
        assert_eq!(text, want);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(run(bulla(home, ""), tree.clone()).await.exit, 0, "{}", registry.log());
        let json = run(bulla(home, "s3cret"), format!("{line} --format json")).await.json();
        assert_eq!(json["result"]["checked"], true);
        assert_eq!(json["notes"], serde_json::json!([]));
        assert!(registry.requests().iter().all(|r| !r.path.contains("s3cret")), "{}", registry.log());

        let gone = run(bulla(home, ""), format!("logout {host} --format json")).await.json();
        assert_eq!(gone["result"]["removed"]["file"], file.display().to_string());
        assert_eq!(read(&file)["auths"], serde_json::json!({}));
        assert_eq!(
            run(bulla(home, ""), format!("logout {host}")).await.ok(),
            format!("no login    {host}\n")
        );
        assert_eq!(run(bulla(home, ""), tree).await.exit, 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn helpers_paths_and_registries_that_do_not_ask() {
    let registry = Registry::start(Config::default()).await;
    let home = tempfile::tempdir().unwrap();
    let (home, host) = (home.path(), registry.host());
    let ran =
        run(bulla(home, "pw"), format!("login {host}/team --username bot --password-stdin --format json"))
            .await;
    let json = ran.json();
    assert_eq!(
        (&json["result"]["checked"], &json["notes"][0]["code"]),
        (&false.into(), &"login.unchecked".into())
    );
    let auths = read(&home.join("auth.json"))["auths"].clone();
    assert!(auths.get(format!("{host}/team")).is_some(), "{auths}");
    // What was kept for a wider scope is still used.
    run(bulla(home, "pw"), format!("login {host} --username bot --password-stdin")).await.ok();
    let json = run(bulla(home, ""), format!("logout {host}/team --format json")).await.json();
    assert_eq!(
        (&json["result"]["elsewhere"], &json["notes"][0]["code"]),
        (&true.into(), &"login.elsewhere".into())
    );

    let helper = home.join("docker-credential-fake");
    let kept = home.join("kept");
    let script = format!(
        "#!/bin/sh\ncase $1 in store) cat > {k};; erase) rm -f {k};; get) cat {k} 2>/dev/null || {{ echo credentials not found in native keychain; exit 1; }};; esac\n",
        k = kept.display()
    );
    std::fs::write(&helper, script).unwrap();
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(home.join("auth.json"), r#"{"credsStore":"fake","x":1}"#).unwrap();
    let path = format!("{}:/usr/bin:/bin", home.display());
    let with = |password: &str| bulla(home, password).var("PATH", &path);
    let text = run(with("s3cret"), format!("login {host} --username me --password-stdin")).await.ok();
    let named =
        format!("kept       docker-credential-fake, which {} names", home.join("auth.json").display());
    assert!(text.contains(&named), "{text}");
    assert!(read(&kept)["Secret"] == "s3cret" && read(&home.join("auth.json"))["x"] == 1);
    let text = run(with(""), format!("logout {host}")).await.ok();
    assert!(text.contains("docker-credential-fake") && !kept.exists(), "{text}");
    let ran =
        run(with("s3cret"), format!("login {host}/team --username me --password-stdin --format json")).await;
    assert_eq!((ran.exit, &ran.json()["error"]["code"]), (3, &"registry.setup".into()), "{ran:#?}");
    std::fs::remove_file(&helper).unwrap();
    let ran = run(with("s3cret"), format!("login {host} --username me --password-stdin --format json")).await;
    assert_eq!((ran.exit, &ran.json()["error"]["code"]), (3, &"registry.setup".into()), "{ran:#?}");
    assert!(!ran.out.contains("s3cret"), "{}", ran.out);
}

#[test]
fn what_is_no_login_is_said() {
    let home = tempfile::tempdir().unwrap();
    for (line, exit, code) in [
        ("login https://ex.com --username a --password-stdin", 2, "usage"),
        ("login ex.com/team:v1 --username a --password-stdin", 2, "usage"),
        ("login 127.0.0.1:1 --username a:b --password-stdin", 2, "usage"),
        ("login 127.0.0.1:1", 3, "registry.password"),
        ("login 127.0.0.1:1 --username a", 3, "registry.password"),
        ("login 127.0.0.1:1 --username a --password-stdin", 3, "registry.unreachable"),
        ("logout ex.com/", 2, "usage"),
    ] {
        let ran = bulla(home.path(), "s3cret").run(&format!("{line} --format json"));
        assert_eq!((ran.exit, &ran.json()["error"]["code"]), (exit, &code.into()), "{line}: {ran:#?}");
        assert!(!ran.out.contains("s3cret") && !home.path().join("auth.json").exists(), "{line}");
    }
}
