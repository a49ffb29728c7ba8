//! Who brought what into a role: from consecutive versions of its file, by their signatures. What a file says of itself (`by`,
//! `set`, `at`) is its signer's word and decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::{DELEGATIONS, RoleFile};
use crate::sig::KeyId;
use crate::time::UnixTime;
use crate::tuf::{RoleName, Version};

/// One version of a role whose signatures were counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedFile {
    /// The role.
    pub role: RoleName,
    /// The file.
    pub file: RoleFile,
    /// When it says that it was signed.
    pub at: UnixTime,
    /// The keys whose signatures hold.
    pub signers: BTreeSet<KeyId>,
    /// Whether the live file is this one or descends from it.
    pub in_line: bool,
}

/// A value that a version has and none of those before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The role.
    pub role: RoleName,
    /// The version that has it first.
    pub version: Version,
    /// SHA-256 of that file, lower-case hex.
    pub hash: String,
    /// The target path.
    pub path: String,
    /// SHA-256 of the target, lower-case hex.
    pub sha256: String,
    /// Whether it has a claim of its own; otherwise it is part of something.
    pub claimed: bool,
    /// The keys that signed that version.
    pub signers: BTreeSet<KeyId>,
    /// When: not before any version that it follows, whatever it says.
    pub at: UnixTime,
    /// Whether the version before is at hand; otherwise it may have come with one that is missing.
    pub certain: bool,
    /// As [`SignedFile::in_line`].
    pub in_line: bool,
}

/// A version that a signed file names among its ancestors, and that is not at hand.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gap {
    /// The role.
    pub role: RoleName,
    /// Its version.
    pub version: Version,
    /// SHA-256 of the file, lower-case hex.
    pub hash: String,
}

/// What the versions at hand say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins {
    /// Each value where it came in, by role and version.
    pub found: Vec<Origin>,
    /// What is missing in between.
    pub gaps: BTreeSet<Gap>,
    /// The oldest version at hand of each role in the live line.
    pub from: BTreeMap<RoleName, Version>,
}

/// Where each value of `files` came in.
pub fn origins(files: &[SignedFile]) -> Origins {
    let mut out = Origins::default();
    let roles: BTreeSet<&RoleName> = files.iter().map(|f| &f.role).collect();
    for role in roles {
        let ours: BTreeMap<&str, &SignedFile> =
            files.iter().filter(|f| f.role == *role).map(|f| (f.file.hash(), f)).collect();
        let first = ours.values().filter(|f| f.in_line).map(|f| f.file.version()).min();
        out.from.extend(first.map(|v| (role.clone(), v)));
        for file in ours.values() {
            of_file(file, &ours, &mut out);
        }
    }
    out.found.sort_by(|a, b| {
        let key = |o: &Origin| (o.role.clone(), o.version, o.hash.clone(), o.path.clone());
        key(a).cmp(&key(b))
    });
    out
}

fn of_file(file: &SignedFile, held: &BTreeMap<&str, &SignedFile>, out: &mut Origins) {
    let ancestors = &file.file.ancestors;
    let (known, missing): (Vec<_>, Vec<_>) =
        ancestors.iter().partition(|(hash, _)| held.contains_key(&hash[..]));
    let known: Vec<&SignedFile> = known.iter().filter_map(|(hash, _)| held.get(&hash[..]).copied()).collect();
    // The parents: ancestors that no other ancestor at hand descends from.
    let behind: BTreeSet<&str> =
        known.iter().flat_map(|f| f.file.ancestors.keys()).map(String::as_str).collect();
    let parents: Vec<&&SignedFile> = known.iter().filter(|f| !behind.contains(f.file.hash())).collect();
    let between: Vec<(&String, &Version)> =
        missing.iter().filter(|(hash, _)| !behind.contains(hash.as_str())).copied().collect();
    for (hash, version) in missing {
        out.gaps.insert(Gap { role: file.role.clone(), version: *version, hash: hash.clone() });
    }
    // Signed later than what it follows, whatever it says.
    let at = known.iter().map(|f| f.at).chain([file.at]).max().unwrap_or(file.at);
    for (path, entry) in file.file.content().entries() {
        let (Some(sha256), false) = (entry.sha256(), path == DELEGATIONS) else { continue };
        let inherited = parents.iter().any(|p| {
            let before = p.file.content().entry(path);
            before.is_some_and(|b| b.sha256() == Some(sha256) && (b.has_claim() || !entry.has_claim()))
        });
        if !inherited {
            out.found.push(Origin {
                role: file.role.clone(),
                version: file.file.version(),
                hash: file.file.hash().to_owned(),
                path: path.clone(),
                sha256: sha256.to_owned(),
                claimed: entry.has_claim(),
                signers: file.signers.clone(),
                at,
                certain: between.is_empty(),
                in_line: file.in_line,
            });
        }
    }
}
