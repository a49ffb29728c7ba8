//! The list of referrers at a tag, where there is no API (distribution-spec "Referrers Tag Schema").
//!
//! Registries have no conditional PUT: whoever writes a list may overwrite what another has just added. So a list is
//! written at most half a window after it was asked for, else it is read anew; and who wrote one waits for a whole window,
//! reads back, and merges again until the list stood still for a window with all of his in it. A slower writer must have
//! written by then, or has read ours. What remains: a registry or network that holds a PUT back for longer than that.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt};
use reqwest::header::{HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use serde_json::{Value, json};

use super::Registry;
use super::notices::Notice;
use super::referrers::{MAX_ENTRIES, absent, too_many};
use super::retry::jittered;
use crate::oci::{Content, Descriptor, Digest, Manifest, Tag, media_type, sorted_json};
use crate::store::{Failure, Replaced};

/// How often a list is written for one call before others are held to win for ever.
const MERGES: u32 = 12;
/// How often a list that others write too is looked at until it stands still.
const LOOKS: u32 = 60;
/// Lists that wait side by side.
const WIDTH: usize = 64;
/// Longest window.
const LONGEST: Duration = Duration::from_secs(5);

/// The lists of one repository that this run writes.
#[derive(Default)]
pub(super) struct Lists {
    /// One writer at a time for each.
    turns: Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>,
    /// Written, and not yet believed.
    open: Mutex<HashMap<Digest, Written>>,
    /// Held while these are looked at, so that nobody returns before his are.
    settling: tokio::sync::Mutex<()>,
    /// The registry names manifests by `ETag`, and has not been found to refuse what it should take.
    conditions: Conditions,
    quickest: Mutex<Option<Duration>>,
}

/// When a list was asked for, and how much later it may still be written.
struct Read {
    asked: Instant,
    good_for: Duration,
}

/// What stood at the tag before a list is written there.
struct Before {
    tag: Tag,
    now: AtTag,
    read: Read,
    /// The tag is a real one, and names the subject.
    taken: bool,
}

#[derive(Default)]
struct Conditions {
    seen: AtomicBool,
    broken: AtomicBool,
}

/// A list that this run wrote.
struct Written {
    wanted: Vec<Descriptor>,
    /// The list as it was last written or seen, and when.
    seen: Digest,
    at: Instant,
    window: Duration,
    puts: u32,
}

/// What the tag names.
pub(super) enum AtTag {
    /// Nothing.
    Nothing,
    /// The subject itself: GitLab takes the tag for the digest, cosign copy really writes it.
    Subject,
    /// A list.
    List(TagList),
}

/// A list at a referrers tag: entries once each, and the document as it stands.
pub(super) struct TagList {
    digest: Digest,
    entries: Vec<Descriptor>,
    document: Value,
    etag: Option<HeaderValue>,
}

impl AtTag {
    /// The entries, none where there is no list.
    pub(super) fn entries(self) -> Vec<Descriptor> {
        match self {
            Self::List(list) => list.entries,
            Self::Nothing | Self::Subject => Vec::new(),
        }
    }

    /// The list as it stands.
    pub(super) fn document(&self) -> Option<&Value> {
        self.list().map(|list| &list.document)
    }

    /// Whether both are the same list, or both the subject, or both nothing.
    fn is_still(&self, before: &Self) -> bool {
        match (self, before) {
            (Self::List(now), Self::List(before)) => now.digest == before.digest,
            (Self::Nothing, Self::Nothing) | (Self::Subject, Self::Subject) => true,
            _ => false,
        }
    }

    fn list(&self) -> Option<&TagList> {
        match self {
            Self::List(list) => Some(list),
            Self::Nothing | Self::Subject => None,
        }
    }
}

/// How one look at a list, with a write if one was needed, ended.
enum Merge {
    /// All are there.
    There(Digest),
    /// They were added.
    Put { list: Digest, window: Duration },
    /// The list was too old to be written, or another stands there by now.
    Again,
}

impl Registry {
    /// What stands at the referrers tag.
    pub(super) async fn read_tag(&self, subject: &Digest) -> Result<AtTag, Failure> {
        let tag = referrers_tag(subject)?;
        let Some((content, etag)) = self.pull_named(tag.as_str(), None).await? else {
            return Ok(AtTag::Nothing);
        };
        if subject.matches(content.bytes()) {
            return Ok(AtTag::Subject);
        }
        let foreign =
            |why: String| Failure::Foreign(format!("the tag {tag} holds {why}, not a list of referrers"));
        if !media_type::is_index(content.media_type()) {
            return Err(foreign(format!("the type {}", super::answer::clean(content.media_type()))));
        }
        let index = Manifest::parse(&content)?;
        if index.subject.is_some() {
            return Err(foreign("an index with a subject".into()));
        }
        if index.manifests.iter().any(|e| e.platform.is_some()) {
            return Err(foreign("an index of platforms".into()));
        }
        let document =
            serde_json::from_slice(content.bytes()).map_err(|e| Failure::Protocol(e.to_string()))?;
        if index.manifests.len() > MAX_ENTRIES {
            return Err(too_many(index.manifests.len()));
        }
        let mut listed = HashSet::new();
        let entries = index.manifests.into_iter().filter(|e| listed.insert(e.digest.clone())).collect();
        // A weak validator cannot be a condition (RFC 9110 13.1.1).
        let etag = etag.filter(|e| e.as_bytes().starts_with(b"\""));
        self.memo.lists.conditions.seen.fetch_or(etag.is_some(), Ordering::Relaxed);
        Ok(AtTag::List(TagList { digest: content.digest().clone(), entries, document, etag }))
    }

    /// Add to the list at the referrers tag: one PUT, unless others interfere. [`Registry::settle`] must follow.
    pub(super) async fn add_to_list(&self, subject: &Digest, wanted: &[Descriptor]) -> Result<(), Failure> {
        let turn = self.memo.lists.turn(subject);
        let _alone = turn.lock().await;
        for _ in 0..MERGES {
            match self.merge(subject, wanted).await? {
                Merge::There(_) => return Ok(()),
                Merge::Put { list, window } => {
                    self.memo.lists.written(subject, wanted, list, window);
                    return Ok(());
                }
                Merge::Again => {}
            }
        }
        Err(always_written(subject))
    }

    /// Wait until the lists that this run wrote are out of the reach of slower writers, and what was lost is listed again.
    pub(super) async fn settle(&self) -> Result<(), (Digest, Failure)> {
        let lists = &self.memo.lists;
        let _alone = lists.settling.lock().await;
        let open = std::mem::take(&mut *lists.open.lock().unwrap_or_else(PoisonError::into_inner));
        let mut settled = stream::iter(open)
            .map(|(subject, mut written)| async move {
                let end = self.settle_one(&subject, &mut written).await;
                (subject, written, end)
            })
            .buffer_unordered(WIDTH);
        let mut first = Ok(());
        while let Some((subject, written, end)) = settled.next().await {
            if let Err(failure) = end {
                // Whoever asks next must not be told that all is well.
                let mut open = lists.open.lock().unwrap_or_else(PoisonError::into_inner);
                open.entry(subject.clone()).or_insert(Written { puts: 0, ..written });
                first = first.and(Err((subject, failure)));
            }
        }
        first
    }

    async fn settle_one(&self, subject: &Digest, written: &mut Written) -> Result<(), Failure> {
        let mut listed = false;
        for look in 0..LOOKS {
            // At least a whole window; writers who have met go apart (jittered() gives half of what it gets and more).
            let wait = if look == 0 { written.window } else { jittered(written.window * 2) };
            let until = written.at + wait;
            tokio::time::sleep(until.saturating_duration_since(Instant::now())).await;
            let turn = self.memo.lists.turn(subject);
            let _alone = turn.lock().await;
            match self.merge(subject, &written.wanted).await? {
                // It stood still for a window.
                Merge::There(list) if list == written.seen => return Ok(()),
                Merge::There(list) => {
                    (written.seen, listed) = (list, true);
                    written.at = Instant::now();
                }
                Merge::Put { list, window } => {
                    (written.seen, listed) = (list, false);
                    (written.at, written.window) = (Instant::now(), window.max(written.window));
                    written.puts += 1;
                    if written.puts >= MERGES {
                        break;
                    }
                }
                Merge::Again => {}
            }
        }
        let missing = missing(&written.wanted, &self.read_tag(subject).await?);
        match (missing.is_empty(), listed) {
            (true, true) => Ok(()),
            (true, false) => Err(always_written(subject)),
            (false, _) => Err(self.lost(&missing)),
        }
    }

    /// Read the list, and write it with what is missing.
    async fn merge(&self, subject: &Digest, wanted: &[Descriptor]) -> Result<Merge, Failure> {
        let before = self.read_to_write(subject).await?;
        let missing = missing(wanted, &before.now);
        if let (true, Some(list)) = (missing.is_empty(), before.now.list()) {
            return Ok(Merge::There(list.digest.clone()));
        }
        let ours = wanted.iter().filter(|w| missing.contains(&w.digest));
        let list = merged(before.now.document().cloned(), ours);
        Ok(match self.write_over(subject, &before, &list).await? {
            Some(window) => Merge::Put { list: list.digest().clone(), window },
            None => Merge::Again,
        })
    }

    /// Write another list in place of what was `judged`; `false` when something else stands there by now.
    /// [`Registry::settle`] must follow.
    pub(super) async fn rewrite(
        &self,
        subject: &Digest,
        wanted: &[Descriptor],
        judged: &AtTag,
        document: Value,
    ) -> Result<bool, Failure> {
        let turn = self.memo.lists.turn(subject);
        let _alone = turn.lock().await;
        let before = self.read_to_write(subject).await?;
        if !before.now.is_still(judged) {
            return Ok(false);
        }
        let list = merged(Some(document), std::iter::empty());
        let Some(window) = self.write_over(subject, &before, &list).await? else {
            return Ok(false);
        };
        self.memo.lists.written(subject, wanted, list.digest().clone(), window);
        Ok(true)
    }

    /// What a list is to be written over. One wrong 404 would lose all that others listed, so that nothing is there is
    /// believed the second time, or where there was no tag at all a moment ago; and of a tag that names the subject it is found out whether it is a real one.
    async fn read_to_write(&self, subject: &Digest) -> Result<Before, Failure> {
        let tag = referrers_tag(subject)?;
        let (mut nothing, mut real) = (self.memo.take_empty(), None);
        loop {
            let (now, read) = self.read_freshly(subject).await?;
            match now {
                AtTag::Nothing if !nothing => nothing = true,
                AtTag::Subject if real.is_none() => real = Some(self.is_listed(&tag).await?),
                now => {
                    let taken = matches!(now, AtTag::Subject) && real == Some(true);
                    return Ok(Before { tag, now, read, taken });
                }
            }
        }
    }

    /// Write a list over what was read, if that was not too long ago, and how long slower writers are to be waited for;
    /// `None` when it must be read anew.
    async fn write_over(
        &self,
        subject: &Digest,
        before: &Before,
        list: &Content,
    ) -> Result<Option<Duration>, Failure> {
        let Before { tag, now, read, taken } = before;
        let patience = self.host.config().retry.settle;
        let until = (!patience.is_zero()).then(|| read.asked + read.good_for);
        let condition = self.condition(now);
        let conditional = condition.is_some();
        match self.put_list(list, tag, condition, until).await {
            Ok(true) => {}
            Ok(false) => {
                // Refused although nothing changed: the registry's conditions are not to be used.
                let still = self.read_tag(subject).await?.is_still(now);
                self.memo.lists.conditions.broken.fetch_or(still && conditional, Ordering::Relaxed);
                return Ok(None);
            }
            Err(Failure::Interrupted(_)) if until.is_some_and(|until| Instant::now() >= until) => {
                return Ok(None);
            }
            Err(e) => return Err(e),
        }
        if *taken {
            let place = self.repository.to_string();
            self.notices.add(Notice::TagTaken { place, tag: tag.clone(), named: subject.clone() });
        }
        Ok(Some(patience.max(read.asked.elapsed() * 2).min(LONGEST)))
    }

    /// Let a tag name `manifest` in place of what `before` says, as a list of referrers is written over another.
    pub(super) async fn replace_tag(
        &self,
        tag: &Tag,
        before: Option<&Digest>,
        manifest: &Content,
    ) -> Result<Replaced, Failure> {
        let patience = self.host.config().retry.settle;
        let named = || self.pull_named(tag.as_str(), None);
        let (now, Read { asked, good_for }) = self.freshly(named).await?;
        let digest = |now: &Option<(Content, _)>| now.as_ref().map(|(content, _)| content.digest().clone());
        if digest(&now).as_ref() != before {
            return Ok(Replaced::Moved);
        }
        let conditions = &self.memo.lists.conditions;
        let condition = match &now {
            _ if conditions.broken.load(Ordering::Relaxed) => None,
            // A weak validator cannot be a condition (RFC 9110 13.1.1).
            Some((_, etag)) => {
                etag.clone().filter(|e| e.as_bytes().starts_with(b"\"")).map(|etag| (IF_MATCH, etag))
            }
            None if conditions.seen.load(Ordering::Relaxed) => {
                Some((IF_NONE_MATCH, HeaderValue::from_static("*")))
            }
            None => None,
        };
        let conditional = condition.is_some();
        let until = (!patience.is_zero()).then(|| asked + good_for);
        match self.put_list(manifest, tag, condition, until).await {
            Ok(true) => Ok(Replaced::Unguarded(patience.max(asked.elapsed() * 2).min(LONGEST))),
            Ok(false) => {
                let still = digest(&named().await?).as_ref() == before;
                conditions.broken.fetch_or(still && conditional, Ordering::Relaxed);
                Ok(Replaced::Moved)
            }
            Err(Failure::Interrupted(_)) if until.is_some_and(|until| Instant::now() >= until) => {
                Ok(Replaced::Moved)
            }
            Err(e) => Err(e),
        }
    }

    /// What stands at the tag, not much longer ago than reading takes.
    async fn read_freshly(&self, subject: &Digest) -> Result<(AtTag, Read), Failure> {
        self.freshly(|| self.read_tag(subject)).await
    }

    /// What a look finds, not much longer ago than looking takes.
    async fn freshly<T, L>(&self, look: impl Fn() -> L) -> Result<(T, Read), Failure>
    where
        L: Future<Output = Result<T, Failure>>,
    {
        let patience = self.host.config().retry.settle;
        let mut tries = 0;
        loop {
            let asked = Instant::now();
            let now = look().await?;
            let took = asked.elapsed();
            let quickest = self.memo.lists.quickest(took);
            let good_for = (patience / 2).max(quickest * 3);
            tries += 1;
            // An answer that was long on its way tells of long ago; the second time it may simply be far.
            if took <= good_for.min(patience / 2)
                || patience.is_zero()
                || (tries > 1 && took < good_for)
                || tries > 3
            {
                return Ok((now, Read { asked, good_for }));
            }
        }
    }

    /// Whether the tag is a real one. GitLab's alias is in no list of tags: that a list lacks it is believed the second
    /// time, since what stands there is replaced without a word.
    async fn is_listed(&self, tag: &Tag) -> Result<bool, Failure> {
        let before = &tag.as_str()[..tag.as_str().len() - 1];
        for _ in 0..2 {
            if self.list_tags(Some(before)).await?.contains(tag) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A condition for the PUT, where the registry names manifests by `ETag`: the few that enforce it lose nothing at all.
    fn condition(&self, now: &AtTag) -> Option<(HeaderName, HeaderValue)> {
        let conditions = &self.memo.lists.conditions;
        if conditions.broken.load(Ordering::Relaxed) {
            return None;
        }
        match now {
            AtTag::List(list) => list.etag.clone().map(|etag| (IF_MATCH, etag)),
            AtTag::Nothing if conditions.seen.load(Ordering::Relaxed) => {
                Some((IF_NONE_MATCH, HeaderValue::from_static("*")))
            }
            AtTag::Nothing | AtTag::Subject => None,
        }
    }
}

impl Lists {
    /// The quickest answer to a look at a list so far.
    fn quickest(&self, took: Duration) -> Duration {
        let mut quickest = self.quickest.lock().unwrap_or_else(PoisonError::into_inner);
        let least = quickest.map_or(took, |q| q.min(took));
        *quickest = Some(least);
        least
    }

    fn turn(&self, subject: &Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.entry(subject.clone()).or_default().clone()
    }

    /// Note a list that was just written; what was written before and is still open stays wanted.
    fn written(&self, subject: &Digest, wanted: &[Descriptor], list: Digest, window: Duration) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let before = open.remove(subject);
        let window = before.as_ref().map_or(window, |b| b.window.max(window));
        let mut all = before.map(|b| b.wanted).unwrap_or_default();
        let new = absent(wanted, &all);
        all.extend(wanted.iter().filter(|w| new.contains(&w.digest)).cloned());
        let written = Written { wanted: all, seen: list, at: Instant::now(), window, puts: 1 };
        open.insert(subject.clone(), written);
    }
}

fn referrers_tag(subject: &Digest) -> Result<Tag, Failure> {
    subject.referrers_tag().parse().map_err(|e: crate::oci::ReferenceError| Failure::Protocol(e.to_string()))
}

pub(super) fn always_written(subject: &Digest) -> Failure {
    let text = format!("the list of the referrers of {} is written by others all the time", subject.short());
    Failure::Lost(text)
}

fn missing(wanted: &[Descriptor], now: &AtTag) -> Vec<Digest> {
    absent(wanted, now.list().map_or(&[], |l| &l.entries))
}

/// The list with more entries at its end; what stands there stays as it is.
fn merged<'a>(document: Option<Value>, more: impl Iterator<Item = &'a Descriptor>) -> Content {
    let empty = || json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [] });
    let mut document = document.filter(Value::is_object).unwrap_or_else(empty);
    if !document["manifests"].is_array() {
        document["manifests"] = json!([]);
    }
    let served = document["mediaType"].as_str().filter(|t| media_type::is_index(t)).map(str::to_owned);
    let media_type = served.unwrap_or_else(|| media_type::OCI_INDEX.to_owned());
    document["mediaType"] = json!(media_type);
    if let Some(entries) = document["manifests"].as_array_mut() {
        entries.extend(more.map(|entry| json!(entry)));
    }
    Content::new(media_type, sorted_json(&document))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_appends_and_keeps_foreign_fields() {
        let old = json!({"schemaVersion":2,"annotations":{"k":"v"},"manifests":[
            {"mediaType":"a/b","digest":Digest::sha256(b"x"),"size":1,"x-more":{"n":1}}]});
        let entry = Descriptor::of("c/d", b"y").annotated("k", "v");
        let content = merged(Some(old), [&entry].into_iter());
        let new: Value = serde_json::from_slice(content.bytes()).unwrap();
        assert_eq!(new["manifests"][0]["x-more"]["n"], 1);
        assert_eq!(new["manifests"][1], json!(entry));
        assert_eq!(
            (&new["annotations"]["k"], &new["mediaType"]),
            (&json!("v"), &json!(media_type::OCI_INDEX))
        );
        assert_eq!(content.media_type(), media_type::OCI_INDEX);
    }
}
