//! Signed documents of in-toto as files.

use std::io::{Read as _, Write as _};
use std::path::Path;

use super::ProvenanceError;
use crate::intoto::{Envelope, MAX_DOCUMENT};
use crate::keys::{Signer, sign_checked};

/// Add one key's signature.
///
/// # Errors
/// The key's own.
pub async fn sign(mut envelope: Envelope, signer: &dyn Signer) -> Result<Envelope, ProvenanceError> {
    let signature = sign_checked(signer, envelope.message()).await?;
    envelope.add(&signer.public_key().key_id(), &signature);
    Ok(envelope)
}

/// Read a file that should hold a signed document. Nothing is verified.
///
/// # Errors
/// It cannot be read, is too large or is none.
pub fn read(path: &Path) -> Result<Envelope, ProvenanceError> {
    let unreadable = |e| ProvenanceError::read(path, e);
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(MAX_DOCUMENT as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    Envelope::parse(&bytes)
        .map_err(|e| ProvenanceError::Document { path: path.to_owned(), reason: e.to_string() })
}

/// Write the file, whole or not at all; what is there gives way.
///
/// # Errors
/// The system's.
pub fn write(envelope: &Envelope, path: &Path) -> Result<(), ProvenanceError> {
    let failed = |e| ProvenanceError::write(path, e);
    temporary(envelope, path)?.persist(path).map(drop).map_err(|e| failed(e.error))
}

/// The same of a file that is not there yet.
///
/// # Errors
/// The system's; it is there.
pub fn write_new(envelope: &Envelope, path: &Path) -> Result<(), ProvenanceError> {
    let failed = |e| ProvenanceError::write(path, e);
    temporary(envelope, path)?.persist_noclobber(path).map(drop).map_err(|e| failed(e.error))
}

fn temporary(envelope: &Envelope, path: &Path) -> Result<tempfile::NamedTempFile, ProvenanceError> {
    let failed = |e| ProvenanceError::write(path, e);
    let bytes = envelope.to_bytes();
    if bytes.len() >= MAX_DOCUMENT {
        return Err(ProvenanceError::TooLarge(bytes.len()));
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    // Its name is left out wherever links are, should this end before it has another.
    let mut temp = tempfile::Builder::new();
    let mut temp = temp.prefix(".bulla").suffix(".link").tempfile_in(folder).map_err(failed)?;
    temp.write_all(&bytes).and_then(|()| temp.write_all(b"\n")).map_err(failed)?;
    temp.as_file().sync_all().map_err(failed)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        temp.as_file().set_permissions(std::fs::Permissions::from_mode(0o644)).map_err(failed)?;
    }
    Ok(temp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intoto::{Document, Form, Hashes, Link};
    use crate::oci::Digest;

    #[test]
    fn what_no_verifier_reads_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let hashes = Hashes::of(&Digest::sha256(b""));
        let mut link = Link::new("build".parse().unwrap());
        for n in 0..40_000 {
            let name = format!("{n:0>150}");
            link.materials.insert(name.parse().unwrap(), hashes.clone());
        }
        let envelope = Envelope::draft(Form::Classic, &Document::Link(link));
        let file = dir.path().join("x.link");
        assert!(matches!(write(&envelope, &file), Err(ProvenanceError::TooLarge(_))));
        assert!(!file.exists() && dir.path().read_dir().unwrap().next().is_none());
    }
}
