//! From an OCI layout or archive every form counts as it does on a registry, and no connection is opened.

use std::process::Stdio;

use bulla::oci::Reference;
use bulla::trust::Trusts;
use tokio::process::Command;

use super::forms::{WAYS, leave, right};
use super::stage::{Stage, cosign_key, says};
use crate::registry::Quirks;

/// The program, to its end; it must succeed.
async fn bulla(home: &std::path::Path, args: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_bulla"))
        .args(args)
        .env_clear()
        .env("BULLA_HOME", home)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{args:?}\n{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn every_form_counts_from_layouts_and_archives_without_a_network() {
    for no_referrers_api in [false, true] {
        for way in WAYS {
            let mut stage = Stage::new(Quirks { no_referrers_api, ..Quirks::default() }).await;
            leave(&stage, way);
            let dir = tempfile::tempdir().unwrap();
            let path = |name: &str| dir.path().join(name).display().to_string();
            let source = stage.at(":v1").to_string();
            let places = [format!("oci:{}", path("layout")), format!("oci-archive:{}", path("stick.tar"))];
            for place in &places {
                bulla(&dir.path().join("home"), &["copy", &source, place, "--plain-http"]).await;
            }
            stage.trust(right(way));
            stage.registry.clear();
            let named = "registry.example.com/team/app".parse().unwrap();
            for place in &places {
                for selector in [":v1".to_owned(), format!("@{}", stage.bundle.digest())] {
                    let reference: Reference = format!("{place}{selector}").parse().unwrap();
                    let report = stage.verify_as(&reference, Some(&named)).await.unwrap();
                    assert_eq!(says(&report), "trusted", "{way:?} {reference} {report:#?}");
                }
            }
            stage.trust.signers.clear();
            stage.trust(Trusts::Key(cosign_key("generated")));
            let reference: Reference = format!("{}:v1", places[0]).parse().unwrap();
            let report = stage.verify_as(&reference, Some(&named)).await.unwrap();
            assert_eq!(says(&report), "not-trusted: signature.untrusted", "{way:?}");
            assert_eq!(stage.registry.count("*", "*"), 0);
        }
    }
}

/// Without a name nothing says whose rules count, unless exactly one repository is anchored.
#[tokio::test]
async fn a_layout_needs_a_name_unless_one_repository_is_anchored() {
    let mut stage = Stage::new(Quirks::default()).await;
    leave(&stage, WAYS[0]);
    let dir = tempfile::tempdir().unwrap();
    let place = format!("oci:{}", dir.path().join("layout").display());
    let source = stage.at(":v1").to_string();
    bulla(&dir.path().join("home"), &["copy", &source, &place, "--plain-http"]).await;
    let reference: Reference = format!("{place}:v1").parse().unwrap();
    stage.trust(right(WAYS[0]));
    assert!(stage.verify_as(&reference, None).await.is_err());
    stage.trust_for("registry.example.com/team/app", right(WAYS[0]));
    let report = stage.verify_as(&reference, None).await.unwrap();
    assert_eq!(
        (says(&report).as_str(), report.verified_as.as_str()),
        ("trusted", "registry.example.com/team/app")
    );
}
