//! Links: who carried out which step, with what it took and what it gave.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::process::{Kept, Ran};
use super::{ProvenanceError, signed};
use crate::intoto::{Artifacts, Document, Envelope, Form, Key, Link, StepName};
use crate::keys::Signer;
use crate::sig::KeyId;

/// What is said of how a command ran; the streams stay empty unless they are kept.
pub fn byproducts(ran: &Ran, streams: bool) -> Map<String, Value> {
    let text = |kept: &Kept| Value::from(if streams { kept.text() } else { String::new() });
    let members =
        [("return-value", ran.code.into()), ("stderr", text(&ran.stderr)), ("stdout", text(&ran.stdout))];
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Sign a link, and write it as `<step>.<keyid8>.link`.
///
/// # Errors
/// The key does not sign, or the file cannot be written.
pub async fn write(
    link: Link,
    form: Form,
    signer: &dyn Signer,
    folder: &Path,
) -> Result<PathBuf, ProvenanceError> {
    let file = folder.join(file_name(&link.name, &signer.public_key().key_id()));
    let envelope = Envelope::draft(form, &Document::Link(link));
    signed::write(&signed::sign(envelope, signer).await?, &file)?;
    Ok(file)
}

/// The name of a link's file.
pub fn file_name(step: &StepName, key: &KeyId) -> String {
    format!("{step}.{}.link", key.short())
}

fn unfinished_name(step: &StepName, key: &KeyId) -> String {
    format!(".{step}.{}.link-unfinished", key.short())
}

/// Begin a step that no single command carries out: its materials, signed, until [`Begun::finish`].
///
/// # Errors
/// The key does not sign, or the file cannot be written.
pub async fn start(
    step: StepName,
    materials: Artifacts,
    form: Form,
    signer: &dyn Signer,
    folder: &Path,
) -> Result<PathBuf, ProvenanceError> {
    let file = folder.join(unfinished_name(&step, &signer.public_key().key_id()));
    let link = Link { materials, ..Link::new(step) };
    let envelope = Envelope::draft(form, &Document::Link(link));
    signed::write(&signed::sign(envelope, signer).await?, &file)?;
    Ok(file)
}

/// A step that was begun.
#[derive(Debug, Clone)]
pub struct Begun {
    file: PathBuf,
    form: Form,
    link: Link,
}

/// What [`start`] left, once it is seen that this key signed it for this step.
///
/// # Errors
/// It is not there, cannot be read, or is another's.
pub fn begun(step: &StepName, signer: &dyn Signer, folder: &Path) -> Result<Begun, ProvenanceError> {
    let key = signer.public_key();
    let file = folder.join(unfinished_name(step, &key.key_id()));
    if !file.exists() {
        return Err(ProvenanceError::Absent(file));
    }
    let envelope = signed::read(&file)?;
    let refused = |reason: String| ProvenanceError::Document { path: file.clone(), reason };
    let says = envelope.verify(&Key::from(key.clone()));
    let link = says.ok_or_else(|| refused("it is not signed by this key".into()))?;
    let link = link.and_then(Document::into_link).map_err(|e| refused(e.to_string()))?;
    if link.name != *step || !link.products.is_empty() {
        return Err(refused("it is no beginning of this step".into()));
    }
    Ok(Begun { form: envelope.form(), link, file })
}

impl Begun {
    /// How many materials were recorded at the beginning.
    pub fn materials(&self) -> usize {
        self.link.materials.len()
    }

    /// The form in which it was begun.
    pub fn form(&self) -> Form {
        self.form
    }

    /// End the step: the same document with its products, in the same form. What began it is taken away.
    ///
    /// # Errors
    /// The key does not sign, or the files cannot be written.
    pub async fn finish(self, products: Artifacts, signer: &dyn Signer) -> Result<PathBuf, ProvenanceError> {
        let folder = self.file.parent().unwrap_or_else(|| Path::new("."));
        let file = write(Link { products, ..self.link }, self.form, signer, folder).await?;
        std::fs::remove_file(&self.file).map_err(|e| ProvenanceError::write(&self.file, e))?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intoto::Hashes;
    use crate::keys::MemorySigner;
    use crate::oci::Digest;

    fn some(name: &str) -> Artifacts {
        Artifacts::from([(name.parse().unwrap(), Hashes::of(&Digest::sha256(b"abc")))])
    }

    #[tokio::test]
    async fn a_step_in_two_halves() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path();
        let (mine, other) =
            (MemorySigner::from_seed(&[1; 32]).unwrap(), MemorySigner::from_seed(&[2; 32]).unwrap());
        let step: StepName = "build".parse().unwrap();
        assert!(matches!(begun(&step, &mine, folder), Err(ProvenanceError::Absent(_))));
        for form in [Form::Classic, Form::Dsse] {
            let began = start(step.clone(), some("a"), form, &mine, folder).await.unwrap();
            let key8 = mine.public_key().key_id().short().to_owned();
            assert_eq!(began.file_name().unwrap().to_str(), Some(&*format!(".build.{key8}.link-unfinished")));
            assert!(matches!(begun(&step, &other, folder), Err(ProvenanceError::Absent(_))));
            let half = begun(&step, &mine, folder).unwrap();
            assert_eq!((half.materials(), half.form()), (1, form));
            let file = half.finish(some("b"), &mine).await.unwrap();
            assert_eq!(file.file_name().unwrap().to_str(), Some(&*format!("build.{key8}.link")));
            assert!(!began.exists());
            let whole = signed::read(&file).unwrap();
            assert_eq!(whole.form(), form);
            let link = whole.verify(&mine.public_key().clone().into()).unwrap().unwrap().into_link().unwrap();
            assert_eq!((link.products, link.materials), (some("b"), some("a")));
        }
    }

    #[tokio::test]
    async fn a_beginning_that_was_changed_is_not_ended() {
        let dir = tempfile::tempdir().unwrap();
        let mine = MemorySigner::from_seed(&[1; 32]).unwrap();
        let step: StepName = "build".parse().unwrap();
        let began = start(step.clone(), some("a"), Form::Classic, &mine, dir.path()).await.unwrap();
        let text = std::fs::read_to_string(&began).unwrap();
        std::fs::write(&began, text.replace("\"a\"", "\"c\"")).unwrap();
        assert!(matches!(begun(&step, &mine, dir.path()), Err(ProvenanceError::Document { .. })));
    }
}
