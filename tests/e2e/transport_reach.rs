//! A registry of the public internet does not lead its clients into the network that they stand in.
//!
//! The test registry is reached as the HTTP proxy of a registry whose name resolves nowhere: from a client's view that
//! is a public one. The variables of a proxy are those of the child process alone.

use std::path::Path;
use std::process::Output;

use crate::registry::{Action, Config, Fault, Quirks, Registry as Server};
use crate::servers::{artifact, place};

async fn bulla(server: &Server, home: &Path, arguments: &[&str]) -> Output {
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_bulla"));
    child.args(arguments).args(["--plain-http", "--format", "json"]).env_clear();
    child.env("BULLA_HOME", home).env("http_proxy", server.url());
    tokio::task::spawn_blocking(move || child.output()).await.unwrap().unwrap()
}

fn reason(output: &Output) -> String {
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["exitCode"], output.status.code().unwrap());
    said["error"]["reason"].as_str().unwrap_or_default().to_owned()
}

const INSIDE: [&str; 7] = [
    "http://169.254.169.254/latest/meta-data",
    "http://10.0.0.1/",
    "http://127.0.0.1:1/",
    "http://2130706433:1/",
    "http://[::ffff:192.168.0.1]/",
    "http://[fd00::1]:5000/",
    "http://service.localhost/",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_public_registry_does_not_redirect_into_a_private_network() {
    let server = Server::start(Config::default()).await;
    let home = tempfile::tempdir().unwrap();
    place(&server, "a", Some("v1"), &artifact("a/b", "one"));
    let inspect = ["inspect", "registry.invalid/a:v1"];
    let done = bulla(&server, home.path(), &inspect).await;
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    for inside in INSIDE {
        server.behave();
        server.fault(Fault::on("GET", "*/manifests/*").action(Action::Redirect(inside.into())));
        server.clear();
        let why = reason(&bulla(&server, home.path(), &inspect).await);
        assert!(why.contains("private network"), "{inside}: {why}");
        assert_eq!(server.count("*", "*"), server.count("*", "*/manifests/*"), "{}", server.log());
    }
    // To another public host it may.
    server.behave();
    let elsewhere = "http://cdn.invalid/v2/a/manifests/other".to_owned();
    server.fault(Fault::on("GET", "*/manifests/v1").action(Action::Redirect(elsewhere)));
    place(&server, "a", Some("other"), &artifact("a/b", "one"));
    assert!(bulla(&server, home.path(), &inspect).await.status.success(), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn upload_locations_and_token_realms_do_not_lead_there_either() {
    let server = Server::start(Config::default()).await;
    server.quirks(|q| *q = Quirks { no_single_post: true, ..Quirks::default() });
    let home = tempfile::tempdir().unwrap();
    let from = home.path().join("layout");
    let made = artifact("a/b", "one");
    place(&server, "a", Some("v1"), &made);
    server.put_blob("a", "{}");
    let from = format!("oci:{}:v1", from.display());
    let done = bulla(&server, home.path(), &["copy", "registry.invalid/a:v1", &from]).await;
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    for inside in INSIDE {
        server.behave();
        server.fault(
            Fault::on("POST", "*")
                .action(Action::Header { name: "location".into(), value: Some(inside.into()) }),
        );
        let why = reason(&bulla(&server, home.path(), &["copy", &from, "registry.invalid/b:v1"]).await);
        assert!(why.contains("private network"), "{inside}: {why}");
        server.behave();
        let name = "www-authenticate".to_owned();
        let value = Some(format!("Bearer realm=\"{inside}\",service=\"s\""));
        server.fault(Fault::on("GET", "*").status(401));
        server.fault(Fault::on("GET", "*").action(Action::Header { name, value }));
        let why = reason(&bulla(&server, home.path(), &["inspect", "registry.invalid/a:v1"]).await);
        assert!(why.contains("private network"), "{inside}: {why}");
    }
}
