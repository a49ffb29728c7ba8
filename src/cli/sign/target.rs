//! What is signed, as it is typed.

use std::path::PathBuf;
use std::str::FromStr;

use crate::cli::error::CliError;
use crate::cli::sign::row_error;
use crate::client::places::Places as _;
use crate::client::sign::subjects;
use crate::client::stores::Stores;
use crate::oci::{Descriptor, Reference, ReferenceError};

/// Largest file of a descriptor, in bytes.
const MAX_DESCRIPTOR: u64 = 64 << 10;

/// A bundle, or the file of its descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// At a place.
    At(Reference),
    /// `descriptor:FILE`.
    Descriptor(PathBuf),
}

impl FromStr for Target {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        match text.strip_prefix("descriptor:") {
            Some(file) if !file.is_empty() => Ok(Self::Descriptor(file.into())),
            _ => text.parse().map(Self::At),
        }
    }
}

impl Target {
    pub(super) fn reference(&self) -> Option<&Reference> {
        match self {
            Self::At(reference) => Some(reference),
            Self::Descriptor(_) => None,
        }
    }

    /// That it can be signed so, as far as the command line says.
    pub(super) fn judge(&self, to_file: bool) -> Result<(), CliError> {
        match self {
            Self::At(reference) if reference.selector().is_none() => Err(CliError::no_selector(reference)),
            Self::Descriptor(file) if !to_file => {
                Err(CliError::usage(format!("nothing can be attached to descriptor:{}", file.display()))
                    .reason("a descriptor says what a bundle is, not where it lies")
                    .next("pass --output FILE, and later: bulla attach signature FILE REF"))
            }
            _ => Ok(()),
        }
    }

    /// Type, digest and size, and the pinned reference where there is one. No network for a descriptor.
    pub(super) async fn artifact(
        &self,
        places: &Stores,
    ) -> Result<(Descriptor, Option<Reference>), CliError> {
        match self {
            Self::Descriptor(file) => Ok((read_descriptor(file)?, None)),
            Self::At(reference) => {
                let selector = reference.selector().ok_or_else(|| CliError::no_selector(reference))?;
                let store = places.open(reference).await?;
                let found = subjects(&*store, reference, selector, false).await.map_err(row_error)?;
                let subject =
                    found.into_iter().next().ok_or_else(|| super::super::error::absent(reference))?;
                Ok((subject.artifact, Some(subject.reference)))
            }
        }
    }
}

/// The repository's name; an OCI layout has none.
pub(super) fn name_of(reference: &Reference) -> Option<String> {
    match reference {
        Reference::Registry(r) => Some(r.repository.to_string()),
        Reference::Layout(_) | Reference::Archive(_) => None,
    }
}

fn read_descriptor(file: &std::path::Path) -> Result<Descriptor, CliError> {
    let bytes = super::outcome::read(file, MAX_DESCRIPTOR)?;
    let refused = |why: String| {
        CliError::failed("sign.descriptor", format!("{} holds no descriptor", file.display()))
            .reason(why)
            .next("write a JSON object with mediaType, digest and size, as oras manifest fetch --descriptor prints it")
    };
    let value = crate::sig::json::parse(&bytes).map_err(|e| refused(e.to_string()))?;
    let descriptor: Descriptor = serde_json::from_value(value).map_err(|e| refused(e.to_string()))?;
    if descriptor.media_type.is_empty() {
        return Err(refused("mediaType is empty".into()));
    }
    Ok(descriptor.bare())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed() {
        let parsed = |text: &str| text.parse::<Target>();
        assert_eq!(parsed("descriptor:a/b.json"), Ok(Target::Descriptor("a/b.json".into())));
        assert!(matches!(parsed("oci:dir:v1"), Ok(Target::At(Reference::Layout(_)))));
        assert!(parsed("descriptor:").is_err() && parsed("alpine").is_err());
    }
}
