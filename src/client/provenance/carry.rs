//! Links and layouts on a bundle: each a referrer of its own, hung by whoever made it, in any order (docs/formats.md "In-toto
//! documents").

use bytes::Bytes;

use super::ProvenanceError;
use crate::client::sign::Subject;
use crate::intoto::{Document, Envelope, Form, LinkPath, MAX_DOCUMENT, Stem};
use crate::oci::{Content, Descriptor, Digest, EMPTY_JSON, Packer, media_type};
use crate::store::{BytesSource, Manage, StoreError};

/// The annotation that names the file; a hint, as all are.
const TITLE: &str = "org.opencontainers.image.title";
/// Largest document that stands in its manifest too, so that whoever reads it asks once.
const MAX_INLINE: usize = 16 << 10;

/// What a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A link, or an attestation that says the same.
    Link,
    /// A layout.
    Layout,
}

/// A document that can be hung on a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    kind: Kind,
    form: Form,
    name: String,
    bytes: Bytes,
}

/// What became of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hung {
    /// The referrer.
    pub carrier: Digest,
    /// Whether it hung there already.
    pub was_there: bool,
}

impl Kind {
    /// As it is typed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Layout => "layout",
        }
    }
}

impl Carried {
    /// From a file's bytes and name. A link's name is made of what it says, whatever the file is called; one of a sublayout keeps
    /// its folders, where the file name shows them.
    ///
    /// # Errors
    /// What is wrong with it: another kind, or nobody has signed it.
    pub fn read(kind: Kind, file: &str, bytes: Vec<u8>) -> Result<Self, String> {
        if bytes.len() > MAX_DOCUMENT {
            return Err(format!("larger than {MAX_DOCUMENT} bytes"));
        }
        let envelope = Envelope::parse(&bytes).map_err(|e| e.to_string())?;
        let signature = envelope.signatures().first().ok_or("nobody has signed it")?;
        let document = envelope.unverified().map_err(|e| e.to_string())?;
        let name = match (kind, document) {
            (Kind::Layout, Document::Layout(_)) => {
                plain(file).ok_or("its file's name is none for an annotation")?
            }
            (Kind::Link, Document::Link(link)) => {
                let keyid =
                    signature.keyid().ok_or("its signature has no key id, of which its name is made")?;
                let stem = Stem::new(link.name, keyid).map_err(|e| e.to_string())?;
                match file.parse::<LinkPath>() {
                    Ok(path) if *path.stem() == stem => path.flat(),
                    _ => LinkPath::new(stem).flat(),
                }
            }
            (Kind::Link, Document::Layout(_)) => return Err("it is a layout, and no link".into()),
            (Kind::Layout, Document::Link(_)) => return Err("it is a link, and no layout".into()),
        };
        Ok(Self { kind, form: envelope.form(), name, bytes: bytes.into() })
    }

    /// The name that is shown where it hangs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its artifact type, which is its media type, too.
    pub fn media_type(&self) -> &'static str {
        match (self.kind, self.form) {
            (Kind::Link, Form::Classic) => media_type::INTOTO_LINK,
            (Kind::Link, Form::Dsse) => media_type::INTOTO_LINK_DSSE,
            (Kind::Layout, Form::Classic) => media_type::INTOTO_LAYOUT,
            (Kind::Layout, Form::Dsse) => media_type::INTOTO_LAYOUT_DSSE,
        }
    }

    /// The blob and the referrer: always the same, whoever hangs it and when.
    fn packed(&self, subject: &Descriptor) -> (Content, Content) {
        let blob = Content::new(self.media_type(), self.bytes.clone());
        let listed = blob.descriptor().clone().annotated(TITLE, &self.name);
        let listed = match self.bytes.len() <= MAX_INLINE {
            true => listed.with_data(&self.bytes),
            false => listed,
        };
        let manifest = Packer::new(self.media_type()).layer(listed).subject(subject);
        (blob, manifest.annotation(TITLE, &self.name).build())
    }
}

/// A name without folders.
fn plain(file: &str) -> Option<String> {
    let legal =
        (1..=255).contains(&file.len()) && !file.contains(['/', '\\']) && !file.contains(char::is_control);
    legal.then(|| file.to_owned())
}

/// Hang documents on a bundle; what hangs there already is not hung again. Others who hang at the same time lose nothing.
///
/// # Errors
/// The place's own.
pub async fn hang(
    store: &dyn Manage,
    subject: &Subject,
    documents: &[Carried],
) -> Result<Vec<Hung>, ProvenanceError> {
    let artifact = &subject.artifact;
    let listed = store.listing(&artifact.digest).await?.entries;
    let empty = Content::new(media_type::OCI_EMPTY, Bytes::from_static(EMPTY_JSON));
    let (mut hung, mut fresh) = (Vec::new(), Vec::new());
    for document in documents {
        let (blob, manifest) = document.packed(artifact);
        let carrier = manifest.digest().clone();
        let was_there =
            listed.iter().any(|entry| entry.digest == carrier) && store.exists(manifest.descriptor()).await?;
        if !was_there && !fresh.contains(&manifest) {
            if fresh.is_empty() && !store.exists(empty.descriptor()).await? {
                push(store, &empty).await?;
            }
            push(store, &blob).await?;
            store.push_manifest(&manifest, None).await?;
            fresh.push(manifest);
        }
        hung.push(Hung { carrier, was_there });
    }
    if !fresh.is_empty() {
        store.index_referrers(artifact, &fresh).await?;
        store.flush().await?;
    }
    Ok(hung)
}

async fn push(store: &dyn Manage, blob: &Content) -> Result<(), StoreError> {
    store.push_blob(blob.descriptor(), &BytesSource(blob.bytes().clone())).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::provenance::signed::sign;
    use crate::intoto::{Artifacts, Hashes, Layout, Link, Step};
    use crate::keys::MemorySigner;

    async fn link(form: Form) -> Vec<u8> {
        let mut link = Link::new("build".parse().unwrap());
        link.products = Artifacts::from([("a".parse().unwrap(), Hashes::of(&Digest::sha256(b"a")))]);
        let draft = Envelope::draft(form, &Document::Link(link));
        sign(draft, &MemorySigner::from_seed(&[1; 32]).unwrap()).await.unwrap().to_bytes()
    }

    async fn layout() -> Vec<u8> {
        let step = Step {
            name: "build".parse().unwrap(),
            threshold: 1,
            pubkeys: Vec::new(),
            expected_command: Vec::new(),
            expected_materials: Vec::new(),
            expected_products: Vec::new(),
        };
        let layout = Layout {
            expires: "2027-01-01T00:00:00Z".parse().unwrap(),
            readme: String::new(),
            keys: Default::default(),
            steps: vec![step],
            inspections: Vec::new(),
        };
        let draft = Envelope::draft(Form::Classic, &Document::Layout(layout));
        sign(draft, &MemorySigner::from_seed(&[1; 32]).unwrap()).await.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn names_and_types() {
        for (form, kind) in [(Form::Classic, "json"), (Form::Dsse, "dsse")] {
            let bytes = link(form).await;
            let carried = Carried::read(Kind::Link, "whatever", bytes.clone()).unwrap();
            assert!(carried.name().starts_with("build.") && carried.name().ends_with(".link"));
            assert_eq!(carried.media_type(), format!("application/vnd.in-toto.link.v1+{kind}"));
            let nested = format!("outer.00112233~{}", carried.name());
            assert_eq!(Carried::read(Kind::Link, &nested, bytes.clone()).unwrap().name(), nested);
            assert!(Carried::read(Kind::Layout, "x", bytes).is_err());
        }
        let carried = Carried::read(Kind::Layout, "release.layout", layout().await).unwrap();
        assert_eq!(
            (carried.name(), carried.media_type()),
            ("release.layout", "application/vnd.in-toto.layout.v1+json")
        );
        assert!(Carried::read(Kind::Link, "x", layout().await).is_err());
        let draft = Envelope::draft(Form::Classic, &Document::Link(Link::new("x".parse().unwrap())));
        assert!(Carried::read(Kind::Link, "x", draft.to_bytes()).unwrap_err().contains("nobody"));
        assert!(Carried::read(Kind::Link, "x", b"{}".to_vec()).is_err());
    }
}
