//! Which part of a manifest is a signature. The manifest decides: what lists of referrers say of type and annotations only orders
//! the reading (lists that older tools wrote name other types).

use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::Value;

use crate::envelope::{notary, notary_cose, notary_jws, simple_signing};
use crate::oci::{Descriptor, Digest, Manifest, ManifestKind, media_type};
use crate::sig::statement::COSIGN_SIGN;

/// Most layers of one artifact that are read as signatures (cosign's own limit, CVE-2024-29903).
pub const MAX_LAYERS: usize = 1000;
/// Largest bundle or envelope that is read as a signature, bytes. Those of all tools have a few thousand, with log entries and
/// timestamps tens of thousands; parsed, a hostile one takes a hundred times its size.
const MAX_SIGNATURE: u64 = 256 << 10;
/// Beginning of the media type of Sigstore bundles, of whatever version.
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle";
/// Type of cosign's `.sig` image as a referrer ("experimental OCI 1.1").
const SIG_ARTIFACT: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
/// Annotation of a bundle's manifest: the predicate type of its statement.
const PREDICATE: &str = "dev.sigstore.bundle.predicateType";
/// Annotations of a `.sig` layer.
const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
const CHAIN: &str = "dev.sigstore.cosign/chain";
const PROMISE: &str = "dev.sigstore.cosign/bundle";
const TIMESTAMP: &str = "dev.sigstore.cosign/rfc3161timestamp";
/// Longest certificate or chain in such an annotation.
const MAX_PEM: usize = 256 << 10;

/// The form of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Form {
    /// A Sigstore bundle.
    SigstoreBundle,
    /// A payload of simple signing, its signature beside it.
    SimpleSigning,
    /// An envelope of the Notary Project in JSON.
    NotaryJws,
    /// An envelope of the Notary Project in CBOR.
    NotaryCose,
}

/// A layer that is a signature, not read yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The layer.
    pub layer: Descriptor,
    /// Its form.
    pub form: Form,
}

/// What hangs there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hung {
    /// Signatures; never none.
    Signatures(Vec<Piece>),
    /// Something else.
    Other,
    /// A signature by its type, and not in the form of one.
    Broken(String),
}

/// A signature with its bytes, unjudged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The manifest that carries it.
    pub manifest: Digest,
    /// Its form.
    pub form: Form,
    /// Envelope, bundle, or signed payload.
    pub bytes: Bytes,
    /// Of simple signing: the signature in base64, as annotated.
    pub signature: Option<String>,
    /// Of simple signing: leaf and chain in PEM, as annotated.
    pub certificates: Option<String>,
    /// Of simple signing: the promise of a log, as annotated.
    pub log_promise: Option<String>,
    /// Of simple signing: the timestamp, as annotated.
    pub timestamp: Option<String>,
}

impl Form {
    /// As it is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SigstoreBundle => "sigstore-bundle",
            Self::SimpleSigning => "cosign-tag",
            Self::NotaryJws => "notary-jws",
            Self::NotaryCose => "notary-cose",
        }
    }

    /// Most bytes of it that are read.
    pub fn max_bytes(self) -> u64 {
        match self {
            Self::SimpleSigning => simple_signing::MAX_PAYLOAD as u64,
            Self::SigstoreBundle | Self::NotaryJws | Self::NotaryCose => MAX_SIGNATURE,
        }
    }
}

impl Piece {
    /// The signature, once its bytes are there.
    pub fn read(&self, manifest: &Digest, bytes: Bytes) -> Found {
        let annotation = |key: &str| self.layer.annotation(key).filter(|v| v.len() <= MAX_PEM);
        let mut found = Found {
            manifest: manifest.clone(),
            form: self.form,
            bytes,
            signature: None,
            certificates: None,
            log_promise: None,
            timestamp: None,
        };
        if self.form == Form::SimpleSigning {
            let chain = annotation(CHAIN).unwrap_or_default();
            let leaf = annotation(CERTIFICATE).filter(|v| !v.trim().is_empty());
            found.signature = annotation(simple_signing::SIGNATURE).map(str::to_owned);
            found.certificates = leaf.map(|leaf| format!("{leaf}\n{chain}"));
            found.log_promise = annotation(PROMISE).map(str::to_owned);
            found.timestamp = annotation(TIMESTAMP).map(str::to_owned);
        }
        found
    }
}

impl Found {
    /// The same for whatever would be judged the same, whichever manifest carries it.
    pub(super) fn fingerprint(&self) -> Digest {
        let beside = [&self.signature, &self.certificates, &self.log_promise, &self.timestamp];
        let beside = serde_json::json!([self.form.as_str(), beside]).to_string();
        Digest::sha256(&[beside.as_bytes(), b"\n", &self.bytes].concat())
    }
}

/// What a manifest that refers to `subject` is: a bundle, an envelope of the Notary Project in either form of manifest, or cosign's
/// `.sig` image as a referrer.
pub fn referrer(manifest: &Manifest, subject: &Digest) -> Hung {
    if manifest.subject.as_ref().map(|s| &s.digest) != Some(subject) {
        return Hung::Other;
    }
    let config = manifest.config.as_ref().map_or("", |c| c.media_type.as_str());
    let artifact_type = manifest.artifact_type.as_deref();
    let notary = match manifest.kind {
        ManifestKind::Image => notary::is_signature(artifact_type, config),
        // notation 1.0 to 1.1 wrote them.
        ManifestKind::ArtifactRc => artifact_type == Some(notary::ARTIFACT_TYPE),
        ManifestKind::Index => return Hung::Other,
    };
    if notary {
        return envelope(manifest);
    }
    if manifest.layers.iter().any(|layer| layer.media_type.starts_with(BUNDLE)) {
        return match &manifest.layers[..] {
            [layer] => Hung::Signatures(vec![Piece { layer: layer.clone(), form: Form::SigstoreBundle }]),
            layers => Hung::Broken(format!("a bundle among {} layers; it is exactly one", layers.len())),
        };
    }
    // cosign's own, by its types: anything else with such layers would only be many things to read.
    match [artifact_type, Some(config)].contains(&Some(SIG_ARTIFACT)) {
        true => simple(manifest),
        false => Hung::Other,
    }
}

/// What the image at cosign's tag `sha256-<hex>.sig` is.
pub fn at_cosign_tag(manifest: &Manifest) -> Hung {
    match manifest.kind {
        ManifestKind::Image => simple(manifest),
        ManifestKind::Index | ManifestKind::ArtifactRc => Hung::Other,
    }
}

fn envelope(manifest: &Manifest) -> Hung {
    let [layer] = &manifest.layers[..] else {
        return Hung::Broken(format!("a signature of {} layers; it is exactly one", manifest.layers.len()));
    };
    let form = match layer.media_type.as_str() {
        notary_jws::MEDIA_TYPE => Form::NotaryJws,
        notary_cose::MEDIA_TYPE => Form::NotaryCose,
        other => {
            let other: String = other.chars().take(100).collect();
            return Hung::Broken(format!("an envelope of the type {other}, which is not read"));
        }
    };
    Hung::Signatures(vec![Piece { layer: layer.clone(), form }])
}

/// The layers of a `.sig` image, the newest first: cosign appends. Past [`MAX_LAYERS`] the caller says so.
fn simple(manifest: &Manifest) -> Hung {
    let layers = manifest.layers.iter().rev().filter(|l| l.media_type == simple_signing::MEDIA_TYPE);
    let pieces: Vec<Piece> =
        layers.map(|layer| Piece { layer: layer.clone(), form: Form::SimpleSigning }).collect();
    if pieces.is_empty() { Hung::Other } else { Hung::Signatures(pieces) }
}

/// In which order entries of a list of referrers are read, the smallest first; `thumbprints` are those of the certificates that are
/// trusted, in lower-case hex. Every entry has a place: a hint never takes one out.
pub fn rank(entry: &Descriptor, thumbprints: &BTreeSet<String>) -> u8 {
    const LIKELY: u8 = 0;
    const KNOWN: u8 = 1;
    const VAGUE: u8 = 2;
    const UNLIKELY: u8 = 3;
    const OTHER: u8 = 4;
    match entry.artifact_type.as_deref() {
        Some(notary::ARTIFACT_TYPE) => match entry.annotation(notary::THUMBPRINTS) {
            None => KNOWN,
            Some(listed) if names_one(listed, thumbprints) => LIKELY,
            Some(_) => UNLIKELY,
        },
        Some(t) if t.starts_with(BUNDLE) => match entry.annotation(PREDICATE) {
            None => KNOWN,
            Some(COSIGN_SIGN) => LIKELY,
            Some(_) => UNLIKELY,
        },
        Some(SIG_ARTIFACT) => KNOWN,
        _ if is_vague(entry) => VAGUE,
        _ => OTHER,
    }
}

/// Whether an entry of a list says too little of the type: none, or a config's that stands for the artifact's own.
pub fn is_vague(entry: &Descriptor) -> bool {
    match entry.artifact_type.as_deref() {
        None | Some("" | media_type::OCI_EMPTY) => true,
        Some(t) => t.ends_with(".config.v1+json") || t == "application/vnd.docker.container.image.v1+json",
    }
}

fn names_one(listed: &str, thumbprints: &BTreeSet<String>) -> bool {
    let listed = serde_json::from_str::<Value>(listed).ok();
    let listed = listed.as_ref().and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    listed.iter().filter_map(Value::as_str).any(|t| thumbprints.contains(&t.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::envelope::sigstore_bundle;
    use crate::oci::Content;

    fn subject() -> Descriptor {
        Descriptor::of(media_type::OCI_MANIFEST, b"subject")
    }

    fn layer(media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": Digest::sha256(b"x"), "size": 1})
    }

    fn manifest(artifact_type: Option<&str>, config: &str, layers: &[&str]) -> Manifest {
        let mut doc = json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": layer(config),
            "layers": layers.iter().map(|t| layer(t)).collect::<Vec<_>>(), "subject": subject(),
        });
        if let Some(t) = artifact_type {
            doc["artifactType"] = t.into();
        }
        Manifest::parse(&Content::new(media_type::OCI_MANIFEST, doc.to_string())).unwrap()
    }

    fn forms(hung: &Hung) -> Vec<Form> {
        match hung {
            Hung::Signatures(pieces) => pieces.iter().map(|p| p.form).collect(),
            Hung::Other | Hung::Broken(_) => Vec::new(),
        }
    }

    #[test]
    fn the_manifest_says_what_it_is() {
        let (v3, empty) = (sigstore_bundle::MEDIA_TYPE, media_type::OCI_EMPTY);
        let simple = simple_signing::MEDIA_TYPE;
        let image = "application/vnd.oci.image.config.v1+json";
        for (artifact_type, config, layers, is) in [
            (Some(v3), empty, &[v3][..], vec![Form::SigstoreBundle]),
            // Whatever the artifact calls itself.
            (None, empty, &[v3], vec![Form::SigstoreBundle]),
            (
                Some("application/x"),
                empty,
                &["application/vnd.dev.sigstore.bundle+json;version=0.2"],
                vec![Form::SigstoreBundle],
            ),
            (Some(notary::ARTIFACT_TYPE), empty, &["application/jose+json"], vec![Form::NotaryJws]),
            (None, notary::ARTIFACT_TYPE, &["application/cose"], vec![Form::NotaryCose]),
            (Some(SIG_ARTIFACT), SIG_ARTIFACT, &[simple, simple], vec![Form::SimpleSigning; 2]),
            (None, SIG_ARTIFACT, &[simple], vec![Form::SimpleSigning]),
            (None, image, &[simple], vec![]),
            (Some(v3), empty, &[simple], vec![]),
            (Some("application/spdx+json"), empty, &["application/spdx+json"], vec![]),
            (Some(notary::ARTIFACT_TYPE), image, &["application/jose+json"], vec![]),
        ] {
            let hung = referrer(&manifest(artifact_type, config, layers), &subject().digest);
            assert_eq!(forms(&hung), is, "{artifact_type:?} {config} {layers:?}");
        }
        for (artifact_type, layers) in [
            (v3, &[v3, v3][..]),
            (notary::ARTIFACT_TYPE, &["application/jose+json", "application/jose+json"]),
            (notary::ARTIFACT_TYPE, &["application/pkcs7-signature"]),
            (notary::ARTIFACT_TYPE, &[]),
        ] {
            let hung = referrer(&manifest(Some(artifact_type), empty, layers), &subject().digest);
            assert!(matches!(hung, Hung::Broken(_)), "{hung:?}");
        }
        let other = referrer(&manifest(Some(v3), empty, &[v3]), &Digest::sha256(b"another"));
        assert_eq!(other, Hung::Other);
        assert_eq!(forms(&at_cosign_tag(&manifest(None, image, &[simple]))), [Form::SimpleSigning]);
        assert_eq!(at_cosign_tag(&manifest(Some(v3), empty, &[v3])), Hung::Other);
    }

    #[test]
    fn hints_order_and_leave_nothing_out() {
        let ours = BTreeSet::from(["ab12".to_owned()]);
        let entry = |artifact_type: Option<&str>, key: &str, value: &str| {
            let entry = Descriptor { artifact_type: artifact_type.map(str::to_owned), ..subject() };
            let entry = if key.is_empty() { entry } else { entry.annotated(key, value) };
            rank(&entry, &ours)
        };
        let notary = Some(notary::ARTIFACT_TYPE);
        let bundle = Some(sigstore_bundle::MEDIA_TYPE);
        assert_eq!(entry(notary, notary::THUMBPRINTS, "[\"00\",\"AB12\"]"), 0);
        assert_eq!(entry(bundle, PREDICATE, COSIGN_SIGN), 0);
        assert_eq!([entry(notary, "", ""), entry(bundle, "", ""), entry(Some(SIG_ARTIFACT), "", "")], [1; 3]);
        assert_eq!([entry(None, "", ""), entry(Some(media_type::OCI_EMPTY), "", "")], [2; 2]);
        assert_eq!(entry(notary, notary::THUMBPRINTS, "[\"00\"]"), 3);
        assert_eq!(entry(bundle, PREDICATE, "https://slsa.dev/provenance/v1"), 3);
        assert_eq!(entry(Some("application/spdx+json"), "", ""), 4);
        assert_eq!(entry(notary, notary::THUMBPRINTS, "not json"), 3);
    }

    proptest! {
        #[test]
        fn any_document_is_read_without_panic(text: String, annotation: String) {
            let content = Content::new(media_type::OCI_MANIFEST, text);
            if let Ok(manifest) = Manifest::parse(&content) {
                let _ = (referrer(&manifest, &subject().digest), at_cosign_tag(&manifest));
            }
            let entry = Descriptor { artifact_type: Some(notary::ARTIFACT_TYPE.into()), ..subject() };
            prop_assert!(rank(&entry.annotated(notary::THUMBPRINTS, annotation), &BTreeSet::new()) <= 4);
        }
    }
}
