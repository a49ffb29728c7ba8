//! Delegations from the command line: asking, vetting, granting, publishing, taking back.

use serde_json::Value;

use crate::releases::{NAME, Stage};
use crate::run::Ran;

impl Stage {
    async fn tuf(&self, home: &str, line: &str) -> Ran {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        self.by(home, format!("tuf {verb} {} {rest}", self.at())).await
    }

    async fn tuf_json(&self, home: &str, line: &str) -> Value {
        self.tuf(home, &format!("{line} --format json")).await.json()
    }

    /// A home with this key that trusts the collection and remembers its state.
    async fn developer(&self, home: &str) {
        self.by(home, format!("key generate {home}")).await.ok();
        for scope in [self.at(), NAME.to_owned()] {
            let root = self.path("1.root.json");
            self.by(home, format!("trust add {scope} --collection {NAME} --root {root}")).await.ok();
        }
    }

    async fn publish_by(&self, home: &str, build: &str, tag: &str) -> Ran {
        let line = format!(
            "publish --from oci:{}:{build} {} --tag {tag} --dangerously-without-memory first",
            self.path("build"),
            self.at()
        );
        self.by(home, line).await
    }
}

fn error(ran: &Ran) -> String {
    ran.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_vetted_granted_used_and_taken_back() {
    let stage = Stage::new().await;
    stage.init().await;
    stage.developer("anna").await;
    stage.deployer().await;
    let at = stage.at();

    let asked = stage.tuf("anna", "request --key anna --paths dev-* --name Anna").await.ok();
    assert!(asked.starts_with(&format!("requested  {NAME}:dev-*\n")), "{asked}");
    let hash = asked.lines().last().unwrap().rsplit(' ').next().unwrap().to_owned();
    assert_eq!(hash.len(), 64);
    let file = stage.path("mallory.request");
    stage.developer("mallory").await;
    stage
        .tuf("mallory", &format!("request --key mallory --paths {NAME} --name Anna --output {file}"))
        .await
        .ok();
    let proven = stage.by("publisher", format!("tuf requests {file}")).await.ok();
    assert!(
        proven.starts_with("proven ") && proven.contains(&format!("wants {NAME}:*  {NAME}@sha256:*")),
        "{proven}"
    );
    stage.tuf("mallory", &format!("request --key mallory --paths {NAME} --name Anna")).await.ok();

    let listed = stage.tuf_json("publisher", "requests").await;
    let requests = listed["result"]["requests"].as_array().unwrap();
    assert_eq!(requests.len(), 2);
    assert!(requests.iter().all(|r| r["status"] == "open" && r["identity"] == "Anna"));
    let theirs =
        requests.iter().find(|r| r["request"] != hash.as_str()).unwrap()["request"].as_str().unwrap();

    stage.tuf("publisher", &format!("deny {} --reason unknown", &theirs[..12])).await.ok();
    let answer = stage.tuf("mallory", "requests").await.ok();
    assert!(answer.contains("denied ") && answer.contains(": unknown"), "{answer}");
    let wider = stage
        .tuf("publisher", &format!("grant {hash} --vetted-by B --note n --paths v1 --format json"))
        .await;
    assert_eq!((wider.exit, error(&wider)), (2, "delegation.refused".to_owned()));
    let short =
        stage.tuf("publisher", &format!("grant {} --vetted-by B --note n --format json", &hash[..31])).await;
    assert_eq!(short.exit, 2, "another request can be made to begin like it");
    let denied =
        stage.tuf("publisher", &format!("grant {theirs} --vetted-by B --note n --format json")).await;
    assert_eq!((denied.exit, error(&denied)), (1, "request.denied".to_owned()));
    let granted = stage
        .tuf("publisher", &format!("grant {} --role anna --vetted-by Berta --note phone", &hash[..32]))
        .await
        .ok();
    assert!(
        granted.starts_with("delegated  targets/releases/anna   ") && granted.contains(":dev-*"),
        "{granted}"
    );
    let again = stage.tuf("publisher", &format!("grant {hash} --vetted-by B --note n --format json")).await;
    assert_eq!((again.exit, error(&again)), (1, "delegation.refused".to_owned()), "the scope is given");
    let answer = stage.tuf_json("anna", "requests").await;
    assert!(
        answer["result"]["requests"].as_array().unwrap().iter().any(|r| r["role"] == "targets/releases/anna")
    );

    let list = stage.tuf("deployer", "list").await.ok();
    assert!(
        list.contains("nothing signed yet")
            && list.contains("vetted    targets/releases/anna  \"Anna\" by Berta: phone"),
        "{list}"
    );

    // Anna publishes what is hers, and the online key, which she never had, admits it.
    let refused = stage.publish_by("anna", "v2", "v9 --format json").await;
    assert_eq!((refused.exit, error(&refused)), (1, "publish.scope".to_owned()));
    let submitted = stage.publish_by("anna", "v2", "dev-1").await.ok();
    assert!(submitted.starts_with("submitted "), "{submitted}");
    let renewed = stage.by("publisher", format!("renew {at}")).await.ok();
    assert!(
        renewed.contains("targets/releases/anna 2") && renewed.contains("finished  tag dev-1 on "),
        "{renewed}"
    );
    stage.by("deployer", format!("verify {at}:dev-1")).await.ok();
    let row = &stage.tuf_json("deployer", "list").await["result"]["delegations"][2];
    assert_eq!(
        (&row["version"], &row["entries"], &row["terms"]["vetting"]["vettedBy"]),
        (&2.into(), &1.into(), &"Berta".into())
    );

    stage.by("publisher", "key generate spare".into()).await.ok();
    let overlap = stage.tuf("publisher", "delegate x --key spare --paths dev-1 --format json").await;
    assert_eq!((overlap.exit, error(&overlap)), (1, "delegation.refused".to_owned()), "{overlap:#?}");
    stage.tuf("publisher", "undelegate anna").await.ok();
    assert_eq!(stage.by("deployer", format!("verify {at}:dev-1")).await.exit, 1);
    let gone = stage.publish_by("anna", "v2", "dev-2 --format json").await;
    assert_eq!((gone.exit, error(&gone)), (3, "key.missing".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_where_requests_lie_is_named_and_harms_nobody() {
    use bulla::oci::media_type;
    let stage = Stage::new().await;
    stage.init().await;
    stage.developer("anna").await;
    let asked = stage.tuf_json("anna", "request --key anna --paths dev-* --name Anna").await;
    let tag = asked["result"]["place"]["tag"].as_str().unwrap().to_owned();
    // Somebody else's tags: the same manifest under another hash, a denial that nobody signed, and no manifest at all.
    let (_, _, manifest) = stage.registry.manifest("team/app", &tag).unwrap();
    let wrong = format!("{}{}", &tag[..tag.len() - 4], "0000");
    for other in [wrong.clone(), format!("{tag}.d")] {
        stage.registry.put_manifest("team/app", Some(&other), media_type::OCI_MANIFEST, manifest.clone());
    }
    let listed = stage.tuf_json("publisher", "requests").await;
    let requests = listed["result"]["requests"].as_array().unwrap();
    assert_eq!(requests.len(), 2, "{listed:#}");
    let by = |tag: &str| requests.iter().find(|r| r["tag"] == tag).unwrap();
    assert_eq!(by(&tag)["status"], "open");
    assert_eq!(
        (&by(&wrong)["status"], &by(&wrong)["why"]),
        (&"invalid".into(), &"its tag is another request's".into())
    );
    let absent = stage.tuf("publisher", "deny ffffffff --reason x --format json").await;
    assert_eq!((absent.exit, error(&absent)), (3, "request.absent".to_owned()));
    let short = stage.tuf("publisher", "deny ff --reason x --format json").await;
    assert_eq!(error(&short), "request.absent");
}

impl Stage {
    /// Releases needs two keys from now on, and Berta has the second.
    async fn two_for_releases(&self) {
        self.developer("berta").await;
        let (at, file) = (self.at(), self.path("two.json"));
        let key = format!("{}/keys/berta.pub", self.path("berta"));
        let line = format!("tuf propose {at} --add-key releases={key} --threshold releases=2");
        self.by("publisher", format!("{line} --description two --output {file}")).await.ok();
        for home in ["publisher", "berta"] {
            self.by(home, format!("tuf approve {file} --yes")).await.ok();
        }
        self.by("publisher", format!("tuf commit {file} --at {at}")).await.ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn delegations_by_a_role_of_two_machines_go_through_proposals() {
    let stage = Stage::new().await;
    stage.init().await;
    stage.two_for_releases().await;
    stage.developer("anna").await;
    stage.deployer().await;
    let (at, file) = (stage.at(), stage.path("left.json"));

    // A request is granted by two: the note travels and stays.
    let asked = stage.tuf("anna", "request --key anna --paths dev-* --name Anna").await.ok();
    let hash = asked.lines().last().unwrap().rsplit(' ').next().unwrap().to_owned();
    let grant = format!("grant {hash} --role anna --vetted-by Berta --note phone");
    let left = stage.tuf_json("publisher", &format!("{grant} --output {file}")).await;
    assert_eq!((&left["exitCode"], &left["result"]["status"]), (&0.into(), &"proposed".into()), "{left:#}");
    assert_eq!(left["result"]["proposal"]["at"], file.as_str());
    let signers = &left["result"]["proposal"]["signers"];
    assert_eq!((&signers[0]["threshold"], &signers[0]["enough"]), (&2.into(), &false.into()));
    assert_eq!(signers[0]["signed"].as_array().map(Vec::len), Some(1), "with the key that was here");
    let list = stage.tuf("deployer", "list").await.ok();
    assert!(!list.contains("targets/releases/anna"), "{list}");
    let early = stage.by("publisher", format!("tuf commit {file} --at {at} --format json")).await;
    assert_eq!((early.exit, error(&early)), (1, "proposal.incomplete".to_owned()));
    let shown = stage.by("berta", format!("tuf approve {file} --yes")).await.ok();
    assert!(shown.contains("delegation to targets/releases/anna") && shown.contains("phone"), "{shown}");
    assert!(shown.contains("enough    targets/releases needs 2 of 2"), "{shown}");
    stage.by("publisher", format!("tuf commit {file} --at {at}")).await.ok();
    let list = stage.tuf("deployer", "list").await.ok();
    assert!(list.contains("vetted    targets/releases/anna  \"Anna\" by Berta: phone"), "{list}");
    stage.publish_by("anna", "v2", "dev-1").await.ok();
    stage.by("publisher", format!("renew {at}")).await.ok();
    stage.by("deployer", format!("verify {at}:dev-1")).await.ok();

    // Beside the state, and with what was asked for against the rules refused before anybody signs.
    let berta = format!("{}/keys/berta.pub", stage.path("berta"));
    let own =
        stage.tuf("publisher", &format!("delegate x --key {berta} --paths x --push --format json")).await;
    assert_eq!((own.exit, error(&own)), (1, "delegation.refused".to_owned()));
    let text = stage.tuf("publisher", "undelegate anna --push").await.ok();
    assert!(text.starts_with("proposed   targets/releases/anna\n"), "{text}");
    assert!(text.contains("missing    targets/releases: 1 more of "), "{text}");
    assert!(text.contains("next       whoever has a missing key: bulla tuf approve "), "{text}");
    stage.by("berta", format!("tuf approve {at} --yes")).await.ok();
    stage.by("publisher", format!("tuf commit {at} --at {at}")).await.ok();
    assert_eq!(stage.by("deployer", format!("verify {at}:dev-1")).await.exit, 1);

    // A proposal that somebody made by hand against the rules is signed by nobody.
    let key = format!("{}/keys/anna.pub", stage.path("anna"));
    stage.tuf("publisher", &format!("delegate ops --key {key} --paths ops-* --output {file}")).await.ok();
    let text =
        std::fs::read_to_string(&file).unwrap().replace(":ops-*", "@sha256:*").replace("releases/ops", "ops");
    std::fs::write(&file, text).unwrap();
    let refused = stage.by("berta", format!("tuf approve {file} --yes --format json")).await;
    assert_eq!((refused.exit, error(&refused)), (1, "delegation.refused".to_owned()), "{refused:#?}");
}
