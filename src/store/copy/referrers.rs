//! Listing referrers at the destination, and reading the lists back: what a registry accepted it may still have lost.

use std::collections::HashSet;

use futures::FutureExt;

use super::closure::{Closure, Node};
use super::{CopyError, Event, MissingReferrer, Observer, Phase, several};
use crate::oci::{Content, Digest};
use crate::store::{Failure, Manage};

/// A manifest and what refers to it at the source.
type Expected<'a> = (&'a Node, Vec<&'a Node>);

/// Make sure that every manifest's referrers are listed; how many a repair had to bring back.
pub(super) async fn list(
    destination: &dyn Manage,
    closure: &Closure,
    pushed: &HashSet<Digest>,
    concurrency: usize,
    observer: &dyn Observer,
) -> Result<usize, CopyError> {
    let expected: Vec<Expected<'_>> = closure
        .nodes
        .values()
        .map(|node| (node, closure.referrers(node.content.digest())))
        .filter(|(_, referrers)| !referrers.is_empty())
        .collect();
    let indexing = expected.into_iter().map(|e| ensure(destination, e, pushed).boxed());
    let written: Vec<Expected<'_>> =
        several(indexing.collect(), concurrency).await?.into_iter().flatten().collect();
    destination.flush().await.map_err(CopyError::destination)?;

    observer.event(Event::Phase(Phase::Check));
    // What was found listed before anything was written needs no second look.
    let missing = unlisted(destination, &written, concurrency).await?;
    if missing.is_empty() {
        return Ok(0);
    }
    for (subject, referrers) in &missing {
        for referrer in referrers {
            destination.push_manifest(&referrer.content, None).await.map_err(CopyError::destination)?;
        }
        index(destination, subject, referrers).await?;
    }
    destination.flush().await.map_err(CopyError::destination)?;
    let still = unlisted(destination, &missing, concurrency).await?;
    if still.is_empty() {
        return Ok(missing.iter().map(|(_, referrers)| referrers.len()).sum());
    }
    let mut missing: Vec<MissingReferrer> = still.iter().flat_map(named).collect();
    missing.sort();
    Err(CopyError::Missing { place: destination.place().to_string(), missing })
}

/// List the referrers of one manifest; `None` when all of them were listed before.
async fn ensure<'a>(
    destination: &dyn Manage,
    (subject, referrers): Expected<'a>,
    pushed: &HashSet<Digest>,
) -> Result<Option<Expected<'a>>, CopyError> {
    let new = referrers.iter().any(|r| pushed.contains(r.content.digest()));
    let listed = !new
        && match missing(destination, subject, &referrers).await {
            Ok(missing) => missing.is_empty(),
            // A list that is damaged is made anew.
            Err(CopyError::Store { error, .. }) if matches!(error.failure, Failure::Content(_)) => false,
            Err(e) => return Err(e),
        };
    if listed {
        return Ok(None);
    }
    index(destination, subject, &referrers).await?;
    Ok(Some((subject, referrers)))
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
async fn unlisted<'a>(
    destination: &dyn Manage,
    expected: &[Expected<'a>],
    concurrency: usize,
) -> Result<Vec<Expected<'a>>, CopyError> {
    let reading = expected.iter().map(|(subject, referrers)| {
        async move { Ok((*subject, missing(destination, subject, referrers).await?)) }.boxed()
    });
    let mut read: Vec<Expected<'a>> = several(reading.collect(), concurrency).await?;
    read.retain(|(_, missing)| !missing.is_empty());
    Ok(read)
}

/// What the destination does not list, of one manifest.
async fn missing<'a>(
    destination: &dyn Manage,
    subject: &Node,
    referrers: &[&'a Node],
) -> Result<Vec<&'a Node>, CopyError> {
    let listed =
        destination.referrers(subject.content.digest(), None).await.map_err(CopyError::destination)?;
    let listed: HashSet<&Digest> = listed.iter().map(|d| &d.digest).collect();
    Ok(referrers.iter().filter(|r| !listed.contains(r.content.digest())).copied().collect())
}

fn named((subject, referrers): &Expected<'_>) -> Vec<MissingReferrer> {
    let name = |r: &&Node| MissingReferrer {
        subject: subject.content.digest().clone(),
        digest: r.content.digest().clone(),
        artifact_type: r.artifact_type.clone(),
    };
    referrers.iter().map(name).collect()
}
