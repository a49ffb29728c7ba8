//! What was written but stands in no `index.json` yet, and how it gets there: merged, under the lock, with what other
//! processes wrote meanwhile. Everything here blocks.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use serde_json::json;

use super::graph::{Graph, Node, Nodes, node, sound};
use super::index::{Index, listing};
use super::medium::{MAX_INDEX_BYTES, Medium, Stamp, put_blob};
use crate::oci::{Content, Descriptor, Digest, MAX_MANIFEST_BYTES, Tag, media_type, sorted_json};
use crate::store::{Failure, ListChange};

/// One change, in the order in which it was made.
#[derive(Debug)]
pub(super) enum Change {
    /// A manifest whose file is in place.
    Pushed(Arc<Node>, Option<Tag>),
    /// The referrers list of this subject must be complete.
    Refer(Digest),
    /// The same, and it lists nothing that is not there.
    Mend(Digest),
    /// A tag names nothing any more.
    Untag(Tag),
    /// A manifest goes.
    Delete(Digest),
}

/// The layout as this process sees it: the file and the changes upon it.
#[derive(Debug)]
pub(super) struct View {
    stamp: Option<Stamp>,
    index: Index,
    graph: Graph,
    nodes: Nodes,
    changes: Vec<Change>,
    /// Deleted by a change.
    gone: HashSet<Digest>,
}

impl View {
    pub(super) fn new() -> Self {
        Self {
            stamp: None,
            index: Index::empty(),
            graph: Graph::default(),
            nodes: Nodes::new(),
            changes: Vec::new(),
            gone: HashSet::new(),
        }
    }

    /// Index and graph, read again when the file is another one.
    pub(super) fn now(&mut self, medium: &dyn Medium) -> Result<(&Index, &Graph), Failure> {
        let stamp = medium.stamp()?;
        if self.stamp.as_ref() != Some(&stamp) {
            self.stamp = None;
            self.index = read_index(medium)?;
            self.gone.clear();
            self.graph = Graph::of(medium, &mut self.nodes, &self.index, &self.gone)?;
            let changes = std::mem::take(&mut self.changes);
            let applied = changes.iter().try_for_each(|c| self.apply(medium, c));
            self.changes = changes;
            applied?;
            self.stamp = Some(stamp);
        }
        Ok((&self.index, &self.graph))
    }

    /// Make a change visible to this process; [`View::flush`] brings it into the file.
    pub(super) fn change(&mut self, medium: &dyn Medium, change: Change) -> Result<(), Failure> {
        self.now(medium)?;
        self.apply(medium, &change)?;
        self.changes.push(change);
        Ok(())
    }

    /// Remember a manifest that was just written.
    pub(super) fn learn(&mut self, content: &Content) -> Arc<Node> {
        let node = Arc::new(Node::of(content));
        self.nodes.insert(content.digest().clone(), node.clone());
        node
    }

    /// Whether something other than a referrers list of `subject` lies at its referrers tag.
    pub(super) fn foreign_list(
        &mut self,
        medium: &dyn Medium,
        subject: &Digest,
    ) -> Result<Option<Descriptor>, Failure> {
        self.now(medium)?;
        let Some(there) = self.index.lookup(&subject.referrers_tag())? else { return Ok(None) };
        let ours = is_list_of(medium, &mut self.nodes, &there, subject)?;
        Ok((!ours).then_some(there))
    }

    /// How the referrers list of `subject` differs from the manifests that are there, or are `coming`. Without a list at the
    /// tag, what `index.json` does not list itself.
    pub(super) fn wrong_entries(
        &mut self,
        medium: &dyn Medium,
        subject: &Digest,
        coming: &[Descriptor],
    ) -> Result<Vec<ListChange>, Failure> {
        self.now(medium)?;
        let there = self.index.lookup(&subject.referrers_tag())?;
        let listed: Option<BTreeMap<Digest, Descriptor>> = match &there {
            None => None,
            Some(there) => {
                let list = sound(node(medium, &mut self.nodes, there))?.ok().flatten();
                let entries = list.iter().flat_map(|l| &l.children);
                Some(entries.map(|e| (e.digest.clone(), e.clone())).collect())
            }
        };
        let mut changes = Vec::new();
        let mut all: BTreeMap<&Digest, &Descriptor> =
            self.graph.referrers(subject).map(|own| (&own.digest, own)).collect();
        all.extend(coming.iter().map(|own| (&own.digest, own)));
        for own in all.values().copied() {
            match listed.as_ref().map(|l| l.get(&own.digest)) {
                None if self.index.lists(&own.digest) => {}
                None | Some(None) => changes.push(ListChange::Added(own.digest.clone())),
                Some(Some(entry)) if entry != own => changes.push(ListChange::Corrected(own.digest.clone())),
                Some(Some(_)) => {}
            }
        }
        let listed = listed.unwrap_or_default().into_keys();
        changes.extend(listed.filter(|d| !all.contains_key(d)).map(ListChange::Dropped));
        Ok(changes)
    }

    /// Bring all changes into `index.json`, merged with what it holds now.
    pub(super) fn flush(&mut self, medium: &dyn Medium) -> Result<(), Failure> {
        if self.changes.is_empty() {
            return Ok(());
        }
        let lock = medium.lock()?;
        let old = read_index(medium)?;
        self.write(medium, &old)?;
        drop(lock);
        Ok(())
    }

    /// Let `tag` name a manifest, if it names `before` in the file: nobody else writes between the look and the write.
    pub(super) fn replace(
        &mut self,
        medium: &dyn Medium,
        node: Arc<Node>,
        tag: Tag,
        before: Option<&Digest>,
    ) -> Result<bool, Failure> {
        self.flush(medium)?;
        let lock = medium.lock()?;
        let old = read_index(medium)?;
        if old.lookup(tag.as_str())?.map(|entry| entry.digest).as_ref() != before {
            return Ok(false);
        }
        self.changes.push(Change::Pushed(node, Some(tag)));
        let written = self.write(medium, &old);
        self.changes.clear();
        drop(lock);
        written.map(|()| true)
    }

    /// Bring all changes into the file, which holds `old`. The lock is held.
    fn write(&mut self, medium: &dyn Medium, old: &Index) -> Result<(), Failure> {
        let (index, gone) = self.merged(medium, old.clone())?;
        let (was, is) = (old.to_bytes(), index.to_bytes());
        if is.len() as u64 > MAX_INDEX_BYTES {
            let limit = format!("{MAX_INDEX_BYTES} bytes");
            return Err(Failure::TooLarge { what: "index.json".into(), limit });
        }
        if was != is {
            medium.replace_index(&is)?;
        }
        for digest in &gone {
            medium.remove_blob(digest);
            self.nodes.remove(digest);
        }
        // The next question is answered from the file, not from what was meant to be in it.
        self.stamp = None;
        self.changes.clear();
        Ok(())
    }

    fn apply(&mut self, medium: &dyn Medium, change: &Change) -> Result<(), Failure> {
        match change {
            Change::Pushed(node, tag) => {
                self.gone.remove(&node.listed.digest);
                if let Some(tag) = tag {
                    self.index.set_tag(tag.as_str(), &listing(&node.listed), true);
                }
                self.graph.walk(medium, &mut self.nodes, &node.listed, &self.gone)?;
            }
            Change::Refer(_) => {}
            Change::Mend(subject) => self.graph.drop_dangling(subject),
            Change::Untag(tag) => self.index.remove_tag(tag.as_str(), |_| true),
            Change::Delete(digest) => {
                self.gone.insert(digest.clone());
                self.index.remove(digest);
                self.graph.forget(digest);
            }
        }
        Ok(())
    }

    /// `index` with all changes: tags, entries, and the referrers list of every subject that was touched.
    fn merged(&mut self, medium: &dyn Medium, mut index: Index) -> Result<(Index, HashSet<Digest>), Failure> {
        let mut pushed: BTreeMap<&Digest, &Arc<Node>> = BTreeMap::new();
        let mut subjects: BTreeSet<Digest> = BTreeSet::new();
        let mut gone = HashSet::new();
        let mut mended: HashSet<&Digest> = HashSet::new();
        for change in &self.changes {
            match change {
                Change::Pushed(node, tag) => {
                    gone.remove(&node.listed.digest);
                    subjects.extend(node.subject.clone());
                    match tag {
                        Some(tag) => index.set_tag(tag.as_str(), &listing(&node.listed), true),
                        None => {
                            pushed.insert(&node.listed.digest, node);
                        }
                    }
                }
                Change::Refer(subject) => {
                    subjects.insert(subject.clone());
                }
                Change::Mend(subject) => {
                    subjects.insert(subject.clone());
                    mended.insert(subject);
                }
                Change::Untag(tag) => {
                    let nodes = &self.nodes;
                    index.remove_tag(tag.as_str(), |d| nodes.get(d).is_some_and(|n| n.subject.is_some()));
                }
                Change::Delete(digest) => {
                    subjects.extend(self.nodes.get(digest).and_then(|n| n.subject.clone()));
                    pushed.remove(digest);
                    index.remove(digest);
                    gone.insert(digest.clone());
                }
            }
        }
        let mut graph = Graph::of(medium, &mut self.nodes, &index, &gone)?;
        let below: HashSet<&Digest> =
            pushed.values().flat_map(|n| n.children.iter()).map(|c| &c.digest).collect();
        for (digest, node) in &pushed {
            // A child is found through its parent; a referrer is listed by all means, for those who only read the list.
            let found = below.contains(digest) || graph.media_type(digest).is_some();
            if node.subject.is_some() || !found {
                index.add(&listing(&node.listed));
            }
        }
        for node in pushed.values() {
            graph.walk(medium, &mut self.nodes, &node.listed, &gone)?;
        }
        mended.into_iter().for_each(|subject| graph.drop_dangling(subject));
        for subject in &subjects {
            relist(medium, &mut self.nodes, &mut index, &mut graph, subject, &gone)?;
        }
        Ok((index, gone))
    }
}

/// Write both forms in which referrers are looked for: an entry each, and the list at the referrers tag. The list is
/// derived: it is made anew from the manifests that are there; entries that cannot be judged are kept.
fn relist(
    medium: &dyn Medium,
    nodes: &mut Nodes,
    index: &mut Index,
    graph: &mut Graph,
    subject: &Digest,
    gone: &HashSet<Digest>,
) -> Result<(), Failure> {
    let tag = subject.referrers_tag();
    let there = index.lookup(&tag)?;
    if let Some(there) = &there
        && !is_list_of(medium, nodes, there, subject)?
    {
        return Ok(());
    }
    let referrers: Vec<Descriptor> = graph.referrers(subject).cloned().collect();
    // oras takes a digest for a manifest only when it is listed: a child that is referred to can then be asked for.
    if let Some(node) =
        nodes.get(subject).filter(|_| !referrers.is_empty() && graph.media_type(subject).is_some())
    {
        index.add(&listing(&node.listed));
    }
    referrers.iter().for_each(|r| index.add(&listing(r)));
    let mut all: BTreeMap<&Digest, &Descriptor> =
        graph.dangling(subject).iter().map(|d| (&d.digest, d)).collect();
    all.extend(referrers.iter().map(|d| (&d.digest, d)));
    if all.is_empty() {
        index.remove_tag(&tag, |_| false);
        return Ok(());
    }
    let whole = list_of(all.values().map(|d| (*d).clone()));
    let list = match whole.descriptor().size <= MAX_MANIFEST_BYTES {
        true => whole,
        // Annotations are hints, and the manifests keep them.
        false => list_of(all.values().map(|d| Descriptor { annotations: None, ..(*d).clone() })),
    };
    if list.descriptor().size > MAX_MANIFEST_BYTES {
        let limit = format!("{MAX_MANIFEST_BYTES} bytes");
        return Err(Failure::TooLarge { what: format!("the list of referrers of {subject}"), limit });
    }
    let same = there.is_some_and(|t| t.digest == *list.digest());
    if !same || !matches!(sound(node(medium, nodes, list.descriptor()))?, Ok(Some(_))) {
        put_blob(medium, &list)?;
        nodes.insert(list.digest().clone(), Arc::new(Node::of(&list)));
        index.set_tag(&tag, &list.descriptor().bare(), false);
        graph.walk(medium, nodes, list.descriptor(), gone)?;
    }
    Ok(())
}

fn list_of(entries: impl Iterator<Item = Descriptor>) -> Content {
    let doc = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_INDEX,
        "manifests": entries.collect::<Vec<_>>(),
    });
    Content::new(media_type::OCI_INDEX, sorted_json(&doc))
}

/// Whether `there` is a referrers list of `subject`: an index, not the subject itself (some registries and tools put that
/// there), that refers to nothing and of whose entries that are there at least one refers to the subject.
fn is_list_of(
    medium: &dyn Medium,
    nodes: &mut Nodes,
    there: &Descriptor,
    subject: &Digest,
) -> Result<bool, Failure> {
    if there.media_type != media_type::OCI_INDEX || there.digest == *subject {
        return Ok(false);
    }
    // A list that is gone or damaged is made anew.
    let Ok(Some(list)) = sound(node(medium, nodes, there))? else { return Ok(true) };
    let mut present = 0;
    let mut referring = 0;
    for child in &list.children {
        if let Ok(Some(child)) = sound(node(medium, nodes, child))? {
            present += 1;
            referring += usize::from(child.subject.as_ref() == Some(subject));
        }
    }
    Ok(list.subject.is_none() && (present == 0 || referring > 0))
}

fn read_index(medium: &dyn Medium) -> Result<Index, Failure> {
    Index::parse(&medium.read_index()?)
}
