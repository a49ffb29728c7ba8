//! `x-bulla-agreement` in signed top-level targets: which roles must list a bundle alike before the collection vouches for it. An
//! extra field of the file beside `x-bulla`: TUF clients ignore it, and editing the role keeps it.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::metadata::typed;
use super::{Fault, Metadata, RoleName, Targets};

/// The name of the field.
pub const AGREEMENT: &str = "x-bulla-agreement";
/// Most roles that one requirement may name.
pub const MAX_AGREEING: usize = 16;

/// What the collection's owner demands of every bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agreement {
    min: u32,
    roles: Vec<RoleName>,
}

impl Agreement {
    /// At least `min` of `roles`.
    ///
    /// # Errors
    /// A number that cannot be reached or demands nothing, a role twice, a top-level role other than targets, too many roles.
    pub fn new(min: u32, roles: Vec<RoleName>) -> Result<Self, Fault> {
        let format = |why: &str| Err(Fault::Format(format!("\"{AGREEMENT}\": {why}")));
        if roles.len() > MAX_AGREEING {
            return format("more roles than are followed");
        }
        if min == 0 || min as usize > roles.len() {
            return format("\"min\" is not between 1 and the number of roles");
        }
        if roles.iter().enumerate().any(|(i, role)| roles[..i].contains(role)) {
            return format("a role stands there twice");
        }
        if roles.iter().any(|role| role.is_top_level() && *role != RoleName::targets()) {
            return format("a top-level role lists no bundles");
        }
        Ok(Self { min, roles })
    }

    /// What a targets file demands. What is not understood could demand more, so it is an error.
    ///
    /// # Errors
    /// [`Fault::Format`].
    pub fn of(file: &Metadata<Targets>) -> Result<Option<Self>, Fault> {
        Self::read(file.signed())
    }

    /// The same of the untyped signed part.
    ///
    /// # Errors
    /// [`Fault::Format`].
    pub fn read(signed: &Value) -> Result<Option<Self>, Fault> {
        match signed.get(AGREEMENT) {
            None => Ok(None),
            Some(value) => {
                let raw: Self = typed(value).map_err(|e| Fault::Format(format!("\"{AGREEMENT}\": {e}")))?;
                Self::new(raw.min, raw.roles).map(Some)
            }
        }
    }

    /// How many must agree.
    pub fn min(&self) -> usize {
        self.min as usize
    }

    /// Of which roles.
    pub fn roles(&self) -> &[RoleName] {
        &self.roles
    }

    /// As it is written into the file.
    pub fn to_json(&self) -> Value {
        json!(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_demands_nothing_or_the_impossible_is_refused() {
        let roles = |names: &[&str]| names.iter().map(|n| n.parse().unwrap()).collect::<Vec<RoleName>>();
        assert!(Agreement::new(2, roles(&["targets/a", "targets/b"])).is_ok());
        for (min, names) in [
            (0, &["targets/a"][..]),
            (2, &["targets/a"]),
            (1, &[]),
            (1, &["targets/a", "targets/a"]),
            (1, &["snapshot"]),
        ] {
            assert!(Agreement::new(min, roles(names)).is_err(), "{min} of {names:?}");
        }
        let many: Vec<String> = (0..=MAX_AGREEING).map(|i| format!("targets/{i}")).collect();
        assert!(Agreement::new(1, roles(&many.iter().map(String::as_str).collect::<Vec<_>>())).is_err());
    }
}
