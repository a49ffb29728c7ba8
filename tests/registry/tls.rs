//! A certificate authority made for one run.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto};

/// What a test may ask of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Plain HTTP.
    #[default]
    Off,
    /// HTTPS with HTTP/2 and HTTP/1.1.
    On,
    /// HTTPS with HTTP/1.1 only.
    Http1,
    /// HTTPS that demands the client's certificate.
    Mutual,
}

/// PEM texts for clients.
#[derive(Clone, Debug)]
pub struct Pems {
    /// The authority that a client must trust.
    pub ca: String,
    /// A certificate with which a client can show itself.
    pub client_cert: String,
    /// The key to it (PKCS#8).
    pub client_key: String,
}

/// Makes an authority, a server certificate for 127.0.0.1 and localhost, and a client certificate.
pub fn make(mode: Mode) -> Result<(TlsAcceptor, Pems), Box<dyn std::error::Error>> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "test registry authority");
    authority.key_usages.push(KeyUsagePurpose::KeyCertSign);
    let key = KeyPair::generate()?;
    let ca = authority.self_signed(&key)?;
    let issuer = Issuer::new(authority, key);

    let mut server =
        CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into(), "127.0.0.2".into()])?;
    server.distinguished_name.push(DnType::CommonName, "test registry");
    server.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    let server_key = KeyPair::generate()?;
    let server = server.signed_by(&server_key, &issuer)?;

    let mut client = CertificateParams::new(Vec::new())?;
    client.distinguished_name.push(DnType::CommonName, "test client");
    client.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
    let client_key = KeyPair::generate()?;
    let client = client.signed_by(&client_key, &issuer)?;

    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let builder = if mode == Mode::Mutual {
        let mut roots = RootCertStore::empty();
        roots.add(ca.der().clone())?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let private = PrivateKeyDer::try_from(server_key.serialize_der())?;
    let mut config = builder.with_single_cert(vec![server.der().clone()], private)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    if mode != Mode::Http1 {
        config.alpn_protocols.insert(0, b"h2".to_vec());
    }
    let pems = Pems { ca: ca.pem(), client_cert: client.pem(), client_key: client_key.serialize_pem() };
    Ok((TlsAcceptor::from(Arc::new(config)), pems))
}
