//! Making artifact manifests, deterministically: sorted keys, no white space; the same input gives the same digest.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Content, Descriptor, media_type};

/// The content of the empty descriptor.
pub const EMPTY_JSON: &[u8] = b"{}";

/// The empty descriptor with its content inline (image-spec "Guidance for an Empty Descriptor").
pub fn empty_descriptor() -> Descriptor {
    Descriptor::of(media_type::OCI_EMPTY, EMPTY_JSON).with_data(EMPTY_JSON)
}

/// An artifact manifest in the making: `artifactType`, the empty config, layers, subject, annotations.
#[derive(Debug, Clone)]
pub struct Packer {
    artifact_type: String,
    layers: Vec<Descriptor>,
    subject: Option<Descriptor>,
    annotations: BTreeMap<String, String>,
}

impl Packer {
    /// An artifact of this type with nothing in it.
    pub fn new(artifact_type: impl Into<String>) -> Self {
        Self {
            artifact_type: artifact_type.into(),
            layers: Vec::new(),
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// With one more layer, in the order given.
    #[must_use]
    pub fn layer(mut self, layer: Descriptor) -> Self {
        self.layers.push(layer);
        self
    }

    /// Referring to `subject`: only media type, digest and size are written.
    #[must_use]
    pub fn subject(mut self, subject: &Descriptor) -> Self {
        self.subject = Some(subject.bare());
        self
    }

    /// With one more annotation.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: impl Into<String>) -> Self {
        self.annotations.insert(key.to_owned(), value.into());
        self
    }

    /// The manifest. Without layers the empty descriptor stands in, as image-spec recommends.
    pub fn build(self) -> Content {
        let layers = if self.layers.is_empty() { vec![empty_descriptor()] } else { self.layers };
        let mut doc = json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_MANIFEST,
            "artifactType": self.artifact_type,
            "config": empty_descriptor(),
            "layers": layers,
        });
        if let Some(subject) = self.subject {
            doc["subject"] = json!(subject);
        }
        if !self.annotations.is_empty() {
            doc["annotations"] = json!(self.annotations);
        }
        Content::new(media_type::OCI_MANIFEST, sorted_json(&doc))
    }
}

/// `value` as JSON with sorted keys and no white space, whatever order its maps keep.
pub fn sorted_json(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write_sorted(value, &mut out);
    out
}

fn write_sorted(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<&String, &Value> = map.iter().collect();
            out.push(b'{');
            for (i, (key, item)) in sorted.into_iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(Value::from(key.as_str()).to_string().as_bytes());
                out.push(b':');
                write_sorted(item, out);
            }
            out.push(b'}');
        }
        Value::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_sorted(item, out);
            }
            out.push(b']');
        }
        scalar => out.extend_from_slice(scalar.to_string().as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_input_same_digest_and_readable() {
        let build = || {
            Packer::new("a/b")
                .layer(Descriptor::of("c/d", b"x").annotated("k", "v"))
                .annotation("z", "1")
                .build()
        };
        let m = crate::oci::Manifest::parse(&build()).unwrap();
        assert_eq!(m.artifact_type.as_deref(), Some("a/b"));
        assert_eq!(m.layers.len(), 1);
        assert_eq!(build().digest(), build().digest());
        assert!(
            build()
                .bytes()
                .starts_with(br#"{"annotations":{"z":"1"},"artifactType":"a/b","config":{"data":"e30=","#)
        );
    }
}
