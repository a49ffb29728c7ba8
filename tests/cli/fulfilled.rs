//! `in-toto verify` from the command line.

use std::fs;
use std::path::PathBuf;

use bulla::intoto::{Artifacts, Document, Envelope, Form, Hashes, Inspection, Key, Layout, Link, Rule, Step};
use bulla::keys::{MemorySigner, Signer};
use bulla::oci::Digest;
use bulla::time::UnixTime;
use serde_json::Value;

use crate::places::run;
use crate::run::{Bulla, Ran};

fn person(seed: u8) -> MemorySigner {
    MemorySigner::from_seed(&[seed; 32]).unwrap()
}

fn key(seed: u8) -> Key {
    Key::from(person(seed).public_key().clone())
}

async fn signed(document: Document, by: u8) -> Vec<u8> {
    let mut envelope = Envelope::draft(Form::Classic, &document);
    let signature = person(by).sign(envelope.message()).await.unwrap();
    envelope.add(&person(by).public_key().key_id(), &signature);
    envelope.to_bytes()
}

fn rules(lines: &[&str]) -> Vec<Rule> {
    let words = |line: &&str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    lines.iter().map(|line| Rule::from_words(&words(line)).unwrap()).collect()
}

/// One step `build` of key 2; owner is key 1; the product holds "app".
fn layout(inspections: &[(&str, &[&str], &[&str])]) -> Layout {
    let mut layout = Layout {
        expires: UnixTime::from_secs(4_000_000_000),
        readme: String::new(),
        keys: Default::default(),
        steps: Vec::new(),
        inspections: Vec::new(),
    };
    let id = layout.add_key(key(2));
    layout.steps.push(Step {
        name: "build".parse().unwrap(),
        threshold: 1,
        pubkeys: vec![id],
        expected_command: Vec::new(),
        expected_materials: rules(&["DISALLOW *"]),
        expected_products: rules(&["CREATE app", "DISALLOW *"]),
    });
    layout.inspections = inspections
        .iter()
        .map(|(name, argv, products)| Inspection {
            name: name.parse().unwrap(),
            run: argv.iter().map(|s| (*s).to_owned()).collect(),
            expected_materials: Vec::new(),
            expected_products: rules(products),
        })
        .collect();
    layout
}

fn link(products: &[&str]) -> Link {
    let mut link = Link::new("build".parse().unwrap());
    let made = |name: &&str| (name.parse().unwrap(), Hashes::of(&Digest::sha256(b"app")));
    link.products = products.iter().map(made).collect::<Artifacts>();
    link
}

struct Bench(tempfile::TempDir);

impl Bench {
    async fn new(layout: Layout, products: &[&str]) -> Self {
        let bench = Self(tempfile::tempdir().unwrap());
        fs::create_dir(bench.path("links")).unwrap();
        fs::write(bench.path("root.layout"), signed(Document::Layout(layout), 1).await).unwrap();
        fs::write(bench.link(), signed(Document::Link(link(products)), 2).await).unwrap();
        fs::write(bench.path("owner.pub"), person(1).public_key().to_pem()).unwrap();
        fs::write(bench.path("app"), "app").unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn link(&self) -> PathBuf {
        self.path(&format!("links/build.{}.link", person(2).public_key().key_id().short()))
    }

    async fn verify(&self, more: &str) -> Ran {
        let [layout, links, key] =
            ["root.layout", "links", "owner.pub"].map(|n| self.path(n).display().to_string());
        let line = format!("in-toto verify --layout {layout} --links {links} --key {key} {more}");
        run(Bulla::at(&self.path("home")), line).await
    }

    async fn said(&self, more: &str) -> (u64, Value) {
        let said = self.verify(&format!("{more} --format json")).await.json();
        (said["exitCode"].as_u64().unwrap(), said)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_fulfils_its_layout() {
    let bench = Bench::new(layout(&[]), &["app"]).await;
    let product = bench.path("app").display().to_string();
    let ran = bench.verify(&format!("--product {product}")).await;
    assert_eq!(ran.exit, 0, "{ran:?}");
    for part in ["fulfilled: ", "build: 1 of 1 keys", "CREATE app", "made by the last step as app"] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    let (exit, said) = bench.said("").await;
    assert_eq!((exit, said["result"]["verdict"].as_str()), (0, Some("fulfilled")));
    assert_eq!(said["result"]["report"]["steps"][0]["signers"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fulfil_it_is_refused_with_its_reason() {
    let bench = Bench::new(layout(&[]), &["app", "evil"]).await;
    let (exit, said) = bench.said("").await;
    assert_eq!((exit, said["error"]["code"].as_str()), (1, Some("in-toto.not-fulfilled")));
    assert!(said["error"]["reason"].as_str().unwrap().contains("evil (intoto.rule.disallow)"), "{said:#}");
    // Another product, another owner, no link.
    let bench = Bench::new(layout(&[]), &["app"]).await;
    fs::write(bench.path("app"), "another").unwrap();
    let product = bench.path("app").display().to_string();
    let (exit, said) = bench.said(&format!("--product {product}")).await;
    assert!(exit == 1 && said["error"]["reason"].as_str().unwrap().contains("intoto.product"), "{said:#}");
    fs::write(bench.path("owner.pub"), person(9).public_key().to_pem()).unwrap();
    assert_eq!(bench.verify("").await.exit, 1);
    fs::write(bench.path("owner.pub"), person(1).public_key().to_pem()).unwrap();
    fs::remove_file(bench.link()).unwrap();
    let (exit, said) = bench.said("").await;
    assert!(
        exit == 1 && said["error"]["reason"].as_str().unwrap().contains("intoto.step.threshold"),
        "{said:#}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_no_answer() {
    let bench = Bench::new(layout(&[]), &["app"]).await;
    assert_eq!(bench.verify("--parameter x").await.exit, 2);
    assert_eq!(bench.verify("--parameter x=1 --parameter x=2").await.exit, 2);
    fs::remove_file(bench.path("root.layout")).unwrap();
    assert_eq!(bench.verify("").await.exit, 3);
    let missing = run(Bulla::at(&bench.path("home")), "in-toto verify --layout a --links b".into()).await;
    assert_eq!(missing.exit, 2);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn inspections_are_run_when_that_is_asked_for_beside_a_copy_of_the_product() {
    let look: (&str, &[&str], &[&str]) = (
        "look",
        &["cp", "app", "seen"],
        &["MATCH app WITH PRODUCTS FROM build", "CREATE seen", "DISALLOW *"],
    );
    let bench = Bench::new(layout(&[look]), &["app"]).await;
    let product = format!("--product {}", bench.path("app").display());
    let (exit, said) = bench.said(&product).await;
    assert_eq!((exit, said["error"]["code"].as_str()), (3, Some("in-toto.undecided")), "{said:#}");
    let (exit, said) = bench.said(&format!("{product} --run-inspections")).await;
    assert_eq!(exit, 0, "{said:#}");
    assert!(!bench.path("seen").exists());
    // Without the product there is nothing to look at.
    assert_eq!(bench.verify("--run-inspections").await.exit, 1);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_functionary_s_inspections_are_not_the_owner_s() {
    // The sublayout's inspection would put another file in the place of the product.
    let look: (&str, &[&str], &[&str]) =
        ("look", &["true"], &["MATCH app WITH PRODUCTS FROM build", "DISALLOW *"]);
    let bench = Bench::new(layout(&[look]), &["app"]).await;
    let sub = layout(&[("swap", &["sh", "-c", "echo other > app"], &[])]);
    fs::write(bench.link(), signed(Document::Layout(sub), 2).await).unwrap();
    let folder = bench.link().with_extension("");
    fs::create_dir(&folder).unwrap();
    let inner = folder.join(bench.link().file_name().unwrap());
    fs::write(inner, signed(Document::Link(link(&["app"])), 2).await).unwrap();
    let product = format!("--product {}", bench.path("app").display());
    let (exit, said) = bench.said(&format!("{product} --run-inspections")).await;
    assert_eq!((exit, said["error"]["code"].as_str()), (3, Some("in-toto.undecided")), "{said:#}");
    assert!(said["error"]["reason"].as_str().unwrap().contains("not run"), "{said:#}");
    // Each layout has a folder of its own: the owner's looks at the product.
    let (exit, said) = bench.said(&format!("{product} --run-inspections=all")).await;
    assert_eq!(exit, 0, "{said:#}");
    assert_eq!(said["result"]["report"]["inspections"][0]["products"][0]["count"], 1);
}
