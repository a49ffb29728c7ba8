//! Listing referrers at the destination, and reading the lists back: what a registry accepted it may still have lost.

use std::collections::HashSet;

use futures::FutureExt;

use super::closure::{Closure, Node};
use super::{CopyError, Event, Job, Mended, MissingReferrer, Phase, several};
use crate::oci::{Content, Digest};
use crate::store::{Failure, ListChange, Listing, Manage};

/// A manifest and what refers to it at the source.
type Expected<'a> = (&'a Node, Vec<&'a Node>);

/// What listing gave.
#[derive(Default)]
pub(super) struct Listed {
    /// Referrers that the destination did not have, or did not list.
    pub(super) new: HashSet<Digest>,
    /// How many a repair had to bring back.
    pub(super) repaired: usize,
    /// What a thorough look found wrong in the lists.
    pub(super) mended: Vec<Mended>,
}

/// Make sure that every manifest's referrers are listed.
pub(super) async fn list(
    job: &Job<'_>,
    closure: &Closure,
    pushed: &HashSet<Digest>,
) -> Result<Listed, CopyError> {
    let (destination, observer) = (job.destination, job.observer);
    if job.request.thorough {
        return mend(job, closure, pushed).await;
    }
    let expected: Vec<Expected<'_>> = closure
        .nodes
        .values()
        .map(|node| (node, closure.referrers(node.content.digest())))
        .filter(|(_, referrers)| !referrers.is_empty())
        .collect();
    let indexing = expected.into_iter().map(|e| ensure(job, e, pushed).boxed());
    let mut listed = Listed::default();
    let mut written: Vec<Expected<'_>> = Vec::new();
    for (expected, new) in several(indexing.collect(), job.width).await?.into_iter().flatten() {
        listed.new.extend(new);
        written.push(expected);
    }
    if job.request.dry_run {
        return Ok(listed);
    }
    destination.flush().await.map_err(CopyError::destination)?;

    observer.event(Event::Phase(Phase::Check));
    // What was found listed before anything was written needs no second look.
    let missing = unlisted(job, &written).await?;
    if missing.is_empty() {
        return Ok(listed);
    }
    for (subject, referrers) in &missing {
        for referrer in referrers {
            destination.push_manifest(&referrer.content, None).await.map_err(CopyError::destination)?;
        }
        index(destination, subject, referrers).await?;
    }
    destination.flush().await.map_err(CopyError::destination)?;
    let still = unlisted(job, &missing).await?;
    if still.is_empty() {
        listed.repaired = missing.iter().map(|(_, referrers)| referrers.len()).sum();
        return Ok(listed);
    }
    let mut missing: Vec<MissingReferrer> = still.iter().flat_map(named).collect();
    missing.sort();
    Err(CopyError::Missing { place: destination.place().to_string(), missing })
}

/// Make the lists of all manifests right, also of those to which nothing refers any more; of a look ahead what is wrong in
/// them.
async fn mend(job: &Job<'_>, closure: &Closure, pushed: &HashSet<Digest>) -> Result<Listed, CopyError> {
    let destination = job.destination;
    let expected: Vec<Expected<'_>> =
        closure.nodes.values().map(|node| (node, closure.referrers(node.content.digest()))).collect();
    let mending = expected.iter().map(|(subject, referrers)| {
        async move {
            let contents: Vec<Content> = referrers.iter().map(|r| r.content.clone()).collect();
            let subject = subject.content.descriptor();
            let changes = match job.request.dry_run {
                true => destination.unmended_referrers(subject, &contents, pushed).await,
                false => destination.mend_referrers(subject, &contents).await,
            };
            let changes = changes.map_err(CopyError::destination)?;
            let entry = |change| Mended::Entry { subject: subject.digest.clone(), change };
            Ok(changes.into_iter().map(entry).collect::<Vec<_>>())
        }
        .boxed()
    });
    let mended: Vec<Mended> = several(mending.collect(), job.width).await?.into_iter().flatten().collect();
    if !job.request.dry_run {
        destination.flush().await.map_err(CopyError::destination)?;
        job.observer.event(Event::Phase(Phase::Check));
        let still = unlisted(job, &expected).await?;
        if !still.is_empty() {
            let mut missing: Vec<MissingReferrer> = still.iter().flat_map(named).collect();
            missing.sort();
            return Err(CopyError::Missing { place: destination.place().to_string(), missing });
        }
    }
    let referrers = expected.iter().flat_map(|(_, referrers)| referrers).map(|r| r.content.digest());
    let mut new: HashSet<Digest> = referrers.filter(|d| pushed.contains(d)).cloned().collect();
    new.extend(mended.iter().filter_map(|m| match m {
        Mended::Entry { change: ListChange::Added(digest), .. } => Some(digest.clone()),
        _ => None,
    }));
    Ok(Listed { new, repaired: 0, mended })
}

/// List the referrers of one manifest, and say which are new; `None` when all of them were listed before.
async fn ensure<'a>(
    job: &Job<'_>,
    (subject, referrers): Expected<'a>,
    pushed: &HashSet<Digest>,
) -> Result<Option<(Expected<'a>, Vec<Digest>)>, CopyError> {
    let destination = job.destination;
    let digests = |nodes: &[&Node]| nodes.iter().map(|n| n.content.digest().clone()).collect();
    let (brought, had): (Vec<&Node>, Vec<&Node>) =
        referrers.iter().partition(|r| pushed.contains(r.content.digest()));
    let mut new: Vec<Digest> = digests(&brought);
    // A subject that is new has no list that were worth a look, and one that gets more is written anyway.
    if brought.is_empty() || (job.request.dry_run && !had.is_empty()) {
        match missing(job, subject, &had).await {
            Ok(missing) if missing.is_empty() && brought.is_empty() => return Ok(None),
            Ok(missing) => new.extend::<Vec<Digest>>(digests(&missing)),
            // A list that is damaged is made anew.
            Err(CopyError::Store { error, .. }) if matches!(error.failure, Failure::Content(_)) => {}
            Err(e) => return Err(e),
        }
    }
    if !job.request.dry_run {
        index(destination, subject, &referrers).await?;
    }
    Ok(Some(((subject, referrers), new)))
}

/// One write for all. What the store itself finds lost is left to the comparison and its repair.
async fn index(destination: &dyn Manage, subject: &Node, referrers: &[&Node]) -> Result<(), CopyError> {
    let contents: Vec<Content> = referrers.iter().map(|r| r.content.clone()).collect();
    match destination.index_referrers(subject.content.descriptor(), &contents).await {
        Err(e) if !matches!(e.failure, Failure::Lost(_)) => Err(CopyError::destination(e)),
        _ => Ok(()),
    }
}

/// What the destination does not list, of every manifest.
async fn unlisted<'a>(job: &Job<'_>, expected: &[Expected<'a>]) -> Result<Vec<Expected<'a>>, CopyError> {
    let reading = expected.iter().map(|(subject, referrers)| {
        async move { Ok((*subject, missing(job, subject, referrers).await?)) }.boxed()
    });
    let mut read: Vec<Expected<'a>> = several(reading.collect(), job.width).await?;
    read.retain(|(_, missing)| !missing.is_empty());
    Ok(read)
}

/// What the destination does not list, of one manifest. That the manifests are there and refer to it is known.
async fn missing<'a>(
    job: &Job<'_>,
    subject: &Node,
    referrers: &[&'a Node],
) -> Result<Vec<&'a Node>, CopyError> {
    let (digest, destination) = (subject.content.digest(), job.destination);
    let listing = match job.request.thorough {
        true => destination.referrers(digest, None).await.map(|entries| Listing { entries, by_tag: false }),
        false => destination.listing(digest).await,
    };
    let listing = listing.map_err(CopyError::destination)?;
    let listed: HashSet<&Digest> = listing.entries.iter().map(|d| &d.digest).collect();
    let missing: Vec<&Node> =
        referrers.iter().filter(|r| !listed.contains(r.content.digest())).copied().collect();
    if listing.by_tag && !listed.is_empty() && missing.len() == referrers.len() {
        // None of ours: perhaps it is no list at all, and then it is not written to.
        destination.referrers(digest, None).await.map_err(CopyError::destination)?;
    }
    Ok(missing)
}

fn named((subject, referrers): &Expected<'_>) -> Vec<MissingReferrer> {
    let name = |r: &&Node| MissingReferrer {
        subject: subject.content.digest().clone(),
        digest: r.content.digest().clone(),
        artifact_type: r.artifact_type.clone(),
    };
    referrers.iter().map(name).collect()
}
