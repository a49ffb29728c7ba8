//! Bundles to test with, pushed through the `Store` trait. The same seed gives the same bytes.

use bulla::oci::{Content, Descriptor, Packer, Selector, Tag, media_type, sorted_json};
use bulla::store::{BytesSource, Manage, Store};
use serde_json::{Value, json};

pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// Push a blob.
pub async fn blob(store: &dyn Store, media_type: &str, bytes: impl Into<bytes::Bytes>) -> Descriptor {
    let bytes = bytes.into();
    let d = Descriptor::of(media_type, &bytes);
    store.push_blob(&d, &BytesSource(bytes)).await.unwrap();
    d
}

/// Push a manifest by digest.
pub async fn manifest(store: &dyn Store, media_type: &str, doc: &Value) -> Content {
    let content = Content::new(media_type, sorted_json(doc));
    store.push_manifest(&content, None).await.unwrap();
    content
}

/// An image with two layers, one of them common to all images of the seed's family (what precedes the first `/`).
pub async fn image(store: &dyn Store, seed: &str) -> Content {
    let family = seed.split('/').next().unwrap();
    let config = blob(store, CONFIG, sorted_json(&json!({"os": "linux", "seed": seed}))).await;
    let own = blob(store, LAYER, noise(seed, 3000)).await;
    let shared = blob(store, LAYER, noise(family, 700_000)).await;
    let doc = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config, "layers": [own, shared],
    });
    manifest(store, media_type::OCI_MANIFEST, &doc).await
}

/// An index of manifests that were pushed before.
pub async fn index(store: &dyn Store, children: &[&Content]) -> Content {
    let entry = |(i, c): (usize, &&Content)| {
        let mut d = json!(c.descriptor());
        let architecture = ["amd64", "arm64", "riscv64"][i % 3];
        d["platform"] = json!({"os": "linux", "architecture": architecture, "os.version": "6.1"});
        d
    };
    let entries: Vec<Value> = children.iter().enumerate().map(entry).collect();
    let doc = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": entries});
    manifest(store, media_type::OCI_INDEX, &doc).await
}

/// An index of two images.
pub async fn two_arch(store: &dyn Store, seed: &str) -> (Content, [Content; 2]) {
    let images = [image(store, &format!("{seed}/amd64")).await, image(store, &format!("{seed}/arm64")).await];
    (index(store, &[&images[0], &images[1]]).await, images)
}

/// A CNAB bundle as cnab-spec 201 has it: config manifest, invocation image and a component that is itself an index.
pub async fn cnab(store: &dyn Store, seed: &str) -> Content {
    let invocation = image(store, &format!("{seed}/inv")).await;
    let (component, _) = two_arch(store, &format!("{seed}/web")).await;
    let named = |c: &Content, name: &str| json!({"image": format!("example.com/{name}:1"), "contentDigest": c.digest(), "mediaType": c.media_type()});
    let config = json!({
        "schemaVersion": "v1.0.0", "name": seed, "version": "1.0.0",
        "invocationImages": [named(&invocation, "inv")], "images": {"web": named(&component, "web")},
    });
    let config = blob(store, "application/vnd.cnab.config.v1+json", sorted_json(&config)).await;
    let doc =
        json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config, "layers": null});
    let config = manifest(store, media_type::OCI_MANIFEST, &doc).await;
    let entry = |c: &Content, kind: &str| c.descriptor().clone().annotated("io.cnab.manifest.type", kind);
    let component = entry(&component, "component").annotated("io.cnab.component.name", "web");
    let doc = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_INDEX,
        "annotations": {"org.opencontainers.artifactType": "application/vnd.cnab.manifest.v1"},
        "manifests": [entry(&config, "config"), entry(&invocation, "invocation"), component],
    });
    manifest(store, media_type::OCI_INDEX, &doc).await
}

/// A referrer, pushed but not indexed.
pub async fn referrer(store: &dyn Store, subject: &Content, artifact_type: &str, text: &str) -> Content {
    blob(store, media_type::OCI_EMPTY, "{}").await;
    let layer = blob(store, &format!("{artifact_type}+json"), format!("\"{text}\"").into_bytes()).await;
    let content = Packer::new(artifact_type)
        .layer(layer)
        .subject(subject.descriptor())
        .annotation("org.example.text", text)
        .build();
    store.push_manifest(&content, None).await.unwrap();
    content
}

/// A referrer, pushed and indexed.
pub async fn refer(store: &dyn Store, subject: &Content, artifact_type: &str, text: &str) -> Content {
    let content = referrer(store, subject, artifact_type, text).await;
    store.index_referrers(subject.descriptor(), std::slice::from_ref(&content)).await.unwrap();
    content
}

/// An artifact without subject, at a tag: what a state or a cosign signature list is.
pub async fn tagged(store: &dyn Store, at: &str, artifact_type: &str, text: &str) -> Content {
    blob(store, media_type::OCI_EMPTY, "{}").await;
    let layer = blob(store, "text/plain", text.as_bytes().to_vec()).await;
    let content = Packer::new(artifact_type).layer(layer).build();
    store.push_manifest(&content, Some(&tag(at))).await.unwrap();
    content
}

/// Everything at once: two architectures, three foreign referrers (one on a child, one on another referrer), a `.sig`
/// tag and a state tag.
pub struct Rich {
    pub root: Content,
    pub children: [Content; 2],
    pub on_root: Content,
    pub on_child: Content,
    pub on_referrer: Content,
    pub sig_tag: Tag,
    pub sig: Content,
    pub state_tag: Tag,
    pub state: Content,
}

/// Push the rich bundle, tagged `v1`, and flush.
pub async fn rich(store: &dyn Manage, seed: &str) -> Rich {
    let (root, children) = two_arch(store, seed).await;
    let on_root = refer(store, &root, "application/vnd.example.sbom", seed).await;
    let on_child = refer(store, &children[1], "application/vnd.example.scan", seed).await;
    let on_referrer = refer(store, &on_root, "application/vnd.example.signature", seed).await;
    let sig_tag = tag(&format!("{}.sig", root.digest().referrers_tag()));
    let sig = tagged(store, sig_tag.as_str(), "application/vnd.example.cosign", seed).await;
    let state_tag = tag("bulla.0123456789abcdef");
    let state = tagged(store, state_tag.as_str(), media_type::BULLA_STATE, seed).await;
    store.push_manifest(&root, Some(&tag("v1"))).await.unwrap();
    store.flush().await.unwrap();
    Rich { root, children, on_root, on_child, on_referrer, sig_tag, sig, state_tag, state }
}

/// A folder for one test; in memory where the system has such a place, since a layout waits for the disk at every file.
pub fn scratch() -> tempfile::TempDir {
    let shared_memory = std::path::Path::new("/dev/shm");
    match tempfile::tempdir_in(shared_memory) {
        Ok(dir) => dir,
        Err(_) => tempfile::tempdir().unwrap(),
    }
}

pub fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

pub fn by_tag(text: &str) -> Selector {
    Selector::Tag(tag(text))
}

pub fn by_digest(content: &Content) -> Selector {
    Selector::Digest(content.digest().clone())
}

/// Bytes that do not compress, from a seed.
pub fn noise(seed: &str, len: usize) -> Vec<u8> {
    let mut x = bulla::oci::Digest::sha256(seed.as_bytes())
        .hex()
        .bytes()
        .fold(7_u64, |x, b| x.rotate_left(7) ^ u64::from(b));
    let mut out = Vec::with_capacity(len);
    while out.len() < len {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        out.extend_from_slice(&(x >> 16).to_le_bytes()[..6]);
    }
    out.truncate(len);
    out
}
