//! Submissions: which are listed, what lies at their tags, and why one is not in.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::round::Round;
use super::{CONCURRENCY, Committer, Ledger, MAX_SUBMISSIONS, Pending, Reason, WorkError};
use crate::client::submission::{Fetched, Offer, Submission, SubmissionTag, fetch, offered};
use crate::client::whole::{RoleAt, Whole, is_own_file};
use crate::store::{Failure, Store, StoreError};
use crate::trust::check_submitted;
use crate::tuf::lineage::{RoleFile, Verdict, View, WINDOW};
use crate::tuf::proposal::Seat;
use crate::tuf::{RoleName, RootChain, TufError};

impl Committer<'_> {
    /// The submissions that are listed. The list begins with the state's own tag: one that does not show it was not had,
    /// whatever the answer was (registries say 404 for "no tags" and for "no such list" alike).
    pub(super) async fn list(&self, has_state: bool) -> Result<Vec<SubmissionTag>, StoreError> {
        let state = self.collection.state_tag();
        let before = &state.as_str()[..state.as_str().len() - 1];
        let tags = match self.place.tags(Some(before)).await {
            Err(e) if e.is_not_found() => Vec::new(),
            other => other?,
        };
        if has_state && !tags.iter().any(|t| t.as_str().starts_with(state.as_str())) {
            let failure = Failure::Protocol(format!("the tag {state}, which was just read, is not listed"));
            return Err(StoreError::new(self.place.place(), "list tags", failure));
        }
        let read: BTreeSet<_> = tags.iter().filter_map(|t| SubmissionTag::read(self.collection, t)).collect();
        Ok(read.into_iter().collect())
    }

    /// Fetch the submissions of which the tag alone does not say that they are in or stale, newest first.
    pub(super) async fn look(
        &self,
        chain: &RootChain,
        roles: &BTreeMap<RoleName, RoleAt>,
        vacant: &BTreeMap<RoleName, Seat>,
        listed: &[SubmissionTag],
        ledger: &mut Ledger,
    ) -> Result<(Vec<Submission>, Vec<SubmissionTag>), WorkError> {
        let (root, settled) = (RoleName::root(), chain.last().version());
        let seats = roles.iter().map(|(role, at)| (role.clone(), at.seat()));
        let seats: BTreeMap<RoleName, Seat> = seats.chain(vacant.clone()).collect();
        let mut views = Vec::new();
        for (role, at) in roles {
            let file = RoleFile::of(&at.file).map_err(|fault| TufError::new(role, fault))?;
            views.push((role, View::of(&file)));
        }
        let mut wanted: Vec<&SubmissionTag> = listed
            .iter()
            .filter(|tag| {
                if tag.is_of(&root) {
                    // A root goes on top of the one before it, or nowhere.
                    return tag.version() > settled;
                }
                let view = views.iter().find(|(role, _)| tag.is_of(role)).map(|(_, view)| view);
                view.is_none_or(|v| !v.knows(tag.hash()) && !v.is_past(tag.version()))
            })
            .collect();
        // The newest first; but what is too new to be related could be anybody's.
        wanted.sort_by_key(|tag| {
            let view = views.iter().find(|(role, _)| tag.is_of(role)).map(|(_, view)| view.version().get());
            let ahead = view.is_none_or(|v| tag.version().get() > v + WINDOW);
            (ahead, std::cmp::Reverse(tag.version()))
        });
        // Each role in turn: what is put at the tags of one stands in the way of no other's.
        let mut turns: BTreeMap<&str, usize> = BTreeMap::new();
        let mut ranked: Vec<(usize, &SubmissionTag)> = Vec::new();
        for tag in wanted {
            let turn = turns.entry(tag.role_part()).or_default();
            ranked.push((*turn, tag));
            *turn += 1;
        }
        let known = |tag: &SubmissionTag| tag.is_of(&root) || seats.keys().any(|role| tag.is_of(role));
        ranked.sort_by_key(|(turn, tag)| (!known(tag), *turn));
        let mut wanted: Vec<&SubmissionTag> = ranked.into_iter().map(|(_, tag)| tag).collect();
        let rest = wanted.split_off(wanted.len().min(MAX_SUBMISSIONS));
        let unknown: Vec<_> = wanted
            .iter()
            .filter(|t| !ledger.fetched.contains_key(t) && !ledger.mine.values().any(|m| m.tag == ***t))
            .map(|t| (*t).clone())
            .collect();
        let now = self.clock.now();
        let (left, seats) = (&ledger.left, &seats);
        let offers: Vec<_> = stream::iter(unknown)
            .map(|tag| async move {
                let offer = offered(self.place, self.collection, &tag, seats).await?;
                Ok::<_, StoreError>((tag, offer))
            })
            .buffered(CONCURRENCY)
            .try_collect()
            .await?;
        let mut worth = Vec::new();
        for (tag, offer) in offers {
            match offer {
                Offer::Files(manifest, size) => worth.push((size, tag, manifest)),
                Offer::Nothing(fetched) => drop(ledger.fetched.insert(tag, fetched)),
            }
        }
        // The smallest first: a few large ones, which need no key, shall not use up what may be fetched.
        worth.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        let fetched: Vec<_> = stream::iter(worth)
            .map(|(_, tag, manifest)| async move {
                let fetched = fetch(self.place, self.collection, &tag, manifest, seats, left, now).await?;
                Ok::<_, StoreError>((tag, fetched))
            })
            .buffered(CONCURRENCY)
            .try_collect()
            .await?;
        ledger.fetched.extend(fetched);
        let mut seen: BTreeMap<String, Submission> = ledger.mine.clone();
        for tag in wanted {
            if let Some(Fetched::Valid(s)) = ledger.fetched.get(tag) {
                // It was fetched before the role's keys were rotated.
                if seats.get(&s.role).is_none_or(|seat| !s.file.count(&seat.keys).is_met()) {
                    ledger.refused.insert(tag.clone(), Reason::Rotated);
                    continue;
                }
                seen.insert(s.lineage.hash().to_owned(), (**s).clone());
            }
        }
        Ok((seen.into_values().collect(), rest.into_iter().cloned().collect()))
    }

    /// Without the submissions that list a file of the whole collection which nobody has: with one of them the next state would
    /// be of no use to anybody; and without those whose revocation list cannot be read, which none could be joined with. Each is invalid alone, so that the others go on.
    pub(super) fn with_their_files(
        &self,
        mut seen: Vec<Submission>,
        known: &[&Whole],
        ledger: &mut Ledger,
    ) -> Vec<Submission> {
        loop {
            let bytes = |path: &str| -> Vec<Bytes> {
                let files = known.iter().map(|w| w.files()).chain(seen.iter().map(|s| &s.files));
                files.filter_map(|f| f.target(path).cloned()).collect()
            };
            let lacking = |s: &Submission| {
                let own =
                    s.file.role().targets().iter().filter(|(path, _)| is_own_file(self.collection, path));
                let mut lost =
                    own.filter(|(path, target)| bytes(path).iter().all(|b| target.check(b).is_err()));
                lost.next().map(|(path, _)| path.clone())
            };
            let unreadable = |s: &Submission| {
                let path = self.collection.revocations_path();
                let target =
                    s.file.role().targets().get(&path).filter(|_| s.role == RoleName::revocations())?;
                let list = bytes(&path).into_iter().find(|b| target.check(b).is_ok())?;
                self.list_fault(&list, known)
            };
            let fault = |s: &Submission| {
                let nobody = |path| format!("it lists {path}, and nobody has that file");
                lacking(s).map(nobody).or_else(|| unreadable(s))
            };
            let theirs = |s: &&Submission| !ledger.mine.contains_key(s.lineage.hash());
            let found = seen.iter().filter(theirs).find_map(|s| Some((s.tag.clone(), fault(s)?)));
            let Some((tag, why)) = found else { return seen };
            seen.retain(|s| s.tag != tag);
            ledger.fetched.insert(tag, Fetched::Invalid(why));
        }
    }

    /// Why a revocation list that was submitted must not go in: it cannot be read, or leaves no room for further entries.
    pub(super) fn list_fault(&self, list: &Bytes, known: &[&Whole]) -> Option<String> {
        let path = self.collection.revocations_path();
        let published: Vec<&[u8]> =
            known.iter().filter_map(|w| w.files().target(&path)).map(|b| &b[..]).collect();
        if published.contains(&&list[..]) {
            return None;
        }
        check_submitted(list, &published).err().map(|why| format!("its {path}: {why}"))
    }

    pub(super) fn pending(
        &self,
        ledger: &Ledger,
        round: &Round,
        verdicts: &BTreeMap<String, (RoleName, Verdict)>,
    ) -> Vec<Pending> {
        let mut out = Vec::new();
        for tag in &round.listed {
            let root = RoleName::root();
            let role = round.roles.keys().chain([&root]).find(|r| tag.is_of(r)).cloned();
            let verdict = verdicts.iter().find(|(hash, _)| hash.starts_with(tag.hash())).map(|(_, v)| v.1);
            if let Some(reason) = ledger.refused.get(tag).filter(|_| !ledger.settled.contains(tag)) {
                out.extend(tag.tag(self.collection).map(|name| Pending {
                    tag: name,
                    role,
                    version: tag.version(),
                    reason: reason.clone(),
                }));
                continue;
            }
            let reason = match (verdict, ledger.fetched.get(tag)) {
                (_, Some(Fetched::Invalid(why))) => Reason::Invalid(why.clone()),
                (_, Some(Fetched::TooMuch)) => Reason::NotLookedAt,
                (Some(Verdict::Fork | Verdict::FastForward), _) => Reason::Fork,
                (Some(Verdict::Stale), _) => Reason::Stale,
                (Some(Verdict::Ahead), _) => Reason::Ahead,
                _ if round.not_looked_at.contains(tag) => Reason::NotLookedAt,
                _ => continue,
            };
            if let Some(name) = tag.tag(self.collection) {
                out.push(Pending { tag: name, role, version: tag.version(), reason });
            }
        }
        out
    }
}
