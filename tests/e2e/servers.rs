//! Repositories on the in-process registry, and artifacts to put there.

use bulla::oci::{Content, Descriptor, Packer};
use bulla::store::registry::{Hosts, Registry, RegistryConfig, RetryPolicy};

use crate::registry::Registry as Server;

/// A configuration that waits for nothing and sees nothing of this machine.
pub(crate) fn config() -> RegistryConfig {
    RegistryConfig {
        certs_dirs: Vec::new(),
        retry: RetryPolicy::without_delay(),
        ..RegistryConfig::default()
    }
}

/// A repository of the test registry, with hosts of its own.
pub(crate) fn repository(server: &Server, name: &str) -> Registry {
    repository_with(server, name, config())
}

pub(crate) fn repository_with(server: &Server, name: &str, config: RegistryConfig) -> Registry {
    Hosts::new(config).repository(&format!("{}/{name}", server.host()).parse().unwrap())
}

/// An artifact without subject.
pub(crate) fn artifact(kind: &str, word: &str) -> Content {
    Packer::new(kind).annotation("word", word).build()
}

/// An artifact that hangs on `subject`.
pub(crate) fn referrer(kind: &str, word: &str, subject: &Descriptor) -> Content {
    Packer::new(kind).annotation("word", word).subject(subject).build()
}

/// Put a manifest into the store of the test registry, past the client.
pub(crate) fn place(server: &Server, name: &str, tag: Option<&str>, content: &Content) {
    let digest = server.put_manifest(name, tag, content.media_type(), content.bytes().clone());
    assert_eq!(digest, content.digest().to_string());
}
