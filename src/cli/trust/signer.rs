//! Whose signatures count: `trust add` of a CA, a certificate, a key or an identity.

use std::path::{Path, PathBuf};

use super::show::Anchors;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Exit};
use crate::cli::render::Outcome;
use crate::client::documents;
use crate::envelope::keyless::{MAX_TRUSTED_ROOT, TrustedRoot};
use crate::keys::KeyRef;
use crate::sig::SubjectKey;
use crate::trust::{Addition, Rescissions, Scope, SignerAnchor, SignerError, SubjectPattern, Trusts};
use crate::tuf::CollectionName;

/// What is to be trusted, as typed.
pub(super) enum Material {
    /// A CA's certificates.
    Ca(PathBuf, Vec<SubjectPattern>),
    /// A signer's certificate.
    Certificate(PathBuf),
    /// A public key.
    Key(String),
    /// An identity.
    Keyless {
        /// The trusted root.
        trusted_root: PathBuf,
        /// The identity.
        identity: String,
        /// Who vouches for it.
        issuer: String,
    },
}

pub(super) fn add(
    cx: &mut Context<'_, '_>,
    scope: &str,
    material: Material,
    rescissions: Option<CollectionName>,
) -> Result<Box<dyn Outcome>, CliError> {
    let scope: Scope = scope.parse().map_err(|e| {
        CliError::usage(format!("\"{scope}\" is no scope"))
            .reason(e)
            .next("write '*', a registry, 'registry/org/*', a repository or a tag")
    })?;
    let rescissions = match rescissions {
        None => Rescissions::Nowhere,
        Some(name) => collection(cx, name)?,
    };
    let mut addition = Addition::default();
    for trusts in read(cx, material)? {
        let anchor = SignerAnchor::new(scope.clone(), trusts, rescissions.clone());
        addition.trust(anchor.map_err(|e| unusable(&e))?);
    }
    keep(cx, addition)
}

/// Add what was read, and say what it is worth.
pub(super) fn keep(cx: &mut Context<'_, '_>, addition: Addition) -> Result<Box<dyn Outcome>, CliError> {
    let store = cx.trust();
    let changed = store.import(&addition)?;
    for anchor in &addition.signers {
        for warning in anchor.warnings() {
            cx.note("trust.warning", format!("{}: {warning}", anchor.id.as_str()));
        }
    }
    addition.notes.iter().for_each(|note| cx.note("trust.note", note));
    let verb = if changed { "added" } else { "unchanged" };
    let mut file = store.own()?;
    // Those that were in the document, not all that there are.
    file.statements.retain(|s| addition.statements.iter().any(|a| a.scope == s.scope));
    Ok(Box::new(Anchors { verb, anchors: Vec::new(), signers: addition.signers, file, changed }))
}

/// The rescissions of a collection that is trusted already.
pub(super) fn collection(cx: &Context<'_, '_>, name: CollectionName) -> Result<Rescissions, CliError> {
    if !cx.trust().load()?.all_anchors().any(|a| a.collection == name) {
        return Err(CliError::usage(format!("the collection {name} is not trusted here"))
            .reason("its revocation list could not be verified, and nothing would ever be taken back")
            .next(format!("bulla trust add {name} --root FILE")));
    }
    Ok(Rescissions::Tuf(name))
}

fn read(cx: &Context<'_, '_>, material: Material) -> Result<Vec<Trusts>, CliError> {
    let only_certificates = |path: &Path| -> Result<Vec<Trusts>, CliError> {
        let all = documents::trusts(path)?;
        if all.iter().any(|t| matches!(t, Trusts::Key(_))) {
            return Err(CliError::usage(format!("{} holds a public key, no certificate", path.display()))
                .next("pass it as --public-key"));
        }
        Ok(all)
    };
    Ok(match material {
        Material::Ca(path, subjects) => {
            let mut out = Vec::new();
            for trusts in only_certificates(&path)? {
                let Trusts::Ca { certificate, .. } = trusts else {
                    return Err(CliError::usage(format!(
                        "{} holds a certificate that is no CA's",
                        path.display()
                    ))
                    .next("pass a signer's own certificate as --certificate"));
                };
                out.push(Trusts::ca(certificate, subjects.clone()));
            }
            out
        }
        Material::Certificate(path) => {
            // A chain, as signers keep it: its first is the signer's.
            let first = only_certificates(&path)?.into_iter().next();
            match first {
                Some(leaf @ Trusts::Certificate(_)) => vec![leaf],
                _ => {
                    return Err(CliError::usage(format!(
                        "the first certificate in {} is a CA's",
                        path.display()
                    ))
                    .next("pass it as --ca"));
                }
            }
        }
        Material::Key(key) => vec![Trusts::Key(public_key(cx, &key)?)],
        Material::Keyless { trusted_root, identity, issuer } => {
            let root = documents::bytes(&trusted_root, MAX_TRUSTED_ROOT as u64)?;
            let root = TrustedRoot::parse(&root).map_err(|e| unusable(&e.into()))?;
            vec![Trusts::Keyless { trusted_root: root, identity, issuer }]
        }
    })
}

/// A PEM file, or a name in the key folder.
fn public_key(cx: &Context<'_, '_>, named: &str) -> Result<SubjectKey, CliError> {
    let path = Path::new(named);
    if path.is_file() {
        return match documents::trusts(path)?.pop() {
            Some(Trusts::Key(key)) => Ok(key),
            _ => Err(CliError::usage(format!("{named} holds a certificate, no bare public key"))
                .next("pass it as --ca or --certificate")),
        };
    }
    let key: KeyRef =
        named.parse().map_err(|e| CliError::usage(format!("--public-key {named}")).reason(e))?;
    let public = cx.keys().look(&key)?.public;
    public.as_ref().map(SubjectKey::from).ok_or_else(|| {
        CliError::usage(format!("there is no public key beside {key}")).next("name the .pub file")
    })
}

fn unusable(e: &SignerError) -> CliError {
    CliError::new(Exit::No, "trust.document", "that cannot be trusted").reason(e)
}
