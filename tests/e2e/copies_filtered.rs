//! Copies of a part of a bundle, and copies that only say what they would do.

use std::collections::{BTreeMap, BTreeSet};

use bulla::oci::{Content, Packer, Platform, Selector, media_type, sorted_json};
use bulla::store::copy::{
    CopyError, CopyReport, CopyRequest, Filter, KeepExisting, SkipReason, TagAction, Unobserved, copy,
};
use bulla::store::layout::OciDir;
use bulla::store::memory::MemoryStore;
use bulla::store::{BytesSource, Manage, Store};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::bundles::{
    blob, by_digest, by_tag, image, index, manifest, noise, refer, rich, scratch, tag, tagged,
};
use super::contract::{digests, sorted};
use super::copies::{is_whole, memory, request, run};
use super::faulty::{Faults, Faulty};
use crate::registry::{Config, Quirks, Registry as Server};
use crate::servers::repository;

const SEAL: &str = media_type::BULLA_SEAL;

fn platform(text: &str) -> Filter {
    Filter { platforms: vec![text.parse().unwrap()], ..Filter::all() }
}

fn only(types: &[&str]) -> Filter {
    Filter { only: types.iter().map(|t| (*t).to_owned()).collect(), ..Filter::all() }
}

fn skip(types: &[&str]) -> Filter {
    Filter { skip: types.iter().map(|t| (*t).to_owned()).collect(), ..Filter::all() }
}

fn counted(of: &[(&str, usize)]) -> BTreeMap<String, usize> {
    of.iter().map(|(t, n)| ((*t).to_owned(), *n)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_writes_nothing_and_says_what_the_copy_then_does() {
    let from = memory("from");
    let all = rich(&from, "dry").await;
    let real = request("v1", &[&all.state_tag]);
    let dry = CopyRequest { dry_run: true, ..real.clone() };
    for quirks in [Quirks::default(), Quirks { no_referrers_api: true, ..Quirks::default() }] {
        let server = Server::start(Config { quirks, ..Config::default() }).await;
        let dir = scratch();
        let (memory, layout) = (memory("to"), OciDir::create(dir.path()).await.unwrap());
        // Nothing there; a part of it and another bundle at the tag; everything.
        for round in 0..3 {
            let remote = repository(&server, "a");
            let ends: [&dyn Manage; 3] = [&memory, &layout, &remote];
            for end in ends {
                if round == 1 {
                    let other = image(end, "dry/amd64").await;
                    tagged(end, all.state_tag.as_str(), media_type::BULLA_STATE, "another").await;
                    end.push_manifest(&other, Some(&tag("v1"))).await.unwrap();
                    end.delete(&by_digest(&all.on_child)).await.unwrap();
                    end.flush().await.unwrap();
                }
                let (before, watched) = (server.requests().len(), Faulty::new(end));
                let mut said = run(&from, &watched, &dry).await.unwrap();
                for write in ["push", "index", "mount", "delete", "flush"] {
                    assert_eq!(watched.count(write), 0, "{:?}", watched.log());
                }
                for asked in &server.requests()[before..] {
                    assert!(["GET", "HEAD"].contains(&asked.method.as_str()), "{asked}");
                }
                assert!(std::mem::take(&mut said.dry_run));
                let done = run(&from, end, &real).await.unwrap();
                assert_eq!(said, done, "round {round}, {}", end.place());
                let new: usize = done.referrers_new.values().sum();
                assert_eq!(new, [3, 1, 0][round], "{}", end.place());
                if round == 1 {
                    assert!(matches!(done.tags[0].action, TagAction::Kept { .. }), "{:?}", done.tags);
                    let own = done.tags.last().unwrap();
                    assert_eq!((&own.tag, &own.action), (&tag("v1"), &TagAction::Replaced));
                    end.push_manifest(&all.state, Some(&all.state_tag)).await.unwrap();
                    end.flush().await.unwrap();
                }
                is_whole(end, &all).await;
            }
        }
    }
}

#[tokio::test]
async fn a_platform_is_copied_under_the_unchanged_index_and_the_rest_can_follow() {
    let from = memory("from");
    let all = rich(&from, "sparse").await;
    let part = CopyRequest { filter: platform("linux/amd64"), ..request("v1", &[&all.state_tag]) };
    let dir = scratch();
    let layout = OciDir::create(dir.path()).await.unwrap();
    let server = Server::start(Config {
        quirks: Quirks { sparse_ok: true, ..Quirks::default() },
        ..Config::default()
    })
    .await;
    let remote = repository(&server, "a");
    let ends: [&dyn Manage; 2] = [&layout, &remote];
    for to in ends {
        let report = run(&from, to, &part).await.unwrap();
        let left = &report.children_left_out[..];
        assert_eq!(
            (left.len(), &left[0].index, &left[0].digest),
            (1, all.root.digest(), all.children[1].digest())
        );
        assert_eq!(left[0].platform.as_deref(), Some("linux/arm64"));
        assert_eq!((report.manifests_pushed, report.left_out.len()), (6, 0));
        assert_eq!(to.resolve(&by_tag("v1")).await.unwrap().as_ref(), Some(&all.root));
        for absent in [&all.children[1], &all.on_child] {
            assert_eq!(to.resolve(&by_digest(absent)).await.unwrap(), None);
        }
        // The tag is right already, and still the whole comes when it is asked for.
        let report = run(&from, to, &request("v1", &[&all.state_tag])).await.unwrap();
        assert_eq!((report.manifests_pushed, report.manifests_present, report.blobs_moved), (2, 6, 2));
        is_whole(to, &all).await;
        // And the part is there then.
        let report = run(&from, to, &part).await.unwrap();
        assert_eq!((report.manifests_pushed, report.blobs_moved), (0, 0));
    }
    // Where indexes must be whole, it says so.
    let strict = memory("strict");
    let e = run(&from, &strict, &part).await.unwrap_err();
    assert!(matches!(&e, CopyError::Sparse { index, .. } if index == all.root.digest()), "{e}");
    assert_eq!(strict.tags(None).await.unwrap(), vec![]);
    // No such platform.
    let none = CopyRequest { filter: platform("linux/s390x"), ..request("v1", &[]) };
    let e = run(&from, &memory("to"), &none).await.unwrap_err();
    assert!(e.to_string().ends_with("there are linux/amd64, linux/arm64"), "{e}");
}

#[tokio::test]
async fn types_are_left_out_and_counted_and_states_and_seals_only_by_name() {
    let from = memory("from");
    let all = rich(&from, "types").await;
    let seal = refer(&from, &all.root, SEAL, "seal").await;
    let (sbom, scan, sig, signature) = (
        "application/vnd.example.sbom",
        "application/vnd.example.scan",
        "application/vnd.example.cosign",
        "application/vnd.example.signature",
    );
    let (state, none) = (media_type::BULLA_STATE, Filter { referrers: false, ..Filter::all() });
    let cases: [Case<'_>; 8] = [
        (Filter::all(), &[], &[sbom, scan, SEAL, signature], 3),
        (only(&[sbom]), &[(sig, 1), (scan, 1), (signature, 1)], &[sbom, SEAL], 2),
        (only(&["application/vnd.example.s*"]), &[(sig, 1)], &[sbom, scan, SEAL, signature], 2),
        // What hangs on what was left out is not looked for.
        (skip(&[sbom]), &[(sbom, 1)], &[scan, SEAL], 3),
        (skip(&["*"]), &[(sig, 1), (sbom, 1), (scan, 1)], &[SEAL], 2),
        (skip(&[SEAL]), &[(SEAL, 1)], &[sbom, scan, signature], 3),
        (
            skip(&["application/vnd.bulla.*", scan]),
            &[(SEAL, 1), (state, 1), (scan, 1)],
            &[sbom, signature],
            2,
        ),
        (none, &[(".sig", 1), (SEAL, 1), (sbom, 1), (scan, 1)], &[], 2),
    ];
    for (filter, left, copied, tags) in cases {
        let to = memory("to");
        let request = CopyRequest { filter: filter.clone(), ..request("v1", &[&all.state_tag]) };
        let report = run(&from, &to, &request).await.unwrap();
        assert_eq!(report.left_out, counted(left), "{filter:?}");
        assert_eq!(
            report.referrers.keys().map(String::as_str).collect::<Vec<_>>(),
            sorted_text(copied),
            "{filter:?}"
        );
        assert_eq!((report.tags.len(), to.tags(None).await.unwrap().len()), (tags, tags), "{filter:?}");
        let (seals, kept) = (vec![&seal], copied.contains(&SEAL));
        let listed = to.referrers(all.root.digest(), Some(SEAL)).await.unwrap();
        assert_eq!(digests(&listed), if kept { sorted(seals) } else { Vec::new() });
        // Nothing more is left out the second time, and nothing less.
        assert_eq!(run(&from, &to, &request).await.unwrap().left_out, counted(left));
    }
}

/// A filter, what it leaves out, types of the referrers that are copied, number of tags.
type Case<'a> = (Filter, &'a [(&'a str, usize)], &'a [&'a str], usize);

fn sorted_text<'a>(of: &[&'a str]) -> Vec<&'a str> {
    let mut of = of.to_vec();
    of.sort_unstable();
    of
}

#[tokio::test]
async fn cosigns_signatures_are_filtered_by_the_type_of_their_layers() {
    let from = memory("from");
    let bundle = image(&from, "signed").await;
    from.push_manifest(&bundle, Some(&tag("v1"))).await.unwrap();
    let kind = "application/vnd.dev.cosign.simplesigning.v1+json";
    let layer = blob(&from, kind, "{\"critical\":{}}").await;
    let config = blob(&from, "application/vnd.oci.image.config.v1+json", "{\"a\":1}").await;
    let doc = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config, "layers": [layer],
    });
    let sig = manifest(&from, media_type::OCI_MANIFEST, &doc).await;
    let at = tag(&format!("{}.sig", bundle.digest().referrers_tag()));
    from.push_manifest(&sig, Some(&at)).await.unwrap();
    for (filter, kept) in
        [(skip(&["application/vnd.dev.cosign.*"]), 1), (only(&[kind]), 2), (only(&["a/b"]), 1)]
    {
        let to = memory("to");
        let report = run(&from, &to, &CopyRequest { filter, ..request("v1", &[]) }).await.unwrap();
        assert_eq!(
            (report.manifests_pushed, report.left_out),
            (
                kept,
                match kept {
                    2 => counted(&[]),
                    _ => counted(&[(kind, 1)]),
                }
            )
        );
    }
}

#[tokio::test]
async fn a_list_at_a_tag_in_which_nothing_refers_to_the_bundle_stops_the_copy() {
    let server = Server::start(Config {
        quirks: Quirks { no_referrers_api: true, ..Quirks::default() },
        ..Config::default()
    })
    .await;
    let from = repository(&server, "a");
    let bundle = image(&from, "foreign").await;
    from.push_manifest(&bundle, Some(&tag("v1"))).await.unwrap();
    let stranger = image(&from, "stranger").await;
    let entries = json!([stranger.descriptor()]);
    let doc = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": entries});
    let list = Content::new(media_type::OCI_INDEX, sorted_json(&doc));
    let at = tag(&bundle.digest().referrers_tag());
    from.push_manifest(&list, Some(&at)).await.unwrap();
    let e = run(&from, &memory("to"), &request("v1", &[])).await.unwrap_err();
    assert!(e.to_string().contains("nothing in it refers to"), "{e}");
    // With one that does, the other is named and the copy goes on.
    refer(&from, &bundle, "a/b", "a real one").await;
    let report = run(&from, &memory("to"), &request("v1", &[])).await.unwrap();
    assert_eq!(report.referrers, counted(&[("a/b", 1)]));
    assert_eq!(report.skipped.len(), 1);
    assert!(matches!(report.skipped[0].reason, SkipReason::NotAReferrer { .. }));
    // Entries whose manifests are gone are named, not hidden.
    server.store(|s| s.repo("a").remove_manifest(&stranger.digest().to_string()));
    let report = run(&repository(&server, "a"), &memory("to"), &request("v1", &[])).await.unwrap();
    assert!(matches!(report.skipped[0].reason, SkipReason::ReferrerGone { .. }), "{:?}", report.skipped);
}

/// A random graph: node `i` may name and refer to earlier ones only, and some have a derived tag.
#[derive(Debug, Clone)]
struct Plan {
    nodes: Vec<PlannedNode>,
    filter: Filter,
}

#[derive(Debug, Clone)]
struct PlannedNode {
    blobs: BTreeSet<u8>,
    children: BTreeSet<usize>,
    subject: Option<usize>,
    kind: usize,
    platform: Option<usize>,
    tagged: bool,
}

const TYPES: [&str; 4] = ["application/vnd.x.one", "application/vnd.x.two", "application/vnd.y", SEAL];
const PLATFORMS: [&str; 2] = ["linux/amd64", "linux/arm64"];

fn plans() -> impl Strategy<Value = Plan> {
    let node = (
        prop::collection::btree_set(0_u8..6, 1..4),
        prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        prop::option::of(any::<prop::sample::Index>()),
        0..TYPES.len(),
        prop::option::of(0..PLATFORMS.len()),
        prop::bool::weighted(0.2),
    );
    let patterns = || prop::sample::subsequence(vec!["application/vnd.x.*", TYPES[1], TYPES[2], SEAL], 0..2);
    let filter = (prop::option::of(0..PLATFORMS.len()), prop::bool::weighted(0.85), patterns(), patterns());
    (prop::collection::vec(node, 2..14), filter).prop_map(|(nodes, (platform, referrers, only, skip))| {
        let planned =
            nodes.into_iter().enumerate().map(|(i, (blobs, children, subject, kind, platform, tagged))| {
                let earlier = |index: prop::sample::Index| (i > 0).then(|| index.index(i));
                PlannedNode {
                    blobs,
                    children: children.into_iter().filter_map(earlier).collect(),
                    subject: subject.and_then(earlier),
                    kind,
                    platform,
                    tagged,
                }
            });
        let owned = |list: Vec<&str>| list.into_iter().map(str::to_owned).collect();
        Plan {
            nodes: planned.collect(),
            filter: Filter {
                platforms: platform.into_iter().map(|p| PLATFORMS[p].parse::<Platform>().unwrap()).collect(),
                referrers,
                only: owned(only),
                skip: owned(skip),
            },
        }
    })
}

/// The graph as it lies in a store: what each node is, and what lies at its derived tag.
struct Laid {
    nodes: Vec<Content>,
    signatures: BTreeMap<usize, Content>,
}

async fn lay(store: &MemoryStore, plan: &Plan) -> Laid {
    let mut laid = Laid { nodes: Vec::new(), signatures: BTreeMap::new() };
    blob(store, media_type::OCI_EMPTY, "{}").await;
    for (i, node) in plan.nodes.iter().enumerate() {
        let mut doc = match node.children.is_empty() {
            true => {
                let mut packer = Packer::new(TYPES[node.kind]).annotation("n", i.to_string());
                for n in &node.blobs {
                    packer = packer.layer(blob(store, "a/b", noise(&n.to_string(), 40)).await);
                }
                serde_json::from_slice::<Value>(packer.build().bytes()).unwrap()
            }
            false => {
                let entry = |c: &usize| {
                    let mut d = laid.nodes[*c].descriptor().clone();
                    d.platform = plan.nodes[*c].platform.map(|p| PLATFORMS[p].parse().unwrap());
                    json!(d)
                };
                json!({
                    "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "artifactType": TYPES[node.kind],
                    "manifests": node.children.iter().map(entry).collect::<Vec<_>>(), "n": i,
                })
            }
        };
        if let Some(subject) = node.subject {
            doc["subject"] = json!(laid.nodes[subject].descriptor());
        }
        let kind = doc["mediaType"].as_str().unwrap().to_owned();
        let content = manifest(store, &kind, &doc).await;
        if node.tagged {
            let at = format!("{}.sig", content.digest().referrers_tag());
            laid.signatures.insert(i, tagged(store, &at, TYPES[node.kind], &i.to_string()).await);
        }
        laid.nodes.push(content);
    }
    laid
}

/// What a copy of the last node should take, left out by type, and left out by platform: digests.
#[derive(Default, Debug)]
struct Expected {
    kept: BTreeSet<String>,
    by_type: BTreeSet<String>,
    by_platform: BTreeSet<String>,
    fits: bool,
}

fn expected(plan: &Plan, laid: &Laid, filter: &Filter) -> Expected {
    let mut expected = Expected::default();
    let mut seen = BTreeSet::new();
    let mut queue = vec![plan.nodes.len() - 1];
    let name = |i: usize| laid.nodes[i].digest().to_string();
    let fits = |pattern: &String, kind: &str| match pattern.strip_suffix('*') {
        Some(prefix) => kind.starts_with(prefix),
        None => pattern == kind,
    };
    let keeps = |kind: usize| {
        let kind = TYPES[kind];
        let skipped = filter.skip.iter().any(|p| fits(p, kind));
        let wanted = filter.only.is_empty() || filter.only.iter().any(|p| fits(p, kind));
        filter.referrers && !skipped && (wanted || kind == SEAL)
    };
    while let Some(i) = queue.pop() {
        if !seen.insert(i) {
            continue;
        }
        expected.kept.insert(name(i));
        for &child in &plan.nodes[i].children {
            let platform = plan.nodes[child].platform.map(|p| PLATFORMS[p].parse::<Platform>().unwrap());
            match platform {
                Some(p) if !filter.platforms.is_empty() && !filter.platforms.contains(&p) => {
                    expected.by_platform.insert(name(child));
                }
                p => {
                    expected.fits |= p.is_some();
                    queue.push(child);
                }
            }
        }
        for (r, _) in plan.nodes.iter().enumerate().filter(|(_, n)| n.subject == Some(i)) {
            match keeps(plan.nodes[r].kind) {
                true => queue.push(r),
                false => drop(expected.by_type.insert(name(r))),
            }
        }
        if let Some(signature) = laid.signatures.get(&i) {
            let to = if keeps(plan.nodes[i].kind) { &mut expected.kept } else { &mut expected.by_type };
            to.insert(signature.digest().to_string());
        }
    }
    let kept = expected.kept.clone();
    expected.by_type.retain(|d| !kept.contains(d));
    expected.by_platform.retain(|d| !kept.contains(d));
    expected
}

async fn copied(
    from: &MemoryStore,
    to: &dyn Manage,
    bundle: &Content,
    filter: &Filter,
) -> Result<CopyReport, CopyError> {
    let request = CopyRequest {
        tags: vec![tag("v1")],
        filter: filter.clone(),
        concurrency: 3,
        ..CopyRequest::new(by_digest(bundle))
    };
    copy(from, to, &request, &KeepExisting, &Unobserved).await
}

async fn check(plan: &Plan) {
    let from = memory("from");
    let laid = lay(&from, plan).await;
    let bundle = laid.nodes.last().unwrap();
    // All of it.
    let whole = expected(plan, &laid, &Filter::all());
    let to = memory("to");
    let report = copied(&from, &to, bundle, &Filter::all()).await.unwrap();
    assert_eq!(report.manifests_pushed, whole.kept.len());
    assert_eq!(to.counts().0, whole.kept.len());
    assert_eq!((report.left_out.len(), report.children_left_out.len()), (0, 0));
    // A part of it: what is copied, what is left out and what hangs on that are all of it.
    let part = expected(plan, &laid, &plan.filter);
    let dir = scratch();
    let (sparse, strict) = (OciDir::create(dir.path()).await.unwrap(), memory("to"));
    let to: &dyn Manage = if plan.filter.platforms.is_empty() { &strict } else { &sparse };
    let report = match copied(&from, to, bundle, &plan.filter).await {
        Err(CopyError::NoPlatform { .. }) => {
            assert!(!part.fits && !part.by_platform.is_empty());
            return;
        }
        report => report.unwrap(),
    };
    assert_eq!(report.manifests_pushed, part.kept.len(), "{report:?}");
    assert_eq!(report.left_out.values().sum::<usize>(), part.by_type.len(), "{report:?} {part:?}");
    let children: BTreeSet<String> = report.children_left_out.iter().map(|c| c.digest.to_string()).collect();
    assert_eq!(children, part.by_platform);
    for digest in &part.kept {
        let at = Selector::Digest(digest.parse().unwrap());
        assert!(to.resolve(&at).await.unwrap().is_some(), "{digest}");
    }
    for digest in part.by_type.iter().chain(&part.by_platform) {
        assert!(whole.kept.contains(digest) && !part.kept.contains(digest));
        assert_eq!(to.resolve(&Selector::Digest(digest.parse().unwrap())).await.unwrap(), None);
    }
    let mut reached: BTreeSet<String> = part.kept.clone();
    for left in part.by_type.iter().chain(&part.by_platform) {
        let Some(i) = laid.nodes.iter().position(|n| n.digest().to_string() == *left) else {
            reached.insert(left.clone());
            continue;
        };
        reached.extend(closure_of(plan, &laid, i));
    }
    assert_eq!(reached, whole.kept);
    // The rest follows, and nothing of the part moves again.
    let report = copied(&from, to, bundle, &Filter::all()).await.unwrap();
    assert_eq!(
        (report.manifests_present, report.manifests_pushed),
        (part.kept.len(), whole.kept.len() - part.kept.len())
    );
}

fn closure_of(plan: &Plan, laid: &Laid, from: usize) -> BTreeSet<String> {
    let (mut out, mut queue) = (BTreeSet::new(), vec![from]);
    while let Some(i) = queue.pop() {
        if !out.insert(laid.nodes[i].digest().to_string()) {
            continue;
        }
        queue.extend(&plan.nodes[i].children);
        queue.extend(plan.nodes.iter().enumerate().filter(|(_, n)| n.subject == Some(i)).map(|(r, _)| r));
        out.extend(laid.signatures.get(&i).map(|s| s.digest().to_string()));
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn of_any_graph_what_is_copied_and_what_is_left_out_are_all(plan in plans()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check(&plan));
    }
}

#[tokio::test]
async fn referrers_that_are_listed_and_gone_are_not_counted_as_left_out() {
    let (from, to) = (memory("from"), memory("to"));
    let bundle = image(&from, "gone").await;
    from.push_manifest(&bundle, Some(&tag("v1"))).await.unwrap();
    let gone = bulla::oci::Descriptor::of(media_type::OCI_MANIFEST, b"collected as garbage");
    let claims = vec![(bundle.digest().clone(), gone)];
    let source = Faulty::with(&from, Faults { claims, ..Faults::default() });
    let report =
        run(&source, &to, &CopyRequest { filter: only(&["a/b"]), ..request("v1", &[]) }).await.unwrap();
    assert_eq!((report.left_out.len(), report.skipped.len()), (0, 1));
}

/// The index of an index: platforms are chosen at each.
#[tokio::test]
async fn platforms_are_chosen_in_nested_indexes_and_what_has_none_stays() {
    let from = memory("from");
    let images = [image(&from, "n/amd64").await, image(&from, "n/arm64").await];
    let inner = index(&from, &[&images[0], &images[1]]).await;
    let config = image(&from, "n/config").await;
    let entries = json!([config.descriptor(), inner.descriptor()]);
    let doc = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": entries});
    let outer = manifest(&from, media_type::OCI_INDEX, &doc).await;
    from.push_blob(&bulla::oci::empty_descriptor(), &BytesSource("{}".into())).await.unwrap();
    let dir = scratch();
    let to = OciDir::create(dir.path()).await.unwrap();
    let request = CopyRequest { filter: platform("linux/arm64"), ..CopyRequest::new(by_digest(&outer)) };
    let report = run(&from, &to, &request).await.unwrap();
    assert_eq!(report.manifests_pushed, 4);
    assert_eq!(report.children_left_out[0].index, *inner.digest());
    assert_eq!(to.resolve(&by_digest(&images[0])).await.unwrap(), None);
}
