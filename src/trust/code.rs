//! The public list of check codes (docs/codes.md). Codes are never renamed or reused.

use std::fmt;

use crate::tuf::{Fault, RoleName, TufError};

/// What a failed check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// Not trusted (exit 1).
    No,
    /// Could not decide (exit 3).
    Undecided,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal $says:ident,)*) => {
        /// A check code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code as it is printed.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What the check says when it fails.
            pub fn says(self) -> Says {
                match self { $(Self::$name => Says::$says,)* }
            }
        }
    };
}

codes! {
    /// Enough sources of the anchor agree.
    Agreement = "agreement" No,
    /// Too few agree, and those that could not be looked at could make up the number.
    AgreementOpen = "agreement.open" Undecided,
    /// Enough of the roles that the collection demands agree.
    AgreementOwner = "agreement.owner" No,
    /// The same as `agreement.open`, of the roles that the collection demands.
    AgreementOwnerOpen = "agreement.owner.open" Undecided,
    /// Too few of the roles that the collection demands agree.
    AgreementOwnerShort = "agreement.owner.short" No,
    /// What the collection demands is not understood.
    AgreementOwnerUnreadable = "agreement.owner.unreadable" Undecided,
    /// Too few sources of the anchor agree.
    AgreementShort = "agreement.short" No,
    /// No anchor's scope covers the reference.
    AnchorNone = "anchor.none" No,
    /// The root names another collection than the anchor.
    AnchorCollection = "anchor.collection" No,
    /// The anchor's root does not verify by itself.
    AnchorRoot = "anchor.root" No,
    /// Who vouches.
    AnchorScope = "anchor.scope" No,
    /// The attestations that are required are there.
    Attestation = "attestation" No,
    /// More hangs on the bundle than is read, and what was read does not suffice.
    AttestationCap = "attestation.cap" Undecided,
    /// One attestation that counts.
    AttestationCounted = "attestation.counted" No,
    /// A member of the predicate is not what the statement asks for.
    AttestationField = "attestation.field" No,
    /// No attestation of that type is on the bundle.
    AttestationNone = "attestation.none" No,
    /// Fewer than required, and what could not be read could make up the number.
    AttestationOpen = "attestation.open" Undecided,
    /// Fewer signers than required say it.
    AttestationShort = "attestation.short" No,
    /// The reference could not be resolved.
    BundleResolve = "bundle.resolve" Undecided,
    /// The registry says that the reference is not there.
    RefAbsent = "ref.absent" Undecided,
    /// The document reads as manifest and as index, or is no manifest.
    BundleAmbiguous = "bundle.ambiguous" No,
    /// The bytes received do not have the digest asked for.
    BundleContent = "bundle.digest" Undecided,
    /// The bundle is listed by digest (stem of the two below).
    BundleRelease = "bundle.release" No,
    /// This digest is not a release of the collection.
    BundleDigestUnlisted = "bundle.digest.unlisted" No,
    /// The size differs from the signed one.
    BundleLength = "bundle.length" No,
    /// The media type differs from the signed one.
    BundleMediaType = "bundle.media-type" No,
    /// The tag names what it must.
    BundleTag = "bundle.tag" No,
    /// The tag names another digest.
    BundleTagMoved = "bundle.tag.moved" No,
    /// The tag still names the previous digest, within ten minutes of the move.
    BundleTagMoving = "bundle.tag.moving" No,
    /// By tag and digest: the tag has moved on.
    BundleTagOutdated = "bundle.tag.outdated" No,
    /// Nobody but the registry says that the tag names this digest.
    BundleTagUnbound = "bundle.tag.unbound" No,
    /// The tag must be current, and nobody says what it names.
    BundleTagUnchecked = "bundle.tag.unchecked" Undecided,
    /// The collection has no entry for this tag.
    BundleTagUnlisted = "bundle.tag.unlisted" No,
    /// An entry cannot be read.
    BundleEntry = "bundle.entry" No,
    /// Index and `bundle.json` of a CNAB bundle say the same.
    Cnab = "cnab" No,
    /// `bundle.json` cannot be read, or is not what the config manifest names.
    CnabBundleJson = "cnab.bundle-json" No,
    /// The config manifest is none, or not the one in the index.
    CnabConfig = "cnab.config" No,
    /// The place has not got an image of the bundle.
    CnabImageAbsent = "cnab.image.absent" Undecided,
    /// The index has another image than `bundle.json` names.
    CnabImageDigest = "cnab.image.digest" No,
    /// The index has an image that `bundle.json` does not name.
    CnabImageExtra = "cnab.image.extra" No,
    /// `bundle.json` names an image that the index has not.
    CnabImageMissing = "cnab.image.missing" No,
    /// Index and `bundle.json` say different media types.
    CnabImageType = "cnab.image.type" No,
    /// Whether the collection lists every image by its digest.
    CnabImages = "cnab.images" No,
    /// The index calls itself one of a CNAB bundle, and is none.
    CnabIndex = "cnab.index" No,
    /// The level of CNAB-Sec that is reached.
    CnabLevel = "cnab.level" No,
    /// The hash of `bundle.json` that the collection lists.
    CnabListed = "cnab.listed" No,
    /// A file of a CNAB bundle was given, and the bundle is none.
    CnabNone = "cnab.none" No,
    /// The relocation map that was given.
    CnabRelocation = "cnab.relocation" No,
    /// The thick archive that was given.
    CnabThick = "cnab.thick" No,
    /// Nobody who vouches lists a thick archive.
    CnabThickUnlisted = "cnab.thick.unlisted" No,
    /// The thin bundle file that was given.
    CnabThin = "cnab.thin" No,
    /// The bundle's parts could not be looked at.
    CnabUnreadable = "cnab.unreadable" Undecided,
    /// The time was set by hand.
    ClockOverride = "clock.override" No,
    /// On an allow list.
    ListedAllowed = "listed.allowed" No,
    /// On a deny list.
    ListedDenied = "listed.denied" No,
    /// A remembered state took part.
    MemoryUsed = "memory.used" No,
    /// The remembered state does not verify.
    MemoryInvalid = "memory.invalid" Undecided,
    /// Several members of the organisation may speak for the name.
    OrganisationAmbiguous = "organisation.ambiguous" No,
    /// An entry for a member is not understood.
    OrganisationEntry = "organisation.entry" Undecided,
    /// The member that speaks for the name.
    OrganisationMember = "organisation.member" No,
    /// No member speaks for the name.
    OrganisationNone = "organisation.none" No,
    /// A member was given names that are not the organisation's.
    OrganisationOverstep = "organisation.overstep" No,
    /// The member's root is not there, or is none.
    OrganisationRoot = "organisation.root" No,
    /// A layout covers the bundle, and this version does not check provenance.
    ProvenanceUnsupported = "provenance.unsupported" Undecided,
    /// The revocation list was read.
    Revocation = "revocation" No,
    /// The bundle is revoked.
    RevocationBundle = "revocation.bundle" No,
    /// A warning of the collection's about this bundle.
    RevocationAdvisory = "revocation.advisory" No,
    /// Listed before, and no longer in the snapshot.
    RevocationDropped = "revocation.dropped" No,
    /// What a collection revokes that need not vouch is not known.
    RevocationOpen = "revocation.open" Undecided,
    /// The role is expired.
    RevocationExpired = "revocation.expired" No,
    /// Without a key that was taken back, a role of the collection lacks signatures.
    RevocationKey = "revocation.key" No,
    /// Delegated, but role or file is not there.
    RevocationMissing = "revocation.missing" No,
    /// Not readable as a list, or of an unknown kind or schema version.
    RevocationUnreadable = "revocation.unreadable" Undecided,
    /// More seals than the cap, and none of those judged serves.
    SealCap = "seal.cap" Undecided,
    /// A seal failed.
    SealInvalid = "seal.invalid" No,
    /// No live state, and no seal that verifies.
    SealNone = "seal.none" No,
    /// Seals were needed and could not be listed or read.
    SealUnreadable = "seal.unreadable" Undecided,
    /// The evidence came from a seal.
    SealUsed = "seal.used" No,
    /// The signatures that the scope requires are there.
    Signature = "signature" No,
    /// The signature's algorithm is not the one that the key forces.
    SignatureAlgorithm = "signature.algorithm" No,
    /// It is about another artifact.
    SignatureArtifact = "signature.artifact" No,
    /// More hangs on the bundle than is read, and what was read does not suffice.
    SignatureCap = "signature.cap" Undecided,
    /// A certificate of the signer's chain is not valid now.
    SignatureCertificateExpired = "signature.certificate.expired" No,
    /// A certificate of the signer's chain was taken back.
    SignatureCertificateRescinded = "signature.certificate.rescinded" No,
    /// The chain breaks a rule.
    SignatureChain = "signature.chain" No,
    /// One signature that counts.
    SignatureCounted = "signature.counted" No,
    /// A critical attribute is not understood, or one that must be critical is not.
    SignatureCritical = "signature.critical" No,
    /// A DSSE envelope with more than one signature.
    SignatureDsse = "signature.dsse" No,
    /// The signature has expired.
    SignatureExpired = "signature.expired" No,
    /// The CA is trusted, for other subjects.
    SignatureIdentity = "signature.identity" No,
    /// Another issuer vouched for the identity than the anchor names.
    SignatureIssuer = "signature.issuer" No,
    /// The signer's key was taken back.
    SignatureKeyRescinded = "signature.key.rescinded" No,
    /// A log entry in it is about another signature.
    SignatureLog = "signature.log" No,
    /// What a log should have signed about a keyless signature, it has not.
    SignatureLogProof = "signature.log.proof" No,
    /// A log entry is of a log that the trusted root does not name.
    SignatureLogUnknown = "signature.log.unknown" No,
    /// Not in the form of a signature.
    SignatureMalformed = "signature.malformed" No,
    /// More signatures than are told of do not count.
    SignatureMore = "signature.more" No,
    /// Nothing on the bundle is a signature.
    SignatureNone = "signature.none" No,
    /// Signatures are not checked for this scope.
    SignatureOff = "signature.off" No,
    /// Fewer signers than required, and what could not be read could make up the number.
    SignatureOpen = "signature.open" Undecided,
    /// Signed by a trusted key, and no signature of the bundle: an attestation.
    SignaturePredicate = "signature.predicate" No,
    /// The signature was taken back.
    SignatureRescinded = "signature.rescinded" No,
    /// Signed by a signing authority, for which there are no anchors.
    SignatureScheme = "signature.scheme" No,
    /// The certificate of a keyless signature was not logged, as far as the trusted root's logs say.
    SignatureSct = "signature.sct" No,
    /// Fewer signers than required.
    SignatureShort = "signature.short" No,
    /// A keyless signature without signed time, or from a time when certificate or authority were not valid.
    SignatureTime = "signature.time" No,
    /// A keyless signature that is in no log.
    SignatureUnlogged = "signature.unlogged" No,
    /// By a key or certificate that no anchor of the scope names.
    SignatureUntrusted = "signature.untrusted" No,
    /// A certificate of the chain is not for signing, or not for issuing.
    SignatureUsage = "signature.usage" No,
    /// The signature's bytes are not those of the key that it names.
    SignatureWrong = "signature.wrong" No,
    /// No state at any place.
    StateAbsent = "state.absent" No,
    /// The live state is older than the memory.
    StateBehind = "state.behind" No,
    /// What lies at the state's tag is no state.
    StateInvalid = "state.invalid" No,
    /// A place of the state was not asked.
    StatePlaceSkipped = "state.place.skipped" No,
    /// The state could not be read.
    StateUnreadable = "state.unreadable" Undecided,
    /// A file belongs to another collection.
    TufCollection = "tuf.collection" No,
    /// A delegated role.
    TufDelegation = "tuf.delegation" No,
    /// A delegated role has less than a third of its life left.
    TufDelegationAgeing = "tuf.delegation.ageing" No,
    /// More roles on the way than the cap.
    TufDelegationCap = "tuf.delegation.cap" Undecided,
    /// A delegated role is expired.
    TufDelegationExpired = "tuf.delegation.expired" No,
    /// Length or hash of a delegated role differ from the snapshot.
    TufDelegationHash = "tuf.delegation.hash" No,
    /// A delegated role is not there.
    TufDelegationMissing = "tuf.delegation.missing" No,
    /// A delegated role is not signed by the keys of its delegator.
    TufDelegationThreshold = "tuf.delegation.threshold" No,
    /// A delegated role has another version than the snapshot says.
    TufDelegationVersion = "tuf.delegation.version" No,
    /// Equal version, other bytes, and no descent from what is remembered.
    TufFork = "tuf.fork" No,
    /// A file is no such role, or not strict JSON.
    TufFormat = "tuf.format" No,
    /// One key under two ids: it counts once.
    TufKeyDuplicate = "tuf.key.duplicate" No,
    /// The final root.
    TufRoot = "tuf.root" No,
    /// The final root has less than a third of its life left.
    TufRootAgeing = "tuf.root.ageing" No,
    /// More rotations than the cap.
    TufRootCap = "tuf.root.cap" Undecided,
    /// The final root is expired.
    TufRootExpired = "tuf.root.expired" No,
    /// Two roots of one version both verify.
    TufRootFork = "tuf.root.fork" No,
    /// A newer root is there but one between is missing.
    TufRootGap = "tuf.root.gap" No,
    /// A root lacks signatures.
    TufRootThreshold = "tuf.root.threshold" No,
    /// A root's version is not the one before plus 1.
    TufRootVersion = "tuf.root.version" No,
    /// Two signatures under one key id.
    TufSignatureDuplicate = "tuf.signature.duplicate" No,
    /// A file is larger than its cap.
    TufSize = "tuf.size" No,
    /// The snapshot.
    TufSnapshot = "tuf.snapshot" No,
    /// The snapshot has less than a third of its life left.
    TufSnapshotAgeing = "tuf.snapshot.ageing" No,
    /// The snapshot is expired.
    TufSnapshotExpired = "tuf.snapshot.expired" No,
    /// Length or hash differ from what the timestamp pins.
    TufSnapshotHash = "tuf.snapshot.hash" No,
    /// The pinned snapshot is not there.
    TufSnapshotMissing = "tuf.snapshot.missing" No,
    /// A role in the snapshot is older than remembered, or gone.
    TufSnapshotRollback = "tuf.snapshot.rollback" No,
    /// The snapshot is not signed by the keys of the final root.
    TufSnapshotThreshold = "tuf.snapshot.threshold" No,
    /// The snapshot's version differs from the timestamp's.
    TufSnapshotVersion = "tuf.snapshot.version" No,
    /// Top-level targets.
    TufTargets = "tuf.targets" No,
    /// Top-level targets has less than a third of its life left.
    TufTargetsAgeing = "tuf.targets.ageing" No,
    /// Top-level targets is expired.
    TufTargetsExpired = "tuf.targets.expired" No,
    /// Length or hash of top-level targets differ from the snapshot.
    TufTargetsHash = "tuf.targets.hash" No,
    /// Top-level targets is not there.
    TufTargetsMissing = "tuf.targets.missing" No,
    /// Top-level targets is not signed by the keys of the final root.
    TufTargetsThreshold = "tuf.targets.threshold" No,
    /// Top-level targets has another version than the snapshot says.
    TufTargetsVersion = "tuf.targets.version" No,
    /// The timestamp.
    TufTimestamp = "tuf.timestamp" No,
    /// The timestamp has less than a third of its life left.
    TufTimestampAgeing = "tuf.timestamp.ageing" No,
    /// The timestamp is expired.
    TufTimestampExpired = "tuf.timestamp.expired" No,
    /// No timestamp in the state.
    TufTimestampMissing = "tuf.timestamp.missing" No,
    /// The timestamp, or the snapshot it names, is below the memory.
    TufTimestampRollback = "tuf.timestamp.rollback" No,
    /// The timestamp is not signed by the keys of the final root.
    TufTimestampThreshold = "tuf.timestamp.threshold" No,
    /// A statement says that the TUF anchors of the scope need not vouch.
    TufWaived = "tuf.waived" No,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One row of failures for a role: missing, hash, threshold, version, rollback, expired.
struct Row {
    missing: Code,
    hash: Code,
    threshold: Code,
    version: Code,
    rollback: Code,
    expired: Code,
}

fn row(role: &RoleName) -> Row {
    match role.as_str() {
        "root" => Row {
            missing: Code::TufRootGap,
            hash: Code::TufFormat,
            threshold: Code::TufRootThreshold,
            version: Code::TufRootVersion,
            rollback: Code::TufRootVersion,
            expired: Code::TufRootExpired,
        },
        "timestamp" => Row {
            missing: Code::TufTimestampMissing,
            hash: Code::TufFormat,
            threshold: Code::TufTimestampThreshold,
            version: Code::TufTimestampRollback,
            rollback: Code::TufTimestampRollback,
            expired: Code::TufTimestampExpired,
        },
        "snapshot" => Row {
            missing: Code::TufSnapshotMissing,
            hash: Code::TufSnapshotHash,
            threshold: Code::TufSnapshotThreshold,
            version: Code::TufSnapshotVersion,
            rollback: Code::TufSnapshotRollback,
            expired: Code::TufSnapshotExpired,
        },
        "targets" => Row {
            missing: Code::TufTargetsMissing,
            hash: Code::TufTargetsHash,
            threshold: Code::TufTargetsThreshold,
            version: Code::TufTargetsVersion,
            rollback: Code::TufSnapshotRollback,
            expired: Code::TufTargetsExpired,
        },
        _ => Row {
            missing: Code::TufDelegationMissing,
            hash: Code::TufDelegationHash,
            threshold: Code::TufDelegationThreshold,
            version: Code::TufDelegationVersion,
            rollback: Code::TufSnapshotRollback,
            expired: Code::TufDelegationExpired,
        },
    }
}

impl From<&TufError> for Code {
    fn from(e: &TufError) -> Self {
        let row = row(&e.role);
        match &e.fault {
            Fault::Missing(_) | Fault::NotListed(_) if e.role == RoleName::revocations() => {
                Self::RevocationMissing
            }
            Fault::Missing(_) | Fault::NotListed(_) => row.missing,
            Fault::Size { .. } => Self::TufSize,
            Fault::Json(_)
            | Fault::Format(_)
            | Fault::Type { .. }
            | Fault::SpecVersion(_)
            | Fault::Key { .. } => Self::TufFormat,
            Fault::DuplicateSignature(_) => Self::TufSignatureDuplicate,
            Fault::Threshold { .. } => row.threshold,
            Fault::Version { .. } => row.version,
            Fault::Rollback { .. } => row.rollback,
            Fault::Dropped(role) if *role == RoleName::revocations() => Self::RevocationDropped,
            Fault::Dropped(_) => Self::TufSnapshotRollback,
            Fault::Fork(_) => Self::TufFork,
            Fault::Hash { .. } => row.hash,
            Fault::Expired { .. } if e.role == RoleName::revocations() => Self::RevocationExpired,
            Fault::Expired { .. } => row.expired,
            Fault::Collection { .. } => Self::TufCollection,
            Fault::RootGap(_) => Self::TufRootGap,
            Fault::RootFork(_) => Self::TufRootFork,
            Fault::Cap { .. } if e.role == RoleName::root() => Self::TufRootCap,
            Fault::Cap { .. } => Self::TufDelegationCap,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_documented() {
        let all: Vec<_> = Code::ALL.iter().map(|c| c.as_str()).collect();
        let unique: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(unique.len(), all.len());
        let page = include_str!("../../docs/codes.md");
        let first_cells = page.lines().filter_map(|l| l.strip_prefix("| `")?.split_once("` |"));
        let documented: std::collections::BTreeSet<_> = first_cells.map(|(code, _)| code).collect();
        assert_eq!(documented, all.into_iter().collect());
    }
}
