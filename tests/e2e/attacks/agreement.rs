//! Sources that must agree, over real registries.

use bulla::client::stores::Stores;
use bulla::client::{duties, whole};
use bulla::oci::Content;
use bulla::trust::{OwnKeys, Report, SourceSpec, TrustFile, Verdict};
use bulla::tuf::{AGREEMENT, Limits, PathPattern, Paths, RoleName, delegation};
use serde_json::json;

use super::scene::{REPO, Scene, image, list, push};
use super::sim::{DAY, NOW, Sim, SimKey, SimRole, heading, resigned, signers};
use crate::registry::{Config, Fault, Registry};
use crate::servers::place;

const RELEASES: &str = "targets/releases";
const SECURITY: &str = "targets/security";

/// A security role behind the terminating releases, that lists `listed` as v1.
fn add_security(sim: &mut Sim, listed: &[&Content]) {
    let patterns = Sim::name().release_patterns();
    let paths = Paths::Patterns(patterns.iter().map(|p| PathPattern::parse(p).unwrap()).collect());
    let mut delegations = sim.delegations();
    let key = SimKey::new(21);
    delegations.push(delegation(SECURITY.parse().unwrap(), &signers(&[&key], 1), paths, true));
    sim.delegated = Some(delegations);
    let mut other = Sim::new();
    listed.iter().for_each(|bundle| list(&mut other, bundle, "v1"));
    let (name, heading) = (SECURITY.parse().unwrap(), heading(5, NOW, 90 * DAY));
    sim.more = vec![SimRole { name, key, heading, entries: other.entries, delegations: vec![] }];
}

fn role(name: &str) -> SourceSpec {
    SourceSpec { role: Some(name.parse().unwrap()), ..SourceSpec::default() }
}

/// Verify by one anchor of these sources.
async fn judged(scene: &Scene, sources: Vec<SourceSpec>, min: u32) -> Report {
    let mut trust = TrustFile::default();
    trust.anchors.push(scene.anchor().with_sources(sources, Some(min)).unwrap());
    scene.verify_by(trust, &Stores::new(scene.config.clone())).await
}

fn says(report: &Report) -> String {
    match report.verdict() {
        Verdict::Trusted => "trusted".into(),
        Verdict::NotTrusted => format!("no: {}", report.because().unwrap().code),
        Verdict::NotChecked => "not checked".into(),
        Verdict::Undecided => format!("undecided: {}", report.because().unwrap().code),
    }
}

/// The scene with security listing the bundle, or nothing.
async fn with_security(listed: bool) -> Scene {
    let mut scene = Scene::new().await;
    let bundle = scene.bundle.clone();
    add_security(&mut scene.sim, &[&bundle][..usize::from(listed)]);
    scene.serve();
    scene
}

#[tokio::test]
async fn dev_and_security_with_one_missing() {
    let both = || vec![role(RELEASES), role(SECURITY)];
    let agreed = with_security(true).await;
    assert_eq!(says(&judged(&agreed, both(), 2).await), "trusted");
    let missing = with_security(false).await;
    let report = judged(&missing, both(), 2).await;
    assert_eq!(says(&report), "no: agreement.short");
    let verdicts: Vec<Verdict> = report.anchors[0].sources.iter().map(|s| s.verdict()).collect();
    assert_eq!(verdicts, [Verdict::Trusted, Verdict::NotTrusted]);
    // Whoever asks for developers only is not stopped by it.
    assert_eq!(says(&judged(&missing, vec![role(RELEASES)], 1).await), "trusted");
}

#[tokio::test]
async fn a_seal_carries_every_role_that_may_speak_for_its_bundle() {
    let scene = with_security(true).await;
    let files = scene.sim.files();
    let (name, limits) = (Sim::name(), Limits::default());
    let chain = whole::walk(&scene.sim.roots[0], &name, &[&files], &limits).unwrap();
    let state = whole::Whole::judge(&chain, &files, &name, NOW, &limits).unwrap();
    let tags = ["v1".parse().unwrap()].into();
    let seal = duties::seal_of(&state, &name, scene.bundle.descriptor(), &tags).unwrap();
    push(&scene.registry, &seal, None);
    scene.remove_state();
    let report = judged(&scene, vec![role(RELEASES), role(SECURITY)], 2).await;
    assert_eq!(says(&report), "trusted", "{report:#?}");
}

/// Three registries with the same state; the bundle lies on the first.
async fn three() -> (Scene, Vec<Registry>, Vec<SourceSpec>) {
    let scene = Scene::new().await;
    let more = vec![Registry::start(Config::default()).await, Registry::start(Config::default()).await];
    for registry in &more {
        scene.serve_at(registry, &scene.sim.files());
    }
    let specs = three_of(&scene, &more);
    (scene, more, specs)
}

#[tokio::test]
async fn two_of_three_registries_with_one_lying() {
    let (mut scene, more, specs) = three().await;
    assert_eq!(says(&judged(&scene, specs.clone(), 3).await), "trusted");
    // One serves the past, well signed and not expired.
    let mut old = Sim::new();
    old.at_version(4, NOW);
    scene.serve_at(&more[0], &old.files());
    let report = judged(&scene, specs.clone(), 2).await;
    assert_eq!(says(&report), "trusted");
    assert_eq!(report.anchors[0].sources[1].verdict(), Verdict::NotTrusted);
    scene.serve_at(&more[1], &old.files());
    assert_eq!(says(&judged(&scene, specs.clone(), 2).await), "no: agreement.short");
    // The registry of the bundle is the liar: the thief of the releases and online keys lists another bundle.
    let mut thief = Sim::new();
    thief.at_version(6, NOW);
    let evil = image("evil");
    list(&mut thief, &evil, "v1");
    place(&scene.registry, REPO, Some("v1"), &evil);
    scene.serve_files(&thief.files());
    more.iter().for_each(|registry| scene.serve_at(registry, &scene.sim.files()));
    scene.bundle = evil;
    assert_eq!(says(&judged(&scene, specs, 2).await), "no: agreement.short");
}

fn three_of(scene: &Scene, more: &[Registry]) -> Vec<SourceSpec> {
    let hosts = std::iter::once(scene.registry.host()).chain(more.iter().map(Registry::host));
    let at = |h: String| SourceSpec { at: format!("{h}/{REPO}").parse().ok(), ..SourceSpec::default() };
    hosts.map(|h| at(h.to_string())).collect()
}

#[tokio::test]
async fn registries_that_cannot_be_looked_at() {
    let (scene, more, specs) = three().await;
    let refuse = |registry: &Registry| registry.fault(Fault::on("GET", &Scene::state_path()).status(403));
    refuse(&more[0]);
    assert_eq!(says(&judged(&scene, specs.clone(), 2).await), "trusted");
    refuse(&more[1]);
    assert_eq!(says(&judged(&scene, specs.clone(), 2).await), "undecided: agreement.open");
    scene.remove_state();
    assert_eq!(says(&judged(&scene, specs.clone(), 3).await), "no: agreement.short");
}

#[tokio::test]
async fn a_hostile_top_level_targets_under_keys_of_ones_own() {
    let own = |seed| SourceSpec {
        keys: Some(OwnKeys::new(1, [SimKey::new(seed).public()]).unwrap()),
        ..role(SECURITY)
    };
    let mut scene = with_security(true).await;
    assert_eq!(says(&judged(&scene, vec![own(21)], 1).await), "trusted");
    assert_eq!(says(&judged(&scene, vec![own(22)], 1).await), "no: agreement.short");
    // Top-level targets takes the delegation away, lists something else by itself, and expires.
    let evil = image("evil");
    let mut other = Sim::new();
    list(&mut other, &evil, "v1");
    scene.sim.top = other.entries;
    scene.sim.delegated = Some(vec![]);
    scene.sim.at_version(6, NOW);
    scene.sim.targets = heading(6, NOW.plus(-2 * DAY), DAY);
    scene.serve();
    assert_eq!(says(&judged(&scene, vec![own(21)], 1).await), "trusted");
    place(&scene.registry, REPO, Some("v1"), &evil);
    assert_eq!(says(&judged(&scene, vec![own(21)], 1).await), "no: agreement.short");
}

#[tokio::test]
async fn what_the_owner_demands_is_not_lowered_by_an_anchor() {
    let demand = |scene: &mut Scene| {
        let signer = scene.sim.targets_key.again();
        let demanded = json!({"min": 2, "roles": [RELEASES, SECURITY]});
        let edit = move |file| resigned(&file, |part| part[AGREEMENT] = demanded.clone(), &[&signer]);
        scene.sim.edits.insert(RoleName::targets(), Box::new(edit));
        scene.serve();
    };
    let mut missing = with_security(false).await;
    demand(&mut missing);
    assert_eq!(missing.outcome().await, "no: agreement.owner.short");
    assert_eq!(says(&judged(&missing, vec![role(RELEASES)], 1).await), "no: agreement.short");
    let mut agreed = with_security(true).await;
    demand(&mut agreed);
    assert_eq!(agreed.outcome().await, "trusted by state");
}
