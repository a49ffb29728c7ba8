//! The key and the certificates of a signer, judged before anything is signed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::cli::context::Context;
use crate::cli::error::{CliError, Exit};
use crate::client::sign::{Form, Pen, Terms, Unfit};
use crate::keys::{self, KeyRef, Passwords, Signer};
use crate::sig::x509::{Certificate, Chain};
use crate::sig::{PublicKey, Scheme};
use crate::time::UnixTime;

/// Largest file of certificates, in bytes.
const MAX_CHAIN_FILE: u64 = 1 << 20;

/// An open key with its certificates.
pub(in crate::cli) struct Hand {
    signer: Arc<dyn Signer>,
    chain: Option<Chain>,
}

/// `NAME=VALUE`.
pub(in crate::cli) fn annotation(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".into()),
    }
}

impl Hand {
    /// Open the key, read the certificates; what the form does not take is refused before a password is asked for.
    pub(in crate::cli) fn take(
        cx: &mut Context<'_, '_>,
        key: &KeyRef,
        form: Form,
        cert: Option<&Path>,
        passwords: Passwords,
    ) -> Result<Self, CliError> {
        match cert {
            None if form.needs_chain() => return Err(Unfit::NoChain(form).into()),
            Some(_) if !form.needs_chain() => return Err(Unfit::NoPlaceForChain(form).into()),
            _ => {}
        }
        let chain = cert.map(chain).transpose()?;
        let opened = keys::open(key, &cx.keys(), &passwords)?;
        opened.warnings.iter().for_each(|w| cx.note(w.code(), w));
        Ok(Self { signer: opened.signer.into(), chain })
    }

    /// A key that is open.
    pub(super) fn of(signer: Arc<dyn Signer>, chain: Option<Chain>) -> Self {
        Self { signer, chain }
    }

    /// What signs in a form on these terms.
    pub(in crate::cli) fn pen(
        &self,
        form: Form,
        lifetime: Option<i64>,
        annotations: Vec<(String, String)>,
        now: UnixTime,
    ) -> Result<Pen<'_>, CliError> {
        let mut noted = BTreeMap::new();
        for (name, value) in annotations {
            if noted.insert(name.clone(), value).is_some() {
                return Err(CliError::usage(format!("--annotation {name} is given twice")));
            }
        }
        let terms = Terms { form, chain: self.chain.clone(), lifetime, annotations: noted, now };
        Ok(Pen::new(&*self.signer, terms)?)
    }

    /// What whoever verifies with the other tool must know.
    pub(in crate::cli) fn note(&self, cx: &mut Context<'_, '_>, form: Form) {
        if form == Form::Sigstore && self.public().scheme() == Scheme::EcdsaP384 {
            cx.note("sign.peer", "cosign verify takes it with --signature-digest-algorithm sha384");
        }
    }

    pub(in crate::cli) fn public(&self) -> &PublicKey {
        self.signer.public_key()
    }

    pub(in crate::cli) fn chain(&self) -> Option<&Chain> {
        self.chain.as_ref()
    }
}

/// The certificates in a file, judged as a chain.
pub(super) fn chain(file: &Path) -> Result<Chain, CliError> {
    let refused = |why: String| {
        CliError::failed("sign.chain", format!("cannot sign with the certificates in {}", file.display()))
            .reason(why)
            .next("name a PEM file with the signer's certificate first, then each issuer, and its root last")
    };
    let bytes = super::outcome::read(file, MAX_CHAIN_FILE)?;
    let text = std::str::from_utf8(&bytes).map_err(|e| refused(e.to_string()))?;
    let certificates = Certificate::from_pem(text).map_err(|e| refused(e.to_string()))?;
    Chain::notary(certificates).map_err(|e| refused(e.to_string()))
}

impl From<Unfit> for CliError {
    fn from(e: Unfit) -> Self {
        let usage = |next: &str| Self::usage(e.to_string()).next(next);
        match &e {
            Unfit::Key { form, .. } => {
                let next = match form {
                    Form::Sigstore => {
                        "make one with bulla key generate NAME --type ecdsa-p256, or sign with --format cosign-tag"
                    }
                    _ => "make one with bulla key generate NAME --type ecdsa-p256",
                };
                Self::new(Exit::Usage, "sign.key", "this key does not sign in this form; nothing was signed")
                    .reason(&e)
                    .next(next)
            }
            Unfit::Device(_) => {
                Self::new(Exit::Usage, "sign.key", "this key does not sign in this form; nothing was signed")
                    .reason(&e)
                    .next("use an ECDSA P-256 key of that service")
            }
            Unfit::NoChain(_) => {
                usage("pass --cert FILE with the signer's certificate chain, leaf first, root included")
            }
            Unfit::NoPlaceForChain(_) => usage("leave --cert out, or sign with --format notation"),
            Unfit::Chain(_) | Unfit::OtherKey => {
                Self::failed("sign.chain", "cannot sign with these certificates; nothing was signed")
                    .reason(&e)
                    .next("name the chain of this key, valid now, with --cert")
            }
            Unfit::Expiry(_) => usage(
                "leave --expires out, or sign with --format notation; bulla publish says until when a release counts",
            ),
            Unfit::Annotation(_) => usage("choose another name for the annotation"),
            Unfit::NoName(_) => usage("pass --as host/repository, the name under which it will be pulled"),
            Unfit::LongDigest(_) => usage("sign with --format sigstore"),
        }
    }
}
