//! Sources that must agree, from the command line.

use bulla::store::layout::OciDir;
use bulla::store::{Manage as _, Store as _};

use crate::bundles;
use crate::places::run;
use crate::registry::{Config, Fault, Registry};
use crate::run::{Bulla, Ran};

const NAME: &str = "example.com/team/app";

/// A collection on three registries, published on the first and copied to the others.
struct Trio {
    dir: tempfile::TempDir,
    registries: Vec<Registry>,
}

impl Trio {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut registries = Vec::new();
        for _ in 0..3 {
            registries.push(Registry::start(Config::default()).await);
        }
        let trio = Self { dir, registries };
        let build = OciDir::create(trio.dir.path().join("build")).await.unwrap();
        let image = bundles::image(&build, "app").await;
        build.push_manifest(&image, Some(&bundles::tag("v1"))).await.unwrap();
        build.flush().await.unwrap();
        let (root, from) = (trio.path("1.root.json"), trio.path("build"));
        trio.by("publisher", format!("init {NAME} --at {} --root-file {root}", trio.at(0))).await.ok();
        trio.by("publisher", format!("publish --from oci:{from}:v1 {} --tag v1", trio.at(0))).await.ok();
        for i in [1, 2] {
            trio.by("publisher", format!("copy {}:v1 {}", trio.at(0), trio.at(i))).await.ok();
        }
        trio
    }

    fn at(&self, i: usize) -> String {
        format!("{}/team/app", self.registries[i].host())
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    async fn by(&self, who: &str, line: String) -> Ran {
        run(Bulla::at(&self.dir.path().join(who)).var("BULLA_PASSWORD", "p"), line).await
    }

    /// A deployer with one anchor for the first registry.
    async fn trust(&self, who: &str, sources: &str) -> Ran {
        let root = self.path("1.root.json");
        let line = format!("trust add {} --collection {NAME} --root {root} {sources}", self.at(0));
        self.by(who, line).await
    }

    async fn verify(&self, who: &str) -> Ran {
        self.by(who, format!("verify {}:v1", self.at(0))).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_three_registries() {
    let trio = Trio::new().await;
    let sources: Vec<String> = (0..3).map(|i| format!("--source {NAME},at={}", trio.at(i))).collect();
    let added = trio.trust("deployer", &format!("{} --min 2", sources.join(" "))).await.ok();
    assert!(added.contains("2 of these must agree"), "{added}");
    let said = trio.verify("deployer").await.ok();
    assert!(said.contains("agreement") && said.contains("3 of 3 agree, 2 must"), "{said}");
    assert_eq!(said.matches("  source ").count(), 3, "{said}");
    let json = trio.by("deployer", format!("verify {}:v1 --format json", trio.at(0))).await.json();
    let anchor = &json["result"]["bundles"][0]["anchors"][0];
    assert_eq!(anchor["sources"].as_array().map(Vec::len), Some(3), "{json:#}");
    assert_eq!(anchor["sources"][1]["by"], "targets/releases");

    let tag = NAME.parse::<bulla::tuf::CollectionName>().unwrap().state_tag();
    trio.registries[1].set_tag("team/app", tag.as_str(), None);
    assert!(trio.verify("deployer").await.ok().contains("2 of 3 agree"));
    trio.registries[2].set_tag("team/app", tag.as_str(), None);
    let short = trio.verify("deployer").await;
    assert_eq!(short.exit, 1, "{short:#?}");
    assert!(short.out.contains("because agreement.short"), "{short:#?}");
    let path = format!("/v2/team/app/manifests/{tag}");
    trio.registries[2].fault(Fault::on("GET", &path).status(403));
    let open = trio.verify("deployer").await;
    assert_eq!(open.exit, 3, "{open:#?}");
    assert!(open.out.contains("because agreement.open: 1 of 3 agree, 2 must"), "{open:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_by_keys_of_ones_own() {
    let trio = Trio::new().await;
    let key = |name: &str| format!("--source {NAME},role=targets/releases,key={}", trio.path(name));
    let right = key("publisher/keys/app-releases.pub");
    let added = trio.trust("deployer", &right).await.ok();
    assert!(added.contains("role targets/releases  by 1 of the keys"), "{added}");
    let said = trio.verify("deployer").await.ok();
    assert!(said.contains("targets/releases, in the place of top-level targets, version 2"), "{said}");
    trio.trust("other", &key("publisher/keys/app-targets.pub")).await.ok();
    assert_eq!(trio.verify("other").await.exit, 1);
    let listed = trio.by("deployer", "trust list".into()).await.ok();
    assert!(listed.contains("1 of these must agree"), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_that_make_no_sense_are_usage_errors() {
    let trio = Trio::new().await;
    for wrong in [
        format!("--source {NAME} --source {NAME}"),
        format!("--source {NAME} --min 2"),
        format!("--source {NAME},role=snapshot"),
        format!("--source {NAME},rolle=targets"),
        format!("--source {NAME},threshold=1"),
        format!("--source {NAME},at={}:v1", trio.at(1)),
        "--source example.org/other".to_owned(),
        "--min 1".to_owned(),
    ] {
        let ran = trio.trust("deployer", &wrong).await;
        assert_eq!(ran.exit, 2, "{wrong}: {ran:#?}");
    }
}

/// What the collection's owner demands binds everybody who trusts its root: a proposal like any other change.
#[tokio::test(flavor = "multi_thread")]
async fn the_owner_demands_that_security_agrees() {
    use crate::releases::Stage;
    let stage = Stage::new().await;
    stage.init().await;
    stage.deployer().await;
    let (at, file) = (stage.at(), stage.path("demand.json"));
    stage.publish("v1").await.ok();
    stage.by("deployer", format!("verify {at}:v1")).await.ok();
    stage.by("security", "key generate security".into()).await.ok();
    let key = stage.path("security/keys/security.pub");
    let root = stage.path("1.root.json");
    for scope in [at.clone(), NAME.to_owned()] {
        stage.by("security", format!("trust add {scope} --collection {NAME} --root {root}")).await.ok();
    }

    let none =
        format!("tuf propose {at} --demand 2=releases,targets/security --description d --output {file}");
    let refused = stage.by("publisher", format!("{none} --format json")).await;
    let said = refused.json();
    assert_eq!((refused.exit, said["error"]["code"].as_str()), (1, Some("delegation.refused")), "{said:#}");
    let both = format!("--delegate targets/security={NAME} --add-key targets/security={key}");
    let proposed = stage.by("publisher", format!("{none} {both}")).await.ok();
    let line = "2 of targets/releases, targets/security must list a bundle alike";
    assert!(proposed.contains(line), "{proposed}");
    stage.by("publisher", format!("tuf approve {file} --yes")).await.ok();
    stage.by("publisher", format!("tuf commit {file} --at {at}")).await.ok();

    // Nothing but the root is known here, and security has not spoken.
    let missing = stage.by("deployer", format!("verify {at}:v1")).await;
    assert_eq!(missing.exit, 1, "{missing:#?}");
    assert!(missing.out.contains("agreement"), "{missing:#?}");
    // A policy of one's own lowers nothing.
    let lower = format!("--source {NAME},role=targets --min 1");
    stage.by("lenient", format!("trust add {at} --collection {NAME} --root {root} {lower}")).await.ok();
    assert_eq!(stage.by("lenient", format!("verify {at}:v1")).await.exit, 1);

    let from = stage.path("build");
    let sign = format!("publish --from oci:{from}:v1 {at} --tag v1 --role targets/security");
    stage.by("security", format!("{sign} --dangerously-without-memory first")).await.ok();
    stage.by("publisher", format!("renew {at}")).await.ok();
    for who in ["deployer", "lenient"] {
        stage.by(who, format!("verify {at}:v1")).await.ok();
    }
    // It may add: a third voice that is not there.
    let more = format!("--source {NAME},role=targets --source {NAME},role=targets/revocations");
    stage.by("strict", format!("trust add {at} --collection {NAME} --root {root} {more}")).await.ok();
    assert_eq!(stage.by("strict", format!("verify {at}:v1")).await.exit, 1);
    // The owner takes it back, and a role that must agree cannot go before that.
    let gone =
        stage.by("publisher", format!("tuf undelegate {at} security --under targets --format json")).await;
    assert_eq!(gone.json()["error"]["code"], "delegation.refused");
    let line =
        format!("tuf propose {at} --no-demand --undelegate targets/security --description d --output {file}");
    stage.by("publisher", line).await.ok();
    stage.by("publisher", format!("tuf approve {file} --yes")).await.ok();
    stage.by("publisher", format!("tuf commit {file} --at {at}")).await.ok();
    stage.by("deployer", format!("verify {at}:v1")).await.ok();
}
