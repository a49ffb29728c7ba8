//! The revocation list among the files that are folded: every entry that anybody signed stays, whatever stood beside it.

use bytes::Bytes;
use serde_json::json;

use super::round::Round;
use super::{Committer, Concern, Intents, Job, Ledger, Refusal, WorkError};
use crate::client::signing::{first_key, require};
use crate::client::submission::Submission;
use crate::client::whole::RoleAt;
use crate::oci::Digest;
use crate::trust::{RevocationList, has_room, join_revocations};
use crate::tuf::lineage::{Change, Folded, Verdict};
use crate::tuf::{CollectionName, Files, Metadata, RoleName, Targets};

/// A list without entries.
const EMPTY: &[u8] = br#"{"entries":[],"schemaVersion":1}"#;

/// The lists of the files that were folded.
pub(super) struct Lists {
    path: String,
    /// The hash that the fold names, and whether its bytes are the first of `all`.
    kept: Option<String>,
    found: bool,
    all: Vec<Bytes>,
}

impl Lists {
    pub(super) fn of(
        collection: &CollectionName,
        round: &Round,
        folded: &Folded,
        submissions: &[&Submission],
    ) -> Self {
        let (path, role) = (collection.revocations_path(), RoleName::revocations());
        let wholes: Vec<_> = round.live.iter().chain(&round.memory).collect();
        let sources = || wholes.iter().map(|w| w.files()).chain(submissions.iter().map(|s| &s.files));
        let bytes = |sha256: &str| {
            let lists = sources().filter_map(|files| files.target(&path));
            lists.into_iter().find(|b| Digest::sha256(b).hex() == sha256).cloned()
        };
        let kept = folded.view.content().entry(&path).and_then(|e| e.sha256()).map(str::to_owned);
        let mut all: Vec<Bytes> = kept.iter().filter_map(|hash| bytes(hash)).collect();
        let found = !all.is_empty();
        let related = |file: &Metadata<Targets>| {
            let verdict = folded.verdicts.get(file.digest().hex());
            verdict.is_some_and(|v| !matches!(v, Verdict::Stale | Verdict::Ahead))
        };
        let files = wholes.iter().filter_map(|w| w.role(&role)).chain(submissions.iter().map(|s| &s.file));
        for file in files.filter(|f| related(f)) {
            let hash = file.role().targets().get(&path).and_then(|t| t.sha256());
            let list = hash.and_then(bytes).filter(|list| !all.contains(list));
            // One that cannot be read must not stop who can sign a better one; the one that stands must.
            all.extend(list.filter(|list| RevocationList::parse(list).is_ok()));
        }
        Self { path, kept, found, all }
    }

    /// Without the list that stands, where it cannot be read: somebody decided so.
    fn without_unreadable(&self) -> Option<Self> {
        let stands = self.all.first().filter(|_| self.found)?;
        RevocationList::parse(stands).err()?;
        let all = std::iter::once(Bytes::from_static(EMPTY)).chain(self.all.iter().skip(1).cloned());
        Some(Self { path: self.path.clone(), kept: self.kept.clone(), found: true, all: all.collect() })
    }
}

impl Committer<'_> {
    /// The change that lets the list hold every entry of `lists` and those that the job adds; its bytes go into `files`.
    pub(super) fn joined_list(
        &self,
        job: &Job<'_>,
        ledger: &mut Ledger,
        at: &RoleAt,
        lists: &Lists,
        may_sign: bool,
        files: &mut Files,
    ) -> Result<Option<Change>, WorkError> {
        let refused = |why| WorkError::Refused(Refusal::Revocations(why));
        let missing = || WorkError::TargetFile { role: RoleName::revocations(), path: lists.path.clone() };
        let concerned = |i: &&dyn Intents| i.concern(&RoleName::revocations()) != Concern::No;
        let intents = job.intents.filter(|i| !ledger.asked && concerned(i));
        let replaced = intents.filter(|i| i.replaces_unreadable()).and_then(|_| lists.without_unreadable());
        let anew = replaced.is_some();
        let lists = replaced.as_ref().unwrap_or(lists);
        if let Some(list) = lists.all.first().filter(|_| lists.found) {
            files.put_target(lists.path.clone(), list.clone());
        }
        let all: Vec<&[u8]> = lists.all.iter().map(|l| &l[..]).collect();
        let mut more = Vec::new();
        if let Some(intents) = intents {
            let joined = join_revocations(&all, &[]).map_err(refused)?;
            let known = joined.as_deref().or_else(|| all.first().copied());
            let known = RevocationList::parse(known.unwrap_or_default()).map_err(refused)?;
            let any = || at.keys.keys.keys().next().cloned();
            if let Some(by) = first_key(self.keys, &at.keys).or_else(any) {
                more = intents.revocations(&known, &by, self.clock.now());
            }
            if !more.is_empty() && lists.kept.is_some() && !lists.found {
                return Err(missing());
            }
            if !has_room(&known, &more) {
                return Err(WorkError::Refused(Refusal::ListFull(known.entries().len())));
            }
            if !more.is_empty() && !may_sign {
                ledger.lacking.extend(require(self.keys, &RoleName::revocations(), &at.keys).err());
                return Ok(None);
            }
        }
        // Without its bytes the kept list cannot be joined with anything; the commit says so.
        if !may_sign || !lists.found && (lists.kept.is_some() || more.is_empty()) {
            return Ok(None);
        }
        let joined = match join_revocations(&all, &more).map_err(refused)? {
            Some(joined) => joined,
            None if anew => all.first().map(|list| list.to_vec()).unwrap_or_default(),
            None => return Ok(None),
        };
        let value = json!({"length": joined.len(), "hashes": {"sha256": Digest::sha256(&joined).hex()}});
        files.put_target(lists.path.clone(), joined.into());
        Ok(Some(Change::Set { path: lists.path.clone(), value }))
    }
}
