//! `in-toto run` and `record` from the command line.

use std::fs;
use std::path::Path;

use bulla::sig::{PublicKey, canonical::canonical};
use bulla::store::layout::OciDir;
use bulla::store::{Manage as _, Store as _};
use serde_json::{Value, json};

use crate::bundles;
use crate::places::run;
use crate::registry::{Config, Registry};
use crate::run::{Bulla, Ran};

/// A home with a key, and a folder with a source file.
struct Bench(tempfile::TempDir);

impl Bench {
    async fn new() -> Self {
        let bench = Self(tempfile::tempdir().unwrap());
        bench.run("key generate builder").await.ok();
        fs::create_dir_all(bench.path("tree/src")).unwrap();
        fs::create_dir(bench.path("links")).unwrap();
        fs::write(bench.path("tree/src/a.c"), "int main(){}").unwrap();
        bench
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn bulla(&self) -> Bulla {
        let home = self.0.path().join("home");
        Bulla::at(&home).var("BULLA_PASSWORD", "password").var("PATH", "/usr/bin:/bin")
    }

    async fn run(&self, line: &str) -> Ran {
        run(self.bulla(), line.to_owned()).await
    }

    /// `line` with the flags that say where: in-process tests have no folder of their own.
    fn flags(&self, line: &str) -> String {
        format!("{line} --base-path {} --metadata-directory {}", self.path("tree"), self.path("links"))
    }

    /// A step whose command is one script of the shell.
    async fn step(&self, line: &str, script: &str) -> Ran {
        let line = self.flags(line);
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let args: Vec<String> =
            args.into_iter().chain(["--", "sh", "-c", script].map(str::to_owned)).collect();
        let bulla = self.bulla();
        tokio::task::spawn_blocking(move || bulla.args(args)).await.unwrap()
    }

    fn links(&self) -> Vec<String> {
        let names = fs::read_dir(self.path("links")).unwrap().map(|e| e.unwrap().file_name());
        let mut names: Vec<String> = names.map(|n| n.into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn key(&self) -> PublicKey {
        PublicKey::from_pem(&fs::read_to_string(self.path("home/keys/builder.pub")).unwrap()).unwrap()
    }
}

fn read(path: impl AsRef<Path>) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn codes(said: &Value) -> Vec<&str> {
    said["notes"].as_array().unwrap().iter().map(|n| n["code"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_is_recorded_and_signed_in_both_forms() {
    let bench = Bench::new().await;
    let (key, id) = (bench.key(), bench.key().key_id());
    let script = format!("cd {} && mkdir -p out && cp src/a.c out/a.o && echo made", bench.path("tree"));
    let line = "in-toto run --step build --key builder --materials src --products src out --record-streams";
    let ran = bench.step(line, &script).await;
    assert_eq!(ran.exit, 0, "{ran:?}");
    assert!(ran.err.contains("made\n"), "what the command says is shown: {}", ran.err);
    assert!(ran.out.contains("step build, 1 material, 2 products"), "{}", ran.out);
    let name = format!("build.{}.link", id.short());
    assert_eq!(bench.links(), std::slice::from_ref(&name));
    let link = read(bench.path(&format!("links/{name}")));
    let signed = &link["signed"];
    let signature = hex::decode(link["signatures"][0]["sig"].as_str().unwrap()).unwrap();
    assert_eq!(link["signatures"][0]["keyid"], id.as_str());
    assert!(key.verify(&canonical(signed), &signature));
    let hash = &signed["materials"]["src/a.c"];
    assert_eq!(signed["products"], json!({"out/a.o": hash, "src/a.c": hash}));
    assert_eq!(signed["byproducts"], json!({"return-value": 0, "stdout": "made\n", "stderr": ""}));
    // The same step again takes the place of what was recorded; JSON beside the form.
    let again = bench.step(&format!("{line} --format dsse --format json"), &script).await.json();
    assert_eq!(
        (again["result"]["form"].as_str(), again["result"]["commandExitCode"].as_i64()),
        (Some("dsse"), Some(0))
    );
    let envelope =
        bulla::sig::dsse::Envelope::parse(&fs::read(bench.path(&format!("links/{name}"))).unwrap()).unwrap();
    let inside = envelope.verify("application/vnd.in-toto+json", |m, s| key.verify(m, s)).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(inside.payload()).unwrap()["products"], signed["products"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_fails_leaves_no_link() {
    let bench = Bench::new().await;
    let line = "in-toto run --step build --key builder --format json";
    for (script, code, why) in [
        ("exit 7", "in-toto.command-failed", "ended with exit code 7"),
        ("kill -9 $$", "in-toto.command-failed", "was ended by signal 9"),
    ] {
        let said = bench.step(line, script).await.json();
        assert_eq!((said["exitCode"].as_u64(), said["error"]["code"].as_str()), (Some(1), Some(code)));
        assert!(said["error"]["reason"].as_str().unwrap().contains(why), "{said:#}");
    }
    for (flags, code) in [
        ("--materials gone -- true", "in-toto.absent"),
        ("--products gone -- true", "in-toto.absent"),
        ("--materials ../home -- true", "in-toto.name"),
        ("-- /nowhere/program", "in-toto.command"),
        ("--product-bundle oci:nowhere:v1 --as example.com/app -- true", "layout.invalid"),
    ] {
        let said = bench.run(&format!("{} {flags}", bench.flags(line))).await.json();
        assert_eq!(
            (said["exitCode"].as_u64(), said["error"]["code"].as_str()),
            (Some(3), Some(code)),
            "{said:#}"
        );
    }
    for flags in [
        "",
        "--no-command -- true",
        "--exclude [ -- true",
        "--lstrip-paths a ab -- true",
        "--product-bundle oci:x -- true",
        "--format classic --format dsse -- true",
        "--format sigstore -- true",
        "--step ../x -- true",
    ] {
        assert_eq!(bench.run(&format!("{} {flags}", bench.flags(line))).await.exit, 2, "{flags}");
    }
    assert_eq!(bench.links(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_in_two_halves() {
    let bench = Bench::new().await;
    let short = bench.key().key_id().short().to_owned();
    let start = bench.flags("in-toto record start --step review --key builder --materials src --format dsse");
    let stop = bench.flags("in-toto record stop --step review --key builder --products src");
    let early = bench.run(&format!("{stop} --format json")).await.json();
    assert_eq!(
        (early["exitCode"].as_u64(), early["error"]["code"].as_str()),
        (Some(3), Some("in-toto.not-begun"))
    );
    bench.run(&start).await.ok();
    let unfinished = format!(".review.{short}.link-unfinished");
    assert_eq!(bench.links(), std::slice::from_ref(&unfinished));
    fs::write(bench.path("tree/src/b.c"), "").unwrap();
    let said = bench.run(&format!("{stop} --format json")).await.json();
    assert_eq!(
        (said["result"]["materials"].as_u64(), said["result"]["products"].as_u64()),
        (Some(1), Some(2))
    );
    assert_eq!(said["result"]["form"], "dsse");
    assert_eq!(bench.links(), [format!("review.{short}.link")]);
    // What somebody changed meanwhile is not signed.
    bench.run(&start.replace("dsse", "classic")).await.ok();
    let file = bench.path(&format!("links/{unfinished}"));
    fs::write(&file, fs::read_to_string(&file).unwrap().replace("src/a.c", "src/x.c")).unwrap();
    let said = bench.run(&format!("{stop} --format json")).await.json();
    assert_eq!(
        (said["exitCode"].as_u64(), said["error"]["code"].as_str()),
        (Some(1), Some("in-toto.document"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_is_a_product_by_its_digest() {
    let bench = Bench::new().await;
    let store = OciDir::create(bench.0.path().join("layout")).await.unwrap();
    let (index, _) = bundles::two_arch(&store, "product").await;
    store.push_manifest(&index, Some(&bundles::tag("v1"))).await.unwrap();
    store.flush().await.unwrap();
    let bundle = format!("oci:{}:v1", bench.path("layout"));
    let line = bench
        .flags(&format!("in-toto run --step package --key builder --product-bundle {bundle} --no-command"));
    let nameless = bench.run(&format!("{line} --format json")).await.json();
    assert_eq!(nameless["error"]["code"], "in-toto.bundle");
    bench.run(&format!("{line} --as example.com/team/app")).await.ok();
    let link = read(bench.path(&format!("links/{}", bench.links()[0])));
    let named = json!({"oci:example.com/team/app": {"sha256": index.digest().hex()}});
    assert_eq!(link["signed"]["products"], named);
    assert_eq!((&link["signed"]["command"], &link["signed"]["byproducts"]), (&json!([]), &json!({})));
}

/// A layout out of a description with three keys, of whom two own it.
async fn described(bench: &Bench, form: &str) -> String {
    // Of the second layout the keys are there.
    bench.run("key generate owner").await;
    bench.run("key generate second").await;
    let file = bench.path("release.toml");
    let text = r#"
expires = "30d"
readme = "How it is made."
[keys]
builder = "builder"
second = "second"
[[step]]
name = "build"
by = ["builder", "second"]
threshold = 2
command = ["make"]
materials = ["REQUIRE src/a.c", "ALLOW src/*", "DISALLOW *"]
products = ["CREATE out/*"]
[[step]]
name = "package"
by = ["second"]
materials = ["MATCH * IN out WITH PRODUCTS IN out FROM build", "DISALLOW *"]
products = ["REQUIRE oci:example.com/team/app", "CREATE oci:*", "DISALLOW *"]
"#;
    fs::write(&file, text).unwrap();
    let layout = bench.path(&format!("{form}.layout"));
    let line =
        format!("in-toto layout new {file} --output {layout} --key owner --format {form} --format json");
    let said = bench.run(&line).await.json();
    assert_eq!(said["exitCode"], 0, "{said:#}");
    assert_eq!(said["result"]["steps"], json!(["build", "package"]));
    let noted = codes(&said).iter().filter(|c| **c == "in-toto.layout").count();
    assert_eq!(noted, 3, "one hand for two steps, an open list, one that may be empty: {said:#}");
    layout
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layout_is_written_signed_by_several_and_explained() {
    let bench = Bench::new().await;
    for form in ["classic", "dsse"] {
        let layout = described(&bench, form).await;
        let before = fs::read(&layout).unwrap();
        let again = bench.run(&format!("in-toto layout sign {layout} --key owner")).await.ok();
        assert!(again.starts_with("there "), "{again}");
        assert_eq!(fs::read(&layout).unwrap(), before);
        bench.run(&format!("in-toto layout sign {layout} --key second")).await.ok();
        let envelope = bulla::intoto::Envelope::parse(&fs::read(&layout).unwrap()).unwrap();
        let was = bulla::intoto::Envelope::parse(&before).unwrap();
        assert_eq!((envelope.signatures().len(), envelope.message()), (2, was.message()));
        let shown = bench.run(&format!("in-toto layout show {layout} --key owner --key second")).await.ok();
        for line in [
            "expires   2026-05-31T12:00:00Z (in 30 days)",
            "step 1    build: 2 of 2 must sign",
            "runs make (another command is only a note)",
            "takes  src/a.c must be there",
            "src/*, whatever it holds",
            "nothing else",
            "gives  out/*, new",
            "and anything else",
            "out/*, exactly as build gave it",
        ] {
            assert!(shown.contains(line), "{line:?} is not in\n{shown}");
        }
        assert!(!shown.contains("not checked"), "{shown}");
        let stranger =
            bench.run(&format!("in-toto layout show {layout} --key builder --format json")).await.json();
        assert_eq!(
            (stranger["exitCode"].as_u64(), stranger["error"]["code"].as_str()),
            (Some(1), Some("in-toto.unsigned"))
        );
        assert_eq!(stranger["result"]["steps"][0]["threshold"], 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn presets_name_everybody() {
    let bench = Bench::new().await;
    bench.run("key generate packager").await.ok();
    let layout = bench.path("preset.layout");
    let by = "--by builder=builder --by packager=packager";
    let line = format!(
        "in-toto layout new --preset build-package {by} --bundle example.com/team/app --require build=out/app --output {layout} --key builder"
    );
    let said = bench.run(&format!("{line} --format json")).await.json();
    assert_eq!((said["exitCode"].as_u64(), codes(&said)), (Some(0), vec!["in-toto.layout"]), "{said:#}");
    let shown = bench.run(&format!("in-toto layout show {layout}")).await.ok();
    assert!(shown.contains("oci:example.com/team/app must be there"), "{shown}");
    assert!(shown.contains("(not checked)"), "{shown}");
    let there = bench.run(&format!("{line} --format json")).await.json();
    assert_eq!(there["error"]["code"], "file.unwritable", "it is not overwritten");
    // The description that it is made from makes the same layout.
    let text = bench.run(&format!("in-toto layout new --preset build-package {by} --bundle example.com/team/app --require build=out/app --describe")).await.ok();
    fs::write(bench.path("copy.toml"), text).unwrap();
    bench
        .run(&format!(
            "in-toto layout new {} --output {} --key builder",
            bench.path("copy.toml"),
            bench.path("copy.layout")
        ))
        .await
        .ok();
    assert_eq!(fs::read(bench.path("copy.layout")).unwrap(), fs::read(&layout).unwrap());
    for (flags, says) in [
        ("--preset build-package --by builder=builder", "--by packager=KEY"),
        ("--preset cnab --by builder=builder --by packager=packager --by reviewer=builder", "--bundle NAME"),
        (
            "--preset build-package --by builder=builder --by packager=packager --require build=*",
            "name one file",
        ),
        (
            "--preset build-package --by builder=builder --by packager=packager --threshold cook=2",
            "--by cook=KEY",
        ),
    ] {
        let said = bench.run(&format!("in-toto layout new {flags} --output x --format json")).await.json();
        assert_eq!(said["exitCode"], 2, "{said:#}");
        assert!(said["error"]["next"].as_str().unwrap().contains(says), "{said:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_layout_is_neither_signed_nor_shown() {
    let bench = Bench::new().await;
    bench.run(&bench.flags("in-toto run --step build --key builder --no-command")).await.ok();
    let link = bench.path(&format!("links/{}", bench.links()[0]));
    for line in [format!("in-toto layout show {link}"), format!("in-toto layout sign {link} --key builder")] {
        let said = bench.run(&format!("{line} --format json")).await.json();
        assert_eq!(
            (said["exitCode"].as_u64(), said["error"]["code"].as_str()),
            (Some(1), Some("in-toto.document"))
        );
    }
    let layout = described(&bench, "classic").await;
    let late = bench.bulla().now("2026-06-01T12:00:00Z");
    let said = run(late, format!("in-toto layout sign {layout} --key second --format json")).await.json();
    assert_eq!(
        (said["exitCode"].as_u64(), said["error"]["code"].as_str()),
        (Some(1), Some("in-toto.expired"))
    );
    fs::write(bench.path("bad.toml"), "expires = \"1d\"\nstages = 1\n").unwrap();
    let said = bench
        .run(&format!("in-toto layout new {} --output x --format json", bench.path("bad.toml")))
        .await
        .json();
    assert_eq!(
        (said["exitCode"].as_u64(), said["error"]["code"].as_str()),
        (Some(2), Some("in-toto.description"))
    );
    assert!(said["error"]["reason"].as_str().unwrap().contains("stages"), "{said:#}");
}

/// Everybody hangs what is theirs, in any order; the same file once.
#[tokio::test(flavor = "multi_thread")]
async fn documents_hang_on_a_bundle_as_referrers() {
    let bench = Bench::new().await;
    let registry = Registry::start(Config::default()).await;
    let server = OciDir::create(bench.0.path().join("layout")).await.unwrap();
    let (index, _) = bundles::two_arch(&server, "carried").await;
    server.push_manifest(&index, Some(&bundles::tag("v1"))).await.unwrap();
    server.flush().await.unwrap();
    let at = format!("{}/team/app", registry.host());
    bench.run(&format!("copy oci:{}:v1 {at}:v1", bench.path("layout"))).await.ok();
    let layout = described(&bench, "dsse").await;
    for step in ["build", "package"] {
        bench.run(&bench.flags(&format!("in-toto run --step {step} --key builder --no-command"))).await.ok();
    }
    let links: Vec<String> = bench.links().iter().map(|l| bench.path(&format!("links/{l}"))).collect();
    for place in [format!("{at}:v1"), format!("oci:{}:v1", bench.path("layout"))] {
        let status = |said: &Value| -> Vec<(String, String)> {
            let rows = said["result"]["documents"].as_array().unwrap_or_else(|| panic!("{said:#}"));
            let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
            rows.iter().map(|row| (text(row, "status"), text(row, "digest"))).collect()
        };
        let second = bench.run(&format!("attach link {place} {} --format json", links[1])).await.json();
        let both =
            bench.run(&format!("attach link {place} {} {} --format json", links[0], links[1])).await.json();
        let (second, both) = (status(&second), status(&both));
        assert_eq!(second[0].0, "attached");
        assert_eq!(both, [("attached".into(), both[0].1.clone()), ("there".into(), second[0].1.clone())]);
        bench.run(&format!("attach layout {place} {layout}")).await.ok();
        let tree = bench.run(&format!("tree {place}")).await.ok();
        let count = |what: &str| tree.lines().filter(|line| line.contains(what)).count();
        assert_eq!((count("in-toto link"), count("in-toto layout")), (2, 1), "{tree}");
    }
    for (line, code) in [
        (format!("attach link {at}:v1 {layout}"), "attach.invalid"),
        (format!("attach layout {at}:v1 {}", links[0]), "attach.invalid"),
        (format!("attach link {at}:v2 {}", links[0]), "ref.absent"),
    ] {
        let said = bench.run(&format!("{line} --format json")).await.json();
        assert_eq!(said["error"]["code"], code, "{said:#}");
    }
}
