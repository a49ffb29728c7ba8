//! A client that others wrote: `oci-client` pushes, pulls, mounts and lists referrers.

use std::collections::BTreeMap;

use oci_client::client::{Client, ClientConfig, ClientProtocol, Config as ImageConfig, ImageLayer};
use oci_client::secrets::RegistryAuth;
use oci_client::{Reference, RegistryOperation};

use super::super::registry::{Auth, Config, Mode};
use super::Bench;

async fn check(tls: Mode, auth: Auth, quirks: &str) {
    let bench = Bench::with(Config { tls, auth: auth.clone(), ..Config::default() }).await;
    bench.quirks(quirks);
    let mut config = ClientConfig { protocol: ClientProtocol::Http, ..ClientConfig::default() };
    if let Some(pems) = bench.registry.pems() {
        config.protocol = ClientProtocol::Https;
        config.tls_certs_only = vec![oci_client::client::Certificate {
            encoding: oci_client::client::CertificateEncoding::Pem,
            data: pems.ca.clone().into_bytes(),
        }];
    }
    let client = Client::new(config);
    let credentials = match auth.users.first() {
        Some(user) => RegistryAuth::Basic(user.name.clone(), user.password.clone()),
        None => RegistryAuth::Anonymous,
    };
    let reference: Reference = format!("{}/a/b:v1", bench.registry.host()).parse().unwrap();
    client.auth(&reference, &credentials, RegistryOperation::Push).await.unwrap();
    let layer = ImageLayer::new(vec![5; 3_000_000], "application/octet-stream".into(), None);
    let small = ImageConfig::new("{}".as_bytes().to_vec(), "application/vnd.test.config".into(), None);
    client.push(&reference, &[layer], small, &credentials, None).await.unwrap();
    let pulled = client.pull(&reference, &credentials, vec!["application/octet-stream"]).await.unwrap();
    assert_eq!(pulled.layers[0].data, vec![5; 3_000_000]);
    let tags = client.list_tags(&reference, &credentials, None, None).await.unwrap();
    assert_eq!(tags.tags, ["v1"]);

    let digest = client.fetch_manifest_digest(&reference, &credentials).await.unwrap();
    let signature = bench.manifest("a/b", "sig-1", Some(&digest));
    let at: Reference = format!("{}/a/b:sig", bench.registry.host()).parse().unwrap();
    client.push_manifest_raw(&at, signature, super::IMAGE.parse().unwrap()).await.unwrap();
    let subject: Reference = format!("{}/a/b@{digest}", bench.registry.host()).parse().unwrap();
    let referrers = client.pull_referrers(&subject, None).await.unwrap();
    let annotations = BTreeMap::from([("word".to_owned(), "sig-1".to_owned())]);
    assert_eq!(referrers.manifests.len(), 1, "{quirks}");
    assert_eq!(referrers.manifests[0].annotations.as_ref(), Some(&annotations));
}

#[tokio::test]
async fn it_gets_along_with_oci_client() {
    check(Mode::Off, Auth::default(), "").await;
    check(Mode::Off, Auth::default(), "redirect-blobs,upload-location=foreign").await;
    check(Mode::Off, Auth::default(), "no-referrers-api,writes-fallback-tag,upload-location=absolute").await;
    check(Mode::Off, Auth::basic("alice", "pw"), "").await;
    check(Mode::On, Auth::bearer("alice", "pw"), "").await;
}
