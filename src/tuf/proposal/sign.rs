//! Who must sign a proposal, who has, and what copies of it come to together.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::base::ways;
use super::leaves::leaves;
use super::{Base, Content, Drafted, Group, Proposal, is_online, plain};
use crate::sig::KeyId;
use crate::tuf::metadata::count;
use crate::tuf::{RoleKeys, RoleName, SignatureCount, TufError};

/// One set of keys of which a threshold must sign a draft.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needed {
    /// The draft.
    pub role: RoleName,
    /// Whose keys.
    pub by: SignedBy,
    /// The keys and the threshold.
    pub keys: RoleKeys,
    /// Who signed; signatures are verified.
    pub count: SignatureCount,
}

/// Whose keys must sign.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SignedBy {
    /// The root keys of the published root.
    PublishedRoot,
    /// The root keys of the draft itself.
    ProposedRoot,
    /// The role's keys, as this role would name them.
    Delegator(RoleName),
}

/// A signature in a copy that is not valid, or that nobody asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadSignature {
    /// Which copy, from 0.
    pub copy: usize,
    /// The draft.
    pub role: RoleName,
    /// The key id that it stands under.
    pub key: KeyId,
    /// Whether a key of that id must sign: then the signature is wrong.
    pub known: bool,
}

/// What copies come to.
#[derive(Debug, Clone)]
pub struct Merged {
    /// The proposal, with every valid signature of any copy and no other.
    pub proposal: Proposal,
    /// What was left out.
    pub bad: Vec<BadSignature>,
}

/// Copies that are not of one proposal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// There is none.
    #[error("no copy")]
    None,
    /// They differ in what would be signed or installed.
    #[error("copy {copy} is of another proposal: {what}")]
    Differs {
        /// Which copy, from 1.
        copy: usize,
        /// Where they differ.
        what: String,
    },
    /// A draft leads nowhere.
    #[error(transparent)]
    Tuf(#[from] TufError),
}

impl Needed {
    /// Whether enough have signed.
    pub fn is_met(&self) -> bool {
        self.count.is_met()
    }

    /// How many more must sign.
    pub fn lacking(&self) -> usize {
        (self.count.threshold as usize).saturating_sub(self.count.signed.len())
    }
}

impl Proposal {
    /// Every set of keys of which a threshold must sign, draft by draft, root first. For a root these are two: the published
    /// root's keys and its own (specification 5.3.4). A targets role is judged by the delegators that the proposal creates.
    ///
    /// # Errors
    /// More delegations than are followed, or a draft of a role that nothing would lead to.
    pub fn signers(&self, base: &Base) -> Result<Vec<Needed>, TufError> {
        let mut out = Vec::new();
        for (role, by, keys) in self.key_sets(base)? {
            let Some(draft) = self.drafts().get(&role) else { continue };
            let count = count(&draft.message(), draft.signatures(), &keys);
            out.push(Needed { role, by, keys, count });
        }
        Ok(out)
    }

    fn key_sets(&self, base: &Base) -> Result<Vec<(RoleName, SignedBy, RoleKeys)>, TufError> {
        let (root, targets) = (RoleName::root(), RoleName::targets());
        let drafted = self.drafts().get(&root).and_then(Drafted::root);
        let mut out = Vec::new();
        if let Some(draft) = drafted {
            if let Some(published) = base.root() {
                out.push((root.clone(), SignedBy::PublishedRoot, published.role().root_keys().clone()));
            }
            out.push((root.clone(), SignedBy::ProposedRoot, draft.root_keys().clone()));
        }
        let Some(final_root) = drafted.or_else(|| base.root().map(|r| r.role())) else {
            return Err(TufError::new(
                &root,
                crate::tuf::Fault::Format("there is no root and none is proposed".into()),
            ));
        };
        let content = |role: &RoleName| {
            let draft = self.drafts().get(role).and_then(Drafted::targets);
            draft.or_else(|| base.role(role).map(|file| file.role()))
        };
        let ways = ways(final_root.targets_keys(), content)?;
        let mut roles: Vec<&RoleName> =
            self.drafts().keys().filter(|r| **r != root && !is_online(r)).collect();
        roles.sort_by_key(|r| (**r != targets, r.as_str().to_owned()));
        for role in roles {
            let ways = ways.get(role).map(Vec::as_slice).unwrap_or_default();
            if ways.is_empty() {
                return Err(TufError::new(role, crate::tuf::Fault::NotListed(targets)));
            }
            for way in ways {
                let set = (role.clone(), SignedBy::Delegator(way.by.clone()), way.keys.clone());
                out.push(set);
            }
        }
        for role in self.drafts().keys().filter(|r| is_online(r)) {
            let keys = final_root.keys(role).cloned();
            out.extend(keys.map(|keys| (role.clone(), SignedBy::Delegator(root.clone()), keys)));
        }
        Ok(out)
    }

    /// The signed files, once every threshold holds, old ones and new ones. Only valid signatures are in them.
    ///
    /// # Errors
    /// Who is missing.
    pub fn complete(&self, base: &Base) -> Result<Group, Incomplete> {
        let needed = self.signers(base).map_err(Incomplete::Tuf)?;
        if needed.iter().any(|n| !n.is_met()) {
            return Err(Incomplete::Missing(needed.into_iter().filter(|n| !n.is_met()).collect()));
        }
        let file = |role: &RoleName, draft: &Drafted| -> Bytes {
            let sets = needed.iter().filter(|n| n.role == *role);
            let valid: BTreeMap<KeyId, Vec<u8>> = sets
                .flat_map(|n| n.count.signed.iter().chain(&n.count.repeated))
                .filter_map(|id| draft.signatures().get(id).map(|s| (id.clone(), s.clone())))
                .collect();
            draft.file(&valid)
        };
        let mut group = Group { files: self.files().clone(), ..Group::default() };
        for (role, draft) in self.drafts() {
            let bytes = file(role, draft);
            match &draft.content {
                Content::Root(_) => group.root = Some(bytes),
                Content::Targets(_) => drop(group.roles.insert(role.clone(), bytes)),
                // Whoever commits makes them anew, and takes the signatures.
                Content::Snapshot(_) | Content::Timestamp(_) => {}
            }
        }
        Ok(group)
    }
}

/// Why a proposal cannot be installed yet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Incomplete {
    /// Signatures are missing.
    #[error("{}", .0.iter().map(missing).collect::<Vec<_>>().join("; "))]
    Missing(Vec<Needed>),
    /// It leads nowhere.
    #[error(transparent)]
    Tuf(TufError),
}

fn missing(needed: &Needed) -> String {
    let ids: Vec<&str> = needed.count.missing.iter().map(KeyId::short).collect();
    let whose = match &needed.by {
        SignedBy::PublishedRoot => " (published root keys)".to_owned(),
        SignedBy::ProposedRoot => " (proposed root keys)".to_owned(),
        SignedBy::Delegator(_) => String::new(),
    };
    let (have, need) = (needed.count.signed.len(), needed.count.threshold);
    format!(
        "{}{whose}: {have} of {need} signatures, {} more of {}",
        needed.role,
        needed.lacking(),
        ids.join(", ")
    )
}

/// The copies of one proposal together: every valid signature, and what was wrong with the others.
///
/// # Errors
/// The copies are not of one proposal: the place where they differ is named.
pub fn merge(copies: &[Proposal], base: &Base) -> Result<Merged, MergeError> {
    let Some((first, others)) = copies.split_first() else { return Err(MergeError::None) };
    for (i, other) in others.iter().enumerate() {
        if let Some(what) = differs(first, other) {
            return Err(MergeError::Differs { copy: i + 2, what });
        }
    }
    let sets = first.key_sets(base)?;
    let mut proposal = first.clone();
    let mut bad = Vec::new();
    for (role, draft) in &mut proposal.drafts {
        let message = draft.message();
        let mut valid: BTreeMap<KeyId, Vec<u8>> = BTreeMap::new();
        for (copy, other) in copies.iter().enumerate() {
            let Some(theirs) = other.drafts.get(role) else { continue };
            for (id, signature) in &theirs.signatures {
                let keys = sets.iter().filter(|(r, ..)| r == role).filter_map(|(_, _, k)| k.keys.get(id));
                let keys: Vec<_> = keys.collect();
                let good = keys.iter().any(|k| k.as_ref().is_some_and(|k| k.verify(&message, signature)));
                if good {
                    valid.entry(id.clone()).or_insert_with(|| signature.clone());
                } else if !signature.is_empty() {
                    let known = !keys.is_empty();
                    bad.push(BadSignature { copy, role: role.clone(), key: id.clone(), known });
                }
            }
        }
        draft.signatures = valid;
    }
    Ok(Merged { proposal, bad })
}

/// Where two proposals differ in what would be signed or installed; words and what is carried do not count.
fn differs(a: &Proposal, b: &Proposal) -> Option<String> {
    if a.collection != b.collection {
        return Some(format!("it is for {}, not {}", b.collection, a.collection));
    }
    for role in a.drafts.keys().chain(b.drafts.keys()) {
        let name = plain(role.as_str());
        match (a.drafts.get(role), b.drafts.get(role)) {
            (Some(x), Some(y)) => {
                let places = leaves(x.signed(), y.signed());
                if let Some(leaf) = places.first() {
                    return Some(format!("{name}: {} differs", plain(&leaf.at.join("."))));
                }
            }
            _ => return Some(format!("{name} is drafted in one of them only")),
        }
    }
    if a.base != b.base {
        return Some("they stand on different files".into());
    }
    let path = a.files.keys().chain(b.files.keys()).find(|p| a.files.get(*p) != b.files.get(*p));
    path.map(|p| format!("the file {} differs", plain(p)))
}
