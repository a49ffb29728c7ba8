//! `--source NAME[,role=ROLE][,key=KEY]...`: one who must agree, as typed.

use std::str::FromStr;

use super::{Root, bring_root};
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::registry::RegistryArgs;
use crate::keys::KeyRef;
use crate::oci::Reference;
use crate::trust::{OwnKeys, SourceSpec};
use crate::tuf::{CollectionName, RoleName};

/// A source as typed: files and keys are not read yet.
#[derive(Debug, Clone)]
pub(super) struct TypedSource {
    collection: CollectionName,
    role: Option<RoleName>,
    keys: Vec<KeyRef>,
    threshold: Option<u32>,
    root: Option<Root>,
    at: Option<Reference>,
    state_at: Vec<Reference>,
}

impl FromStr for TypedSource {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let mut parts = s.split(',');
        let name = parts.next().unwrap_or_default();
        let collection = name.parse().map_err(|e| format!("\"{name}\" is no collection: {e}"))?;
        let (role, keys, threshold, root, at, state_at) = (None, vec![], None, None, None, vec![]);
        let mut out = Self { collection, role, keys, threshold, root, at, state_at };
        for part in parts {
            let bad = |e: &dyn std::fmt::Display| format!("{part}: {e}");
            let (member, value) = part.split_once('=').ok_or_else(|| {
                format!("\"{part}\" is not role=, key=, threshold=, root=, at= or state-at= with a value")
            })?;
            let place = || match value.parse::<Reference>() {
                Ok(place) if place.selector().is_none() => Ok(place),
                Ok(_) => Err(format!("{part} names a bundle, not a place")),
                Err(e) => Err(bad(&e)),
            };
            let twice = match member {
                "role" => out.role.replace(value.parse().map_err(|e| bad(&e))?).is_some(),
                "threshold" => out.threshold.replace(value.parse().map_err(|e| bad(&e))?).is_some(),
                "root" => out.root.replace(value.parse().map_err(|e| bad(&e))?).is_some(),
                "at" => out.at.replace(place()?).is_some(),
                "key" => {
                    out.keys.push(value.parse().map_err(|e| bad(&e))?);
                    false
                }
                "state-at" => {
                    out.state_at.push(place()?);
                    false
                }
                _ => return Err(format!("a source has no \"{member}\"")),
            };
            if twice {
                return Err(format!("{member}= stands there twice"));
            }
        }
        Ok(out)
    }
}

impl TypedSource {
    /// Read its keys and root. `anchored` is the anchor's own collection, of which the anchor's root is taken.
    pub(super) fn read(
        &self,
        anchored: &CollectionName,
        scope: &Reference,
        registry: &RegistryArgs,
        cx: &mut Context<'_, '_>,
    ) -> Result<SourceSpec, CliError> {
        let root = match &self.root {
            Some(root) => {
                let at: Vec<Reference> = self.at.iter().chain(&self.state_at).cloned().collect();
                let at = if at.is_empty() { vec![scope.clone()] } else { at };
                Some(bring_root(root, &self.collection, &at, registry, cx)?)
            }
            None if self.collection == *anchored => None,
            None => {
                let name = &self.collection;
                return Err(CliError::usage(format!(
                    "the source {name} is another collection than {anchored}"
                ))
                .reason("its root is missing")
                .next(format!("pass --source {name},root=FILE")));
            }
        };
        Ok(SourceSpec {
            collection: Some(self.collection.clone()).filter(|c| c != anchored),
            root,
            role: self.role.clone().filter(|role| *role != RoleName::targets()),
            keys: self.own_keys(cx)?,
            at: self.at.clone(),
            state_at: self.state_at.clone(),
        })
    }

    fn own_keys(&self, cx: &Context<'_, '_>) -> Result<Option<OwnKeys>, CliError> {
        if self.keys.is_empty() {
            return match self.threshold {
                None => Ok(None),
                Some(_) => Err(CliError::usage("threshold= is for a source with key=")),
            };
        }
        let mut keys = Vec::new();
        for key in &self.keys {
            let public = cx.keys().look(key)?.public;
            keys.push(public.ok_or_else(|| {
                CliError::usage(format!("there is no public key beside {key}")).next("name the .pub file")
            })?);
        }
        let all = u32::try_from(keys.len()).unwrap_or(u32::MAX);
        if keys.len() > 1 && self.threshold.is_none() {
            return Err(CliError::usage("several keys of one source, and no threshold=")
                .next(format!("say how many must have signed: threshold={all}")));
        }
        let own =
            OwnKeys::new(self.threshold.unwrap_or(all), keys).map_err(|e| CliError::usage(e.to_string()))?;
        Ok(Some(own))
    }
}
