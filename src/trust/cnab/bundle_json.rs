//! `bundle.json` (CNAB 101), as far as it names images. The bytes are never written again.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::index::{MAX_IMAGES, is_name};
use crate::oci::Digest;
use crate::sig::json::{self, JsonError};

/// Largest `bundle.json` that is read, bytes.
pub const MAX_BUNDLE_JSON: u64 = 4 << 20;
/// Longest reference of an image.
const MAX_REFERENCE: usize = 1024;

/// What a bundle calls itself, and its images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleJson {
    name: String,
    version: String,
    invocations: Vec<Image>,
    components: BTreeMap<String, Image>,
}

/// An image that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its reference, as the author wrote it.
    pub image: String,
    /// `contentDigest`: the digest of its manifest.
    pub digest: Digest,
    /// The media type, where one is said.
    pub media_type: Option<String>,
}

/// Why bytes are no `bundle.json`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleJsonError {
    /// Too large.
    #[error("bundle.json has {0} bytes; at most {MAX_BUNDLE_JSON} are read")]
    TooLarge(usize),
    /// Not strict JSON.
    #[error("bundle.json: {0}")]
    Json(#[from] JsonError),
    /// A schema version that may say other things.
    #[error("bundle.json has the schemaVersion \"{0}\"; versions 1 are read")]
    Schema(String),
    /// A member is missing, or of another form.
    #[error("bundle.json: {member}: {what}")]
    Form {
        /// Where.
        member: String,
        /// What is wrong.
        what: &'static str,
    },
    /// A member that some readers take for another: Go's ignore case.
    #[error("bundle.json: some readers take the member \"{0}\" for another one")]
    Alike(String),
}

const MEMBERS: [&str; 5] = ["schemaVersion", "name", "version", "invocationImages", "images"];
const IMAGE_MEMBERS: [&str; 3] = ["image", "contentDigest", "mediaType"];

impl BundleJson {
    /// Read a `bundle.json`; members that say nothing of images are passed over.
    ///
    /// # Errors
    /// Too large, not strict JSON, another schema version, a member of another form.
    pub fn parse(bytes: &[u8]) -> Result<Self, BundleJsonError> {
        if bytes.len() as u64 > MAX_BUNDLE_JSON {
            return Err(BundleJsonError::TooLarge(bytes.len()));
        }
        let value = json::parse_with_fractions(bytes)?;
        let bundle = members(&value, "it", &MEMBERS)?;
        let schema = text(bundle, "", "schemaVersion")?;
        let major = schema.strip_prefix('v').unwrap_or(schema).split('.').next();
        if major != Some("1") {
            return Err(BundleJsonError::Schema(schema.chars().take(100).collect()));
        }
        let none = Vec::new();
        let listed = match bundle.get("invocationImages") {
            None | Some(Value::Null) => &none,
            Some(listed) => listed.as_array().ok_or_else(|| form("invocationImages", "it is no list"))?,
        };
        if listed.is_empty() {
            return Err(form("invocationImages", "there is none"));
        }
        let named = match bundle.get("images") {
            None | Some(Value::Null) => &Map::new(),
            Some(named) => named.as_object().ok_or_else(|| form("images", "it is no object"))?,
        };
        if listed.len() + named.len() > MAX_IMAGES {
            return Err(form("images", "there are too many"));
        }
        let mut invocations = Vec::new();
        for (i, image) in listed.iter().enumerate() {
            invocations.push(Image::of(image, &format!("invocationImages[{i}]"))?);
        }
        let mut components = BTreeMap::new();
        for (name, image) in named {
            let at = format!("images.{}", name.chars().take(100).collect::<String>());
            if !is_name(name) {
                return Err(form(at, "this is no name"));
            }
            components.insert(name.clone(), Image::of(image, &at)?);
        }
        let (name, version) = (text(bundle, "", "name")?, text(bundle, "", "version")?);
        Ok(Self { name: name.to_owned(), version: version.to_owned(), invocations, components })
    }

    /// The bundle's own name; nothing goes by it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its version; nothing goes by it.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Invocation images, in order.
    pub fn invocations(&self) -> &[Image] {
        &self.invocations
    }

    /// Component images by name.
    pub fn components(&self) -> &BTreeMap<String, Image> {
        &self.components
    }

    /// Every image.
    pub fn images(&self) -> impl Iterator<Item = &Image> {
        self.invocations.iter().chain(self.components.values())
    }
}

impl Image {
    fn of(value: &Value, at: &str) -> Result<Self, BundleJsonError> {
        let image = members(value, at, &IMAGE_MEMBERS)?;
        let digest = text(image, at, "contentDigest")?;
        let digest = digest.parse().map_err(|_| form(format!("{at}.contentDigest"), "it is no digest"))?;
        let reference = text(image, at, "image")?;
        if reference.len() > MAX_REFERENCE {
            return Err(form(format!("{at}.image"), "it is too long"));
        }
        let media_type = match image.get("mediaType") {
            None | Some(Value::Null) => None,
            Some(_) => Some(text(image, at, "mediaType")?.to_owned()).filter(|t| !t.is_empty()),
        };
        Ok(Self { image: reference.to_owned(), digest, media_type })
    }
}

fn form(member: impl Into<String>, what: &'static str) -> BundleJsonError {
    BundleJsonError::Form { member: member.into(), what }
}

fn text<'a>(object: &'a Map<String, Value>, at: &str, name: &str) -> Result<&'a str, BundleJsonError> {
    let member = || if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
    match object.get(name) {
        None | Some(Value::Null) => Err(form(member(), "it is missing")),
        Some(value) => value.as_str().ok_or_else(|| form(member(), "it is no text")),
    }
}

/// An object, none of whose members reads as one of `known` to whoever ignores case: Go's `encoding/json` takes the last of them.
fn members<'a>(
    value: &'a Value,
    at: &str,
    known: &[&str],
) -> Result<&'a Map<String, Value>, BundleJsonError> {
    let object = value.as_object().ok_or_else(|| form(at, "it is no object"))?;
    let alike = |name: &&String| known.iter().any(|k| *k != name.as_str() && fold(k) == fold(name));
    match object.keys().find(alike) {
        Some(name) => Err(BundleJsonError::Alike(name.chars().take(100).collect())),
        None => Ok(object),
    }
}

/// As Go folds: the Kelvin sign is a k, the long s an s.
fn fold(name: &str) -> String {
    let plain = |c: char| match c {
        '\u{212a}' => 'k',
        '\u{17f}' => 's',
        c => c.to_ascii_lowercase(),
    };
    name.chars().map(plain).collect()
}
