//! One generator, three transports: every vector (`tests/differential/src/vectors/`) over an HTTP file tree, a registry and an OCI
//! layout, judged file by file (`tuf::Update` and `tuf::Search` over a fetcher) and as a whole (`verify`). The answer is the
//! vector's; where a judge has a rule more or less than others, a test named after the reason shows it.

#[allow(dead_code, reason = "the tests of the client itself use all of it")]
#[path = "../tuf/client.rs"]
mod client;
#[allow(dead_code, reason = "the tests of the client itself use all of it")]
#[path = "../tuf/site.rs"]
mod site;
#[allow(dead_code, reason = "the differential test uses all of it")]
#[path = "../differential/src/vectors/mod.rs"]
pub(crate) mod vectors;
#[allow(dead_code, reason = "the differential test uses all of it")]
#[path = "../differential/src/world.rs"]
pub(crate) mod world;

mod carriers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use bulla::client::stores::Stores;
use futures::stream::{self, StreamExt};

use carriers::{Carrier, Carriers};
use vectors::{Because, Judge, Vector};

use super::{servers, soak};

/// Who judges over what.
const RUNS: [(Judge, Carrier); 6] = [
    (Judge::Plain, Carrier::Tree),
    (Judge::Update, Carrier::Tree),
    (Judge::Update, Carrier::Registry),
    (Judge::Update, Carrier::Layout),
    (Judge::Verify, Carrier::Registry),
    (Judge::Verify, Carrier::Layout),
];
/// Rules that no single answer shows: what is asked for and saved, and when, and the names of files. Their tests are those of
/// docs/tuf-rules.md.
const NO_STATES: [&str; 5] = ["T8", "S7", "D3", "D4", "D5"];

static VECTORS: LazyLock<Vec<Vector>> = LazyLock::new(vectors::all);

/// What every judge says of every vector, by vector.
async fn answers(vectors: &[&Vector]) -> Vec<Vec<String>> {
    let carriers = Carriers::start().await;
    let runs = vectors.iter().enumerate().map(|(i, vector)| {
        let carriers = &carriers;
        async move {
            let mut answers = Vec::new();
            // A client of its own for each: what one keeps is no matter of the next.
            let stores = Stores::new(servers::config());
            for (run, (judge, carrier)) in RUNS.into_iter().enumerate() {
                let place = carriers.place(carrier, &format!("v{i}-{run}"));
                answers.push(place.judge(judge, vector, &stores).await);
            }
            answers
        }
    });
    stream::iter(runs).buffered(4).collect().await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_vector_gets_its_answer_over_every_transport() {
    let vectors: Vec<&Vector> = VECTORS.iter().collect();
    let all = answers(&vectors).await;
    let (mut wrong, mut explained) = (Vec::new(), BTreeMap::<Because, usize>::new());
    for (vector, answers) in vectors.iter().zip(&all) {
        for ((judge, carrier), answer) in RUNS.into_iter().zip(answers) {
            let (expected, because) = vector.expected_of(judge);
            if answer != expected {
                let what = format!("{} {}: {judge:?} over {carrier:?}", vector.rule, vector.name);
                wrong.push(format!("{what} says \"{answer}\" and not \"{expected}\""));
            }
            if let Some(because) = because {
                *explained.entry(because).or_default() += 1;
            }
        }
    }
    let (no, undecided) = (count(&vectors, "no: "), count(&vectors, "undecided: "));
    soak::report(&format!(
        "states  {} vectors, {} trusted, {no} refused, {undecided} undecided, {} answers over HTTP trees, registries and OCI \
         layouts, {} differ from what is expected, explained: {explained:?}",
        vectors.len(),
        vectors.len() - no - undecided,
        all.iter().map(Vec::len).sum::<usize>(),
        wrong.len(),
    ));
    assert!(wrong.is_empty(), "{} wrong answers\n{}", wrong.len(), wrong.join("\n"));
}

fn count(vectors: &[&Vector], answer: &str) -> usize {
    vectors.iter().filter(|v| v.expected.starts_with(answer)).count()
}

#[test]
fn every_rule_has_a_vector_and_every_vector_a_name_of_its_own() {
    let vectors = &*VECTORS;
    let mut names = BTreeSet::new();
    for vector in vectors {
        assert!(names.insert((vector.rule, &vector.name)), "{} {} twice", vector.rule, vector.name);
    }
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/tuf-rules.md");
    let page = std::fs::read_to_string(page).unwrap();
    let rules = page.lines().filter_map(|l| l.strip_prefix("| ")?.split_once(" |"));
    let rules: Vec<&str> = rules
        .map(|(id, _)| id)
        .filter(|id| id.len() <= 3 && id.ends_with(|c: char| c.is_ascii_digit()))
        .collect();
    assert_eq!(rules.len(), 56);
    for rule in rules {
        let has = vectors.iter().any(|v| v.rule == rule);
        assert_ne!(has, NO_STATES.contains(&rule), "{rule}");
    }
    // And the page lists the reasons, each with the number of its vectors.
    let mut reasons: BTreeMap<Because, usize> = BTreeMap::new();
    for vector in vectors {
        let own: BTreeSet<Because> = vector.differs.iter().map(|(.., because)| *because).collect();
        own.into_iter().for_each(|because| *reasons.entry(because).or_default() += 1);
    }
    for (because, n) in &reasons {
        let line = format!("- `{}` ({n}): ", test_of(*because));
        assert!(page.contains(&line), "{line}");
    }
    assert_eq!(page.lines().filter(|l| l.starts_with("- `")).count(), reasons.len());
    assert!(page.contains(&format!(" makes {} states ", vectors.len())), "{}", vectors.len());
    let refused: Vec<&Vector> = vectors.iter().filter(|v| v.expected != vectors::TRUSTED).collect();
    assert!(refused.len() > 150 && refused.len() * 2 > vectors.len(), "{}", refused.len());
}

/// The name of the test: that of the reason, as functions are written.
fn test_of(because: Because) -> String {
    let mut out = String::new();
    for c in format!("{because:?}").chars() {
        if c.is_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// The vectors that say so get another answer from one judge, for this reason and no other.
async fn differ(because: Because, judges: &[Judge]) {
    let vectors: Vec<&Vector> =
        VECTORS.iter().filter(|v| v.differs.iter().any(|(.., b)| *b == because)).collect();
    assert!(!vectors.is_empty());
    for (vector, answers) in vectors.iter().zip(answers(&vectors).await) {
        for ((judge, _), answer) in RUNS.into_iter().zip(answers) {
            let differs = judges.contains(&judge);
            assert_eq!(
                answer != vector.expected,
                differs,
                "{} {}: {judge:?} {answer}",
                vector.rule,
                vector.name
            );
        }
    }
}

/// `x-bulla` is bulla's: a plain client does not miss it, and does not notice the collection of somebody else.
#[tokio::test(flavor = "multi_thread")]
async fn files_name_their_collection() {
    differ(Because::FilesNameTheirCollection, &[Judge::Plain]).await;
}

/// Whoever writes a collection's file must list the keys that it names, well-formed; elsewhere such a key cannot sign.
#[tokio::test(flavor = "multi_thread")]
async fn keys_of_a_collection_are_in_order() {
    differ(Because::KeysOfACollectionAreInOrder, &[Judge::Plain]).await;
}

/// Without consistent snapshots names have no versions, and a state could not hold an old and a new file.
#[tokio::test(flavor = "multi_thread")]
async fn states_hold_versioned_names() {
    differ(Because::StatesHoldVersionedNames, &[Judge::Plain]).await;
}

/// A client that asks for root 2 and is told "not there" is at the last root, as the specification has it. A state lists what it
/// holds, so that `verify` sees root 3 behind the hole.
#[tokio::test(flavor = "multi_thread")]
async fn a_state_shows_that_a_root_is_missing() {
    differ(Because::AStateShowsThatARootIsMissing, &[Judge::Plain, Judge::Update]).await;
}

/// An update that fails has no result; `verify` goes on with the state that it remembers until that expires, with a note.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_remembered_stays_in_force() {
    differ(Because::WhatIsRememberedStaysInForce, &[Judge::Verify]).await;
}

/// The list of revocations is a target like any other to TUF.
#[tokio::test(flavor = "multi_thread")]
async fn revocations_are_read() {
    differ(Because::RevocationsAreRead, &[Judge::Plain, Judge::Update]).await;
}

/// The digest of a manifest is its SHA-256, which every entry has; a SHA-512 beside it is checked of downloaded files only.
#[tokio::test(flavor = "multi_thread")]
async fn manifests_are_named_by_sha256() {
    differ(Because::ManifestsAreNamedBySha256, &[Judge::Verify]).await;
}
