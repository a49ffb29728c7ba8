//! `bulla copy` of several sources, parts of bundles, looks ahead, and of what is trusted only.

mod trusted;

use std::path::Path;

use bulla::store::layout::OciDir;
use bulla::store::{Manage as _, Store as _};
use serde_json::Value;

use crate::bundles::{self, Rich};
use crate::places::run;
use crate::registry::{Action, Config, Fault, Registry};
use crate::releases::Stage;
use crate::run::{Bulla, Ran};

/// A layout with the rich bundle as v1, an image as v2, and a registry.
struct Scene {
    home: tempfile::TempDir,
    registry: Registry,
    rich: Rich,
}

impl Scene {
    async fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let store = OciDir::create(home.path().join("layout")).await.unwrap();
        let rich = bundles::rich(&store, "many").await;
        let other = bundles::image(&store, "many/other").await;
        store.push_manifest(&other, Some(&bundles::tag("v2"))).await.unwrap();
        store.flush().await.unwrap();
        Self { home, registry: Registry::start(Config::default()).await, rich }
    }

    fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.registry.host())
    }

    fn dir(&self, name: &str) -> String {
        format!("oci:{}", self.home.path().join(name).display())
    }

    async fn copy(&self, arguments: String) -> Ran {
        run(Bulla::at(self.home.path()), format!("copy {arguments}")).await
    }

    async fn with_list(&self, list: &str, arguments: &str) -> Ran {
        let bulla = Bulla::at(self.home.path()).stdin(list.as_bytes());
        run(bulla, format!("copy --from-file - {arguments}")).await
    }

    fn tags(&self, name: &str) -> Vec<String> {
        self.registry.tags(name).into_iter().map(|(tag, _)| tag).collect()
    }

    /// Requests that change something.
    fn writes(&self) -> usize {
        ["PUT", "POST", "PATCH", "DELETE"].iter().map(|m| self.registry.count(m, "*")).sum()
    }
}

fn list<'a>(json: &'a Value, member: &str) -> Vec<&'a str> {
    let copies = json["result"]["copies"].as_array().expect("a list of copies");
    copies.iter().map(|c| c[member].as_str().unwrap_or("-")).collect()
}

fn code(ran: &Ran) -> (u8, String) {
    (ran.exit, ran.json()["error"]["code"].as_str().unwrap_or("-").to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn several_sources_keep_their_tags_and_share_what_they_have() {
    let scene = Scene::new().await;
    let (layout, team) = (scene.dir("layout"), scene.at("team/app"));
    let text = scene.copy(format!("{layout}:v1 {layout}:v2 {team}")).await.ok();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("source ") && lines[0].ends_with("result  moved     referrers"), "{text}");
    assert!(lines[1].starts_with(&format!("{layout}:v1  {team}:v1  copied ")), "{text}");
    assert!(lines[1].ends_with(" 3") && lines[2].ends_with("3.0 kB    0"), "{text}");
    assert!(lines[4].starts_with("2 of 2 copied, ") && lines[4].ends_with("3 referrers listed"), "{text}");
    let tags = scene.tags("team/app");
    assert!(
        ["v1", "v2", scene.rich.state_tag.as_str()].iter().all(|t| tags.iter().any(|x| x == t)),
        "{tags:?}"
    );
    let shared = bulla::oci::Digest::sha256(&bundles::noise("many", 700_000));
    let uploads = scene.registry.count("PUT", &format!("*{}*", shared.hex()));
    assert_eq!(uploads, 1, "a blob of both moves once");

    // Under a prefix the repository stays; another run moves nothing.
    scene.registry.clear();
    let line = format!("{team}:v1 {team}:v2 {}/mirror/ --format json", scene.registry.host());
    let json = scene.copy(line.clone()).await.json();
    assert_eq!(list(&json, "status"), ["copied", "copied"], "{json:#}");
    assert_eq!(list(&json, "destination")[1], scene.at("mirror/team/app:v2"));
    assert_eq!(scene.registry.count("GET", "/v2/team/app/tags/list*"), 1, "one list of tags");
    scene.registry.clear();
    scene.copy(line).await.ok();
    assert_eq!(scene.writes(), 0, "{}", scene.registry.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_failure_stops_the_others_only_when_that_is_asked() {
    let scene = Scene::new().await;
    let (layout, team) = (scene.dir("layout"), scene.at("team/app"));
    let line = format!("{layout}:v1 {layout}:gone {layout}:v2 {team}");
    let ran = scene.copy(line.clone()).await;
    assert_eq!(ran.exit, 3, "{ran:#?}");
    assert!(ran.out.contains("failed: ref.absent") && ran.out.contains("2 of 3 copied"), "{}", ran.out);
    assert!(ran.err.contains("error: 1 of 3 could not be copied"), "{}", ran.err);
    let ran = scene.copy(format!("{line} --fail-fast --format json")).await;
    let json = ran.json();
    assert_eq!(code(&ran), (3, "copy.incomplete".into()), "{ran:#?}");
    assert_eq!(list(&json, "status"), ["copied", "failed", "not-begun"]);
    assert_eq!(json["result"]["copies"][1]["error"]["code"], "ref.absent");
    assert_eq!(json["result"]["copies"][1]["exitCode"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_names_sources_and_destinations_and_errors_name_the_line() {
    let scene = Scene::new().await;
    let (layout, team, stick) = (scene.dir("layout"), scene.at("team/app"), scene.dir("stick"));
    let lines = format!("# all\n{layout}:v1\n\n{layout}:v2\t{stick}:web # named here\n");
    let ran = scene.with_list(&lines, &format!("{team} --format json")).await;
    let json = ran.json();
    assert_eq!(list(&json, "destination"), [format!("{team}:v1"), format!("{stick}:web")], "{json:#}");
    assert_eq!((ran.exit, list(&json, "status")), (0, vec!["copied", "copied"]));

    let other = scene.at("other/app");
    for (lines, arguments, words) in [
        (format!("{layout}:v1\nalpine {team}\n"), "", "line 2: \"alpine\" names no registry"),
        (format!("\n{layout} {team}\n"), "", "line 2: "),
        (format!("{layout}:v1\n"), "", "line 1: "),
        (format!("{layout}:v1 {team} {team}\n"), "", "line 1: 3 words"),
        (format!("{layout}:v1\n{other}:v1\n"), team.as_str(), "line 2: "),
        (format!("{layout}:v1 {team}\n{other}:v1 {team}:v1\n"), "", "line 2: "),
        ("# nothing\n".to_owned(), team.as_str(), "names no source"),
        (format!("{layout}:v1\n"), "--username me --password-stdin", "both read standard input"),
    ] {
        scene.registry.clear();
        let ran = scene.with_list(&lines, &format!("{arguments} --format json")).await;
        assert_eq!(code(&ran), (2, "usage".into()), "{lines}: {ran:#?}");
        assert!(
            ran.out.contains(&serde_json::to_string(words).unwrap().trim_matches('"').to_owned()),
            "{lines}: {}",
            ran.out
        );
        assert_eq!(scene.registry.requests().len(), 0, "nothing is asked");
    }
    let large = "#".repeat(1024 * 1024 + 1);
    let ran = scene.with_list(&large, &format!("{team} --format json")).await;
    assert!(code(&ran) == (2, "usage".into()) && ran.out.contains("larger than"), "{ran:#?}");
    let gone =
        scene.copy(format!("--from-file {}/gone {team} --format json", scene.home.path().display())).await;
    assert_eq!(code(&gone), (3, "file.unreadable".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_together_is_refused_before_anything_is_asked() {
    let scene = Scene::new().await;
    let (layout, host) = (scene.dir("layout"), scene.registry.host());
    for line in [
        format!("{layout}:v1"),
        format!("{layout}:v1 {layout}:v2 {host}/a:v1"),
        format!("{host}/a:v1 {host}/b:v1 {host}/c"),
        format!("{layout}:v1 {layout}:v2 {host}/"),
        format!("{host}/a/ {host}/b"),
        format!("{host}/a:v1 {host}/a"),
        format!("--all-tags {host}/a:v1 {host}/b"),
        format!("--all-tags {host}/a {host}/b:v1"),
        format!("--all-tags {host}/a {host}/b {host}/c"),
        format!("--only a/b --no-referrers {host}/a:v1 {host}/b"),
        format!("--platform linux {host}/a:v1 {host}/b"),
        format!("--as example.com/a:v1 {host}/a:v1 {host}/b"),
        format!("--verify --as example.com/a:v1 {host}/a:v1 {host}/a:v2 {host}/b"),
        format!("--from-file list {host}/a:v1 {host}/b"),
    ] {
        let ran = scene.copy(format!("{line} --format json")).await;
        assert_eq!(code(&ran), (2, "usage".into()), "{line}: {ran:#?}");
    }
    assert_eq!(scene.registry.requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_tags_but_lists_and_submissions() {
    let scene = Scene::new().await;
    let layout = OciDir::open(scene.home.path().join("layout")).await.unwrap();
    let orphan = format!("sha256-{}.sig", "a".repeat(64));
    bundles::tagged(&layout, &orphan, "application/vnd.example.cosign", "of an untagged image").await;
    let submission = format!("{}.s.{}", scene.rich.state_tag, "0".repeat(32));
    bundles::tagged(&layout, &submission, bulla::oci::media_type::BULLA_SUBMISSION, "waits").await;
    layout.flush().await.unwrap();
    let (from, team) = (scene.dir("layout"), scene.at("team/app"));
    let json = scene.copy(format!("--all-tags {from} {team} --format json")).await.json();
    let sources: Vec<String> = ["v1", "v2", &orphan].iter().map(|t| format!("{from}:{t}")).collect();
    assert_eq!(list(&json, "source"), sources, "{json:#}");
    let mut tags = scene.tags("team/app");
    tags.sort();
    let mut all = ["v1", "v2", scene.rich.sig_tag.as_str(), scene.rich.state_tag.as_str(), &orphan];
    all.sort_unstable();
    assert_eq!(tags, all);
    let again = scene.copy(format!("--all-tags {from} {team} --format json")).await.json();
    let moved =
        again["result"]["copies"].as_array().unwrap().iter().map(|c| c["copied"]["bytes"].as_u64().unwrap());
    assert_eq!(moved.sum::<u64>(), 0, "{again:#}");

    let empty = scene.copy(format!("--all-tags {} {team} --format json", scene.at("no/such"))).await;
    assert_eq!(list(&empty.json(), "status"), ["failed"], "{empty:#?}");
    assert_eq!(empty.json()["result"]["copies"][0]["error"]["code"], "ref.absent");
}

/// A dry run says what the copy then does, and writes nothing: no request that changes, no directory.
#[tokio::test(flavor = "multi_thread")]
async fn a_look_ahead_writes_nothing_and_is_right() {
    let scene = Scene::new().await;
    let (layout, team) = (scene.dir("layout"), scene.at("team/app"));
    let line = format!("{layout}:v1 {team} --format json");
    let planned = scene.copy(format!("{line} --dry-run")).await.json();
    assert_eq!((scene.writes(), &planned["result"]["status"]), (0, &"planned".into()), "{planned:#}");
    let done = scene.copy(line.clone()).await.json();
    for member in ["digest", "copied", "present", "tags", "tagActions", "states"] {
        assert_eq!(planned["result"][member], done["result"][member], "{member}");
    }
    assert_eq!(planned["result"]["referrers"]["listed"], 0);
    assert_eq!(planned["result"]["referrers"]["new"], 3);
    let again = scene.copy(format!("{line} --dry-run")).await.json();
    assert_eq!(again["result"]["copied"]["bytes"], 0, "{again:#}");

    let (stick, other) = (scene.dir("stick"), scene.home.path().join("stick"));
    let text = scene.copy(format!("{team}:v1 {stick}:new --dry-run")).await.ok();
    assert!(text.starts_with("would copy ") && text.contains("  tag     new: new"), "{text}");
    assert!(text.ends_with("nothing was written\n"), "{text}");
    assert!(!other.exists(), "no directory is made");
    scene.copy(format!("{team}:v1 {stick}")).await.ok();
    let before = fingerprint(&other);
    let text = scene.copy(format!("{team}:v2 {team}:v1 {stick} --dry-run")).await;
    assert_eq!((text.exit, fingerprint(&other) == before), (3, true), "v2 is not there, {text:#?}");
    assert!(text.out.contains("there already"), "{}", text.out);
}

/// Every file below a directory, with its length and bytes' digest.
fn fingerprint(dir: &Path) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()) {
            if entry.is_dir() {
                open.push(entry);
            } else {
                let digest = bulla::oci::Digest::sha256(&std::fs::read(&entry).unwrap());
                out.push((entry.display().to_string(), digest.to_string()));
            }
        }
    }
    out.sort();
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_are_left_out_and_said() {
    let scene = Scene::new().await;
    let layout = scene.dir("layout");
    let copy = async |flags: &str, to: &str| {
        scene.copy(format!("{layout}:v1 {} {flags} --format json", scene.dir(to))).await.json()
    };
    let json = copy("--no-referrers", "bare").await;
    assert_eq!(json["result"]["referrers"]["expected"], 0, "{json:#}");
    assert_eq!(json["result"]["states"][0]["action"], "copied");
    let json = copy("--only application/vnd.example.s*", "only").await;
    assert_eq!(json["result"]["referrers"]["expected"], 3, "{json:#}");
    let json = copy("--skip application/vnd.example.scan", "skip").await;
    assert_eq!(json["result"]["leftOut"]["byType"]["application/vnd.example.scan"], 1, "{json:#}");
    let json = copy("--platform linux/amd64", "one").await;
    assert_eq!(json["result"]["leftOut"]["children"][0]["platform"], "linux/arm64", "{json:#}");
    assert_eq!(json["result"]["digest"], scene.rich.root.digest().to_string());
    let ran =
        scene.copy(format!("{layout}:v1 {} --platform plan9/mips --format json", scene.dir("none"))).await;
    assert_eq!(code(&ran), (3, "copy.platform".into()));
    let text = scene.copy(format!("{layout}:v1 {} --platform linux/amd64", scene.dir("text"))).await.ok();
    assert!(text.contains("left out  1 children: linux/arm64"), "{text}");
}

/// Tags may not be listed at the source: states of anchored collections and cosign's tags are asked for by name.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_does_not_list_its_tags() {
    let stage = Stage::new().await;
    stage.init().await;
    stage.publish("v1").await.ok();
    stage.deployer().await;
    let at = stage.at();
    stage.registry.fault(Fault::on("GET", "/v2/team/app/tags/list*").status(403));
    stage.registry.clear();
    let ran = stage.by("deployer", format!("copy {at}:v1 oci:{}", stage.path("stick"))).await;
    assert!(ran.exit == 0 && ran.out.contains("states 1   tags 2"), "{ran:#?}");
    assert!(ran.err.contains("(copy.tags-unlisted)") && ran.err.contains("denied"), "{}", ran.err);
    assert!(stage.registry.count("GET", "/v2/team/app/tags/list*") <= 2, "{}", stage.registry.log());
    stage
        .by("deployer", format!("verify oci:{}:v1 --as {}", stage.path("stick"), crate::releases::NAME))
        .await
        .ok();
    // Who anchors nothing names the collection.
    let other = stage.path("other-stick");
    let ran = stage.by("nobody", format!("copy {at}:v1 oci:{other}")).await;
    assert!(ran.out.contains("states 0   tags 1"), "{ran:#?}");
    let ran = stage.by("nobody", format!("copy {at}:v1 oci:{other} --as {}", crate::releases::NAME)).await;
    assert!(ran.out.contains("states 1   tags 2"), "{ran:#?}");
    let all = stage.by("nobody", format!("copy --all-tags {at} oci:{other} --format json")).await;
    assert_eq!(all.json()["result"]["copies"][0]["error"]["code"], "registry.forbidden", "{all:#?}");
}

/// A list that cannot be whole is not believed: signatures and states would be lost without a word.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_tags_that_cannot_be_whole_is_not_believed() {
    let scene = Scene::new().await;
    let team = scene.at("team/app");
    scene.copy(format!("{}:v1 {team}", scene.dir("layout"))).await.ok();
    let answer = |tags: &str| Action::Answer {
        status: 200,
        content_type: "application/json".into(),
        body: format!("{{\"name\": \"team/app\", \"tags\": {tags}}}").into(),
    };
    let fault = || Fault::on("GET", "/v2/team/app/tags/list*");
    let by_digest = format!("{team}@{}", scene.rich.root.digest());
    let by_tag = format!("{team}:v1");
    for (n, (fault, reference)) in [
        (fault().status(404), &by_tag),
        (fault().action(answer("[]")), &by_tag),
        (fault().action(answer("[\"v0\"]")), &by_tag),
        (fault().status(404), &by_digest),
    ]
    .into_iter()
    .enumerate()
    {
        scene.registry.fault(fault);
        let name = format!("stick-{n}");
        let ran = scene.copy(format!("{reference} {}", scene.dir(&name))).await;
        assert!(ran.exit == 0 && ran.err.contains("(copy.tags-unlisted)"), "{n}: {ran:#?}");
        let tags = OciDir::open(scene.home.path().join(&name)).await.unwrap().tags(None).await.unwrap();
        assert!(tags.contains(&scene.rich.sig_tag), "{n}: {tags:?}");
        scene.registry.behave();
    }
    let whole = scene.copy(format!("{by_tag} {}", scene.dir("whole"))).await;
    assert!(!whole.err.contains("tags-unlisted"), "{whole:#?}");

    // The states of anchored collections are asked for by name.
    let stage = Stage::new().await;
    stage.init().await;
    stage.publish("v1").await.ok();
    stage.deployer().await;
    stage.registry.fault(Fault::on("GET", "/v2/team/app/tags/list*").status(404));
    let ran = stage.by("deployer", format!("copy {}:v1 oci:{}", stage.at(), stage.path("stick"))).await;
    assert!(ran.exit == 0 && ran.out.contains("states 1   tags 2"), "{ran:#?}");
}

/// One archive under two names is one archive; one into which nothing was copied stays as it was.
#[tokio::test(flavor = "multi_thread")]
async fn an_archive_is_known_by_its_place_and_left_alone_when_nothing_arrived() {
    let scene = Scene::new().await;
    let layout = scene.dir("layout");
    let (file, home) = (scene.home.path().join("old.tar"), scene.home.path().display().to_string());
    let lines = format!("{layout}:v1 oci-archive:{home}/x.tar\n{layout}:v2 oci-archive:{home}/./x.tar\n");
    let begun = std::time::Instant::now();
    let ran = scene.with_list(&lines, "--format json").await;
    assert_eq!((ran.exit, list(&ran.json(), "status")), (0, vec!["copied", "copied"]), "{ran:#?}");
    assert!(begun.elapsed() < std::time::Duration::from_secs(30), "nobody waits for a lock of his own");
    for tag in ["v1", "v2"] {
        run(Bulla::at(scene.home.path()), format!("inspect oci-archive:{home}/x.tar:{tag}")).await.ok();
    }

    let plain = OciDir::create(scene.home.path().join("plain")).await.unwrap();
    let image = bundles::image(&plain, "else").await;
    plain.push_manifest(&image, Some(&bundles::tag("v9"))).await.unwrap();
    plain.flush().await.unwrap();
    scene.copy(format!("{}:v9 oci-archive:{home}/old.tar", scene.dir("plain"))).await.ok();
    let before = std::fs::read(&file).unwrap();
    let team = scene.at("team/app");
    scene.copy(format!("{layout}:v1 {team}")).await.ok();
    let hash = bulla::oci::Digest::sha256(&bundles::noise("many", 700_000));
    scene.registry.fault(Fault::on("GET", &format!("/v2/team/app/blobs/{hash}")).status(500));
    for name in ["old.tar", "new.tar"] {
        let ran = scene.copy(format!("{team}:v1 oci-archive:{home}/{name}")).await;
        assert_eq!(ran.exit, 3, "{ran:#?}");
    }
    assert!(std::fs::read(&file).unwrap() == before, "it is as it was");
    assert!(!scene.home.path().join("new.tar").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_says_what_it_mended() {
    let scene = Scene::new().await;
    scene.registry.quirks(|q| q.no_referrers_api = true);
    let (layout, team, digest) =
        (scene.dir("layout"), scene.at("team/app"), scene.rich.root.digest().clone());
    scene.copy(format!("{layout}:v1 {team}")).await.ok();
    let at = digest.referrers_tag();
    scene.registry.set_tag("team/app", &at, None);
    let json = scene.copy(format!("--repair {layout}:v1 {team} --format json")).await.json();
    let mended = json["result"]["mended"].as_array().unwrap();
    assert_eq!(mended.len(), 1, "{json:#}");
    assert_eq!((&mended[0]["what"], &mended[0]["change"]), (&"entry".into(), &"added".into()));
    assert_eq!(mended[0]["subject"], digest.to_string());
    scene.registry.set_tag("team/app", &at, None);
    scene.registry.clear();
    let ahead = scene.copy(format!("--repair --dry-run {layout}:v1 {team}")).await.ok();
    let line = format!("would mend entry {} was not listed", scene.rich.on_root.digest());
    assert!(ahead.contains(&line) && ahead.contains("nothing was written"), "{ahead}");
    assert_eq!(scene.writes(), 0, "{}", scene.registry.log());
    let text = scene.copy(format!("--repair {layout}:v1 {team}")).await.ok();
    let line = format!(
        "mended    entry {} was not listed as a referrer of {}",
        scene.rich.on_root.digest(),
        digest.short()
    );
    assert!(text.contains(&line), "{text}");
    scene.registry.clear();
    let text = scene.copy(format!("--repair {layout}:v1 {team}")).await.ok();
    assert!(text.ends_with("mended    nothing: all is there and listed as it should be\n"), "{text}");
    assert_eq!(scene.writes(), 0, "{}", scene.registry.log());

    let image = scene.rich.children[0].digest().to_string();
    scene.registry.set_tag("team/app", &at, Some(&image));
    let foreign = scene.copy(format!("--repair {layout}:v1 {team} --format json")).await;
    assert_eq!(code(&foreign), (3, "copy.fallback-foreign".into()), "{foreign:#?}");
    assert!(scene.registry.tags("team/app").contains(&(at, image)), "not overwritten");
    let ahead = scene.copy(format!("--repair --dry-run {layout}:v1 {team} --format json")).await;
    assert_eq!(code(&ahead), (3, "copy.fallback-foreign".into()));
}

/// Archives are places like others: in all positions, and a look ahead makes none.
#[tokio::test(flavor = "multi_thread")]
async fn archives_stand_in_every_position() {
    let scene = Scene::new().await;
    let (layout, team) = (scene.dir("layout"), scene.at("team/app"));
    let file = scene.home.path().join("all.tar");
    let archive = format!("oci-archive:{}", file.display());
    scene.copy(format!("--dry-run --all-tags {layout} {archive}")).await.ok();
    assert!(!file.exists());
    let json = scene.copy(format!("--all-tags {layout} {archive} --format json")).await.json();
    assert_eq!(list(&json, "status"), ["copied", "copied"], "{json:#}");
    assert_eq!(list(&json, "destination")[0], format!("{archive}:v1"));
    let json = scene.copy(format!("{archive}:v1 {archive}:v2 {team} --format json")).await.json();
    assert_eq!(list(&json, "status"), ["copied", "copied"], "{json:#}");
    let listed = scene.with_list(&format!("{archive}:v1 {team}:again\n"), "--format json").await.json();
    assert_eq!(list(&listed, "status"), ["copied"], "{listed:#}");
    let mended = scene.copy(format!("--repair {team}:v1 {archive} --format json")).await.json();
    assert_eq!(mended["result"]["mended"].as_array().unwrap().len(), 0, "{mended:#}");
    let gone = scene.copy(format!("{team}:gone {archive}-new --format json")).await;
    assert_eq!(
        (code(&gone), scene.home.path().join("all.tar-new").exists()),
        ((3, "ref.absent".into()), false)
    );
}

/// A bundle that did not come holds back the state that names it; what arrived is logged though its tag stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_state_is_held_back_past_a_bundle_that_did_not_come() {
    let (stage, at, mirror) = moved_on().await;
    // v1 moves on to what was v2.
    stage.by("publisher", format!("publish --from oci:{}:v2 {at} --tag v1", stage.path("build"))).await.ok();
    let before = stage.registry.tags("mirror/app");
    let root = stage.path("1.root.json");
    let name = crate::releases::NAME;
    stage.by("deployer", format!("trust add {mirror} --collection {name} --root {root}")).await.ok();
    let log = stage.dir.path().join("deployer/installed.jsonl");
    std::fs::remove_file(&log).unwrap();
    stage.registry.fault(Fault::on("GET", "/v2/team/app/manifests/v2").status(404));
    let ran = stage.by("deployer", format!("copy {at}:v1 {at}:v2 {mirror} --format json")).await;
    let json = ran.json();
    let copies = json["result"]["copies"].as_array().unwrap();
    assert_eq!((ran.exit, list(&json, "status")), (3, vec!["failed", "failed"]), "{json:#}");
    assert_eq!(copies[0]["error"]["code"], "copy.held-back", "{json:#}");
    assert_eq!(copies[1]["error"]["code"], "ref.absent", "{json:#}");
    assert!(copies[0]["error"]["reason"].as_str().unwrap().contains("another bundle at v2"), "{json:#}");
    assert!(copies[0]["error"]["next"].as_str().unwrap().contains("run the same command again"), "{json:#}");
    assert_eq!(stage.registry.tags("mirror/app"), before, "nothing moved");
    stage.later("deployer", "2026-05-01T13:00:00Z", format!("verify {mirror}:v1 {mirror}:v2")).await.ok();

    let logged = std::fs::read_to_string(&log).unwrap();
    let copied: Vec<Value> = logged.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let copied: Vec<&Value> = copied.iter().filter(|l| l["done"] == "copied").collect();
    assert_eq!(copied.len(), 1, "{logged}");
    assert_eq!(copied[0]["reference"], format!("{mirror}:v1"), "{logged}");

    stage.registry.behave();
    stage.by("deployer", format!("copy {at}:v1 {at}:v2 {mirror}")).await.ok();
    stage.later("deployer", "2026-05-01T13:00:00Z", format!("verify {mirror}:v1 {mirror}:v2")).await.ok();
}

/// Two releases, a mirror of both, and v2 moved on since to what was v1.
async fn moved_on() -> (Stage, String, String) {
    let stage = Stage::new().await;
    stage.init().await;
    stage.publish("v1").await.ok();
    stage.publish("v2").await.ok();
    stage.deployer().await;
    let (at, mirror) = (stage.at(), format!("{}/mirror/app", stage.registry.host()));
    let ran = stage.by("deployer", format!("copy --all-tags {at} {mirror}")).await;
    assert!(ran.exit == 0 && !ran.err.contains("unconfirmed"), "{ran:#?}");
    // v2 moves on to what was v1.
    stage.by("publisher", format!("publish --from oci:{}:v1 {at} --tag v2", stage.path("build"))).await.ok();
    (stage, at, mirror)
}
