//! Which keys are at hand, and a metadata file signed with enough of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::keys::{KeyError, Signer, sign_checked};
use crate::sig::{KeyId, PublicKey};
use crate::tuf::{Draft, RoleKeys, RoleName};

/// The keys of this installation. Who asks names a public key, so that only keys that are needed are opened.
#[async_trait]
pub trait KeyRing: Send + Sync {
    /// Whether the private half of `key` is at hand; asks for no password.
    fn holds(&self, key: &PublicKey) -> bool;

    /// The signer of a key that [`KeyRing::holds`].
    ///
    /// # Errors
    /// It cannot be opened.
    async fn signer(&self, key: &PublicKey) -> Result<Arc<dyn Signer>, KeyError>;
}

/// Keys that are open already.
#[derive(Clone, Default)]
pub struct OpenKeys(pub Vec<Arc<dyn Signer>>);

/// Why a file could not be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// Too few of the role's keys are at hand.
    #[error("{role}: {have} of {need} keys are here; any of {} would do", ids(.missing))]
    Missing {
        /// The role.
        role: RoleName,
        /// Keys at hand.
        have: usize,
        /// The role's threshold.
        need: u32,
        /// Key ids of the role that are not at hand.
        missing: Vec<KeyId>,
    },
    /// A key could not be opened or did not sign.
    #[error(transparent)]
    Key(#[from] KeyError),
}

#[async_trait]
impl KeyRing for OpenKeys {
    fn holds(&self, key: &PublicKey) -> bool {
        self.0.iter().any(|s| s.public_key() == key)
    }

    async fn signer(&self, key: &PublicKey) -> Result<Arc<dyn Signer>, KeyError> {
        let found = self.0.iter().find(|s| s.public_key() == key).cloned();
        found.ok_or_else(|| KeyError::Absent {
            key: key.key_id().to_string(),
            path: std::path::PathBuf::new(),
            known: Vec::new(),
        })
    }
}

/// Whether enough keys of a role are at hand to sign it.
pub fn can_sign(ring: &dyn KeyRing, keys: &RoleKeys) -> bool {
    held(ring, keys).len() >= keys.threshold as usize
}

/// That enough keys of `role` are at hand to sign it.
///
/// # Errors
/// [`SignError::Missing`], with the ids that would do.
pub fn require(ring: &dyn KeyRing, role: &RoleName, keys: &RoleKeys) -> Result<(), SignError> {
    let (held, need) = (held(ring, keys), keys.threshold);
    if held.len() >= need as usize {
        return Ok(());
    }
    let missing = keys.keys.keys().filter(|id| !held.contains_key(id)).cloned().collect();
    Err(SignError::Missing { role: role.clone(), have: held.len(), need, missing })
}

/// The file of `draft`, signed by as many keys of `role` as its threshold asks for.
///
/// # Errors
/// Too few keys at hand, or one that cannot be used.
pub async fn sign(
    ring: &dyn KeyRing,
    role: &RoleName,
    keys: &RoleKeys,
    draft: &Draft,
) -> Result<Bytes, SignError> {
    require(ring, role, keys)?;
    let message = draft.message();
    let mut signatures = BTreeMap::new();
    for (id, key) in held(ring, keys).into_iter().take(keys.threshold as usize) {
        let signer = ring.signer(key).await?;
        signatures.insert(id.clone(), sign_checked(&*signer, &message).await?);
    }
    Ok(draft.assemble(&signatures))
}

/// The id under which a role's keys name the first one that is at hand.
pub fn first_key(ring: &dyn KeyRing, keys: &RoleKeys) -> Option<KeyId> {
    held(ring, keys).into_keys().next().cloned()
}

/// The role's keys that are at hand; one key under two ids counts once.
fn held<'a>(ring: &dyn KeyRing, keys: &'a RoleKeys) -> BTreeMap<&'a KeyId, &'a PublicKey> {
    let mut out: BTreeMap<&KeyId, &PublicKey> = BTreeMap::new();
    for (id, key) in &keys.keys {
        if let Some(key) = key.as_ref().filter(|k| ring.holds(k))
            && !out.values().any(|k| *k == key)
        {
            out.insert(id, key);
        }
    }
    out
}

fn ids(missing: &[KeyId]) -> String {
    missing.iter().map(KeyId::short).collect::<Vec<_>>().join(", ")
}
