//! Mending a list of referrers at a tag: what older clients left out, wrote wrongly, or never took away.

use std::collections::{HashMap, HashSet};

use futures::stream::{self, StreamExt, TryStreamExt};
use serde_json::{Map, Value, json};

use super::Registry;
use super::referrers::absent;
use crate::oci::{Content, Descriptor, Digest, Manifest, media_type};
use crate::store::{Failure, ListChange};

/// How often a list is judged anew because somebody else wrote it meanwhile.
const ROUNDS: u32 = 5;
/// Manifests looked at side by side.
const WIDTH: usize = 8;

/// What a list should be, and how that differs from what it is.
struct Judged {
    entries: Vec<Value>,
    changes: Vec<ListChange>,
}

/// What an entry is worth.
enum Worth {
    /// It stays as it is.
    Stays,
    /// The manifest refers to the subject, and should be listed like this.
    Ours(Descriptor),
    /// Nothing is there under its digest.
    Gone,
    /// It refers to something else.
    Stranger,
}

impl Registry {
    /// Make the list of referrers of `subject` right; what was changed. The API's lists are the registry's own: what they
    /// miss is pushed again, and nothing else can be done about them. Nothing is done in a look
    /// ahead, with those that are `to_come`: the API lists what is pushed by itself.
    pub(super) async fn mend_list(
        &self,
        subject: &Descriptor,
        referrers: &[Content],
        to_come: Option<&HashSet<Digest>>,
    ) -> Result<Vec<ListChange>, Failure> {
        let digest = &subject.digest;
        let mut wanted: Vec<Descriptor> = Vec::new();
        for referrer in referrers {
            wanted.push(Manifest::parse(referrer)?.referrer_descriptor(referrer.descriptor()));
        }
        let listing = self.list_unjudged(digest).await?;
        if !listing.by_tag {
            let mut missing = absent(&wanted, &listing.entries);
            match to_come {
                None => self.list_anew(subject, referrers).await?,
                Some(to_come) => missing.retain(|digest| !to_come.contains(digest)),
            }
            return Ok(missing.into_iter().map(ListChange::Added).collect());
        }
        for _ in 0..ROUNDS {
            let now = self.read_tag(digest).await?;
            let entries = now.document().and_then(|d| d["manifests"].as_array()).cloned().unwrap_or_default();
            let judged = self.judge(digest, entries, &wanted).await?;
            if judged.changes.is_empty() || to_come.is_some() {
                return Ok(judged.changes);
            }
            let mut document = now.document().cloned().unwrap_or_else(|| json!({"schemaVersion": 2}));
            document["manifests"] = Value::Array(judged.entries);
            if self.rewrite(digest, &wanted, &now, document).await? {
                return Ok(judged.changes);
            }
        }
        Err(super::fallback::always_written(digest))
    }

    /// Judge each entry by its manifest.
    async fn judge(
        &self,
        subject: &Digest,
        entries: Vec<Value>,
        wanted: &[Descriptor],
    ) -> Result<Judged, Failure> {
        let known: HashMap<&Digest, &Descriptor> = wanted.iter().map(|w| (&w.digest, w)).collect();
        let known = &known;
        let looked = stream::iter(entries).map(|raw| async move {
            let entry: Option<Descriptor> = serde_json::from_value(raw.clone()).ok();
            let worth = match &entry {
                None => Worth::Stays,
                Some(entry) => match known.get(&entry.digest) {
                    Some(own) => Worth::Ours((*own).clone()),
                    None => self.worth(subject, entry).await?,
                },
            };
            Ok::<_, Failure>((raw, entry, worth))
        });
        let looked: Vec<_> = looked.buffered(WIDTH).try_collect().await?;
        let any = |which: fn(&Worth) -> bool| looked.iter().any(|(_, _, worth)| which(worth));
        if any(|w| matches!(w, Worth::Stranger)) && !any(|w| matches!(w, Worth::Ours(_))) {
            let tag = subject.referrers_tag();
            return Err(Failure::Foreign(format!(
                "the tag {tag} holds an index, but nothing in it refers to {subject}"
            )));
        }
        let mut judged = Judged { entries: Vec::new(), changes: Vec::new() };
        let mut listed: HashSet<Digest> = HashSet::new();
        for (raw, entry, worth) in looked {
            let Some(entry) = entry else {
                judged.entries.push(raw);
                continue;
            };
            let twice = !listed.insert(entry.digest.clone());
            match worth {
                Worth::Gone | Worth::Stranger => judged.changes.push(ListChange::Dropped(entry.digest)),
                _ if twice => judged.changes.push(ListChange::Corrected(entry.digest)),
                Worth::Stays => judged.entries.push(raw),
                Worth::Ours(own) => {
                    let right = corrected(&raw, &own);
                    if right != raw {
                        judged.changes.push(ListChange::Corrected(entry.digest));
                    }
                    judged.entries.push(right);
                }
            }
        }
        for own in wanted.iter().filter(|w| !listed.contains(&w.digest)) {
            judged.entries.push(json!(own));
            judged.changes.push(ListChange::Added(own.digest.clone()));
        }
        Ok(judged)
    }

    async fn worth(&self, subject: &Digest, entry: &Descriptor) -> Result<Worth, Failure> {
        if !media_type::is_manifest(&entry.media_type) {
            return Ok(Worth::Stays);
        }
        Ok(match self.looked_up(&entry.digest).await {
            // Listed, and damaged: whoever needs it meets that.
            Err(f) if f.is_the_items_own() => Worth::Stays,
            Err(f) => return Err(f),
            Ok(None) => Worth::Gone,
            Ok(Some((own, of))) if of.as_ref() == Some(subject) => Worth::Ours(own),
            Ok(Some(_)) => Worth::Stranger,
        })
    }
}

/// An entry that says of the manifest what it says itself; other members and annotations stay.
fn corrected(raw: &Value, own: &Descriptor) -> Value {
    let mut right: Map<String, Value> = raw.as_object().cloned().unwrap_or_default();
    right.insert("mediaType".into(), json!(own.media_type));
    right.insert("size".into(), json!(own.size));
    match &own.artifact_type {
        Some(artifact_type) => right.insert("artifactType".into(), json!(artifact_type)),
        None => right.remove("artifactType"),
    };
    if let Some(notes) = &own.annotations {
        let mut all = right.get("annotations").and_then(Value::as_object).cloned().unwrap_or_default();
        all.extend(notes.iter().map(|(key, value)| (key.clone(), json!(value))));
        right.insert("annotations".into(), Value::Object(all));
    }
    Value::Object(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_made_right_and_keeps_what_is_its_own() {
        let own = Descriptor {
            artifact_type: Some("a/signature".into()),
            ..Descriptor::of("a/manifest", b"x").annotated("k", "v")
        };
        let raw = json!({"mediaType": "a/b", "digest": own.digest, "size": 9, "artifactType": "a/config",
            "annotations": {"k": "w", "own": "1"}, "x-more": 1});
        let right = corrected(&raw, &own);
        assert_eq!(right["artifactType"], "a/signature");
        assert_eq!(right["annotations"], json!({"k": "v", "own": "1"}));
        assert_eq!((&right["x-more"], &right["size"]), (&json!(1), &json!(1)));
        assert_eq!(corrected(&right, &own), right);
        let bare = json!({"mediaType": "a/manifest", "digest": own.digest, "size": 1});
        let plain = Descriptor::of("a/manifest", b"x");
        assert_eq!(corrected(&bare, &plain), bare);
    }
}
