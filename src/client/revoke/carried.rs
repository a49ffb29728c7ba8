//! The name of a signature that hangs somewhere, by the manifest that carries it.

use crate::oci::{Digest, Manifest, Selector};
use crate::store::{Store, StoreError, fetch_small};
use crate::trust::signatures::{Hung, name, referrer};

/// What a manifest with this digest is, as a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Carried {
    /// One signature: its name.
    One(Digest),
    /// Nothing with this digest is there.
    Absent,
    /// Something else: what.
    Other(String),
}

/// Look at what lies there. A signature is called by what its signer alone could make: whoever may push can hang it up again in
/// another manifest.
///
/// # Errors
/// It could not be looked at.
pub async fn carried(store: &dyn Store, digest: &Digest) -> Result<Carried, StoreError> {
    let content = match store.resolve(&Selector::Digest(digest.clone())).await {
        Ok(Some(content)) => content,
        Ok(None) => return Ok(Carried::Absent),
        Err(e) if e.is_not_found() => return Ok(Carried::Absent),
        Err(e) => return Err(e),
    };
    let other = |what: &str| Ok(Carried::Other(what.to_owned()));
    let Ok(manifest) = Manifest::parse(&content) else { return other("it is no manifest that is read") };
    let Some(subject) = &manifest.subject else {
        return other("it hangs on nothing; a signature at cosign's tag is named as verify prints it");
    };
    let pieces = match referrer(&manifest, &subject.digest) {
        Hung::Signatures(pieces) => pieces,
        Hung::Other => return other("it carries no signature"),
        Hung::Broken(why) => return Ok(Carried::Other(why)),
    };
    let [piece] = &pieces[..] else { return other(&format!("it carries {} signatures", pieces.len())) };
    let bytes = fetch_small(store, &piece.layer, piece.form.max_bytes()).await?;
    match name(&piece.read(digest, bytes.bytes().clone())) {
        Some(name) => Ok(Carried::One(name)),
        None => other("its signature has not the form of one"),
    }
}
