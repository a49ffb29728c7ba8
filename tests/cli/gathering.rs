//! Signatures that meet in a registry: ceremonies, releases of two keys, online roles of two keys; each signer in a home of its own.

use serde_json::Value;

use crate::registry::{Config, Quirks, Registry};
use crate::releases::{NAME, Stage};

/// Later than the time at which commands run otherwise.
const LATER: &str = "2026-05-03T12:00:00Z";

impl Stage {
    async fn on(quirks: Quirks) -> Self {
        let mut stage = Self::new().await;
        stage.registry = Registry::start(Config { quirks, ..Config::default() }).await;
        stage
    }

    async fn doc(&self, who: &str, line: &str) -> Value {
        self.by(who, format!("--format json {line}")).await.json()
    }

    async fn doc_at(&self, who: &str, now: &str, line: &str) -> Value {
        self.later(who, now, format!("--format json {line}")).await.json()
    }

    /// Others have keys and trust the publisher's root.
    async fn joined_by(&self, others: &[&str]) {
        for who in others {
            self.by(who, format!("key generate {who}")).await.ok();
            for scope in [NAME.to_owned(), self.at()] {
                let root = self.path("1.root.json");
                let line = format!("trust add {scope} --root {root} --collection {NAME}");
                self.by(who, line).await.ok();
            }
        }
    }

    fn public(&self, who: &str) -> String {
        self.path(&format!("{who}/keys/{who}.pub"))
    }

    fn proposals(&self) -> Vec<String> {
        let tags = self.registry.tags("team/app").into_iter().map(|(tag, _)| tag);
        tags.filter(|tag| tag.contains(".p.")).collect()
    }

    async fn approve(&self, who: &str) -> Value {
        self.doc(who, &format!("tuf approve {} --yes", self.at())).await
    }
}

fn exit(document: &Value) -> u64 {
    document["exitCode"].as_u64().unwrap()
}

fn note_codes(document: &Value) -> Vec<&str> {
    document["notes"].as_array().unwrap().iter().filter_map(|n| n["code"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ceremony_through_a_registry_keeps_every_copy() {
    for quirks in [
        Quirks::default(),
        Quirks { no_referrers_api: true, ..Quirks::default() },
        Quirks { immutable_tags: Some("bulla.*.p.*".into()), ..Quirks::default() },
    ] {
        let stage = Stage::on(quirks).await;
        stage.init().await;
        stage.joined_by(&["bob", "carol"]).await;
        let (bob, carol) = (stage.public("bob"), stage.public("carol"));
        let line = format!(
            "tuf propose {} --add-key root={bob} --add-key root={carol} --threshold root=2 --description grow --push",
            stage.at()
        );
        let pushed = stage.doc("publisher", &line).await;
        assert_eq!(exit(&pushed), 0, "{pushed:#}");
        assert_eq!(stage.proposals().len(), 1);
        // Two who push at once: each writes a copy of its own.
        let (one, two) = tokio::join!(stage.approve("bob"), stage.approve("carol"));
        assert_eq!((exit(&one), exit(&two)), (0, 0), "{one:#} {two:#}");
        assert_eq!(stage.proposals().len(), 3);
        let early = stage.doc("publisher", &format!("tuf commit {0} --at {0}", stage.at())).await;
        assert_eq!(early["error"]["code"], "proposal.incomplete", "the published root's key is missing");
        assert_eq!(exit(&stage.approve("publisher").await), 0);
        assert_eq!(stage.proposals().len(), 4);
        let done = stage.doc("publisher", &format!("tuf commit {0} --at {0}", stage.at())).await;
        assert_eq!((exit(&done), &done["result"]["status"]), (0, &"committed".into()), "{done:#}");
        let proposed = &done["result"]["signers"].as_array().unwrap()[1];
        assert_eq!(proposed["signed"].as_array().unwrap().len(), 3, "every copy's signature: {done:#}");
        assert_eq!(stage.proposals(), Vec::<String>::new(), "they are cleared");
        let absent = stage.approve("bob").await;
        assert_eq!(absent["error"]["code"], "proposal.absent");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn junk_among_the_proposals_is_passed_over_and_said() {
    let stage = Stage::new().await;
    stage.init().await;
    stage.joined_by(&["bob"]).await;
    let line = format!(
        "tuf propose {} --add-key root={} --description grow --push",
        stage.at(),
        stage.public("bob")
    );
    stage.by("publisher", line).await.ok();
    let real = stage.proposals().remove(0);
    let prefix = real.rsplit_once(".p.").unwrap().0.to_owned();
    let junk = |tag: String, artifact: &str, size: u64| {
        let layer = serde_json::json!({"mediaType": "application/vnd.bulla.proposal.v1+json", "size": size,
            "digest": format!("sha256:{}", "ab".repeat(32))});
        let doc = serde_json::json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": artifact, "layers": [layer],
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "size": 2, "data": "e30=",
                "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}});
        stage.registry.put_manifest(
            "team/app",
            Some(&tag),
            "application/vnd.oci.image.manifest.v1+json",
            doc.to_string(),
        );
    };
    let proposal = "application/vnd.bulla.proposal.v1";
    junk(format!("{prefix}.p.zforeign"), "application/vnd.foreign", 10);
    junk(format!("{prefix}.p.zhuge"), proposal, u64::MAX / 4);
    junk(format!("{prefix}.p.zgone"), proposal, 10);
    let shown = stage.doc("bob", &format!("tuf approve {} --show", stage.at())).await;
    assert_eq!((exit(&shown), note_codes(&shown)), (0, vec!["proposal.skipped"; 3]), "{shown:#}");
    // Thousands: no more than 64 are read, and that is said.
    for n in 0..2_000 {
        junk(format!("{prefix}.p.zz{n:04}"), "application/vnd.foreign", 10);
    }
    let shown = stage.doc("bob", &format!("tuf approve {} --show", stage.at())).await;
    let codes = note_codes(&shown);
    assert_eq!(exit(&shown), 0, "{shown:#}");
    assert!(codes.contains(&"proposal.passed-over") && codes.contains(&"proposal.skipped"), "{codes:?}");
    let reads = stage.registry.requests().iter().filter(|r| r.path.contains(".p.zz")).count();
    assert!(reads <= 64, "{reads}");
    // Named by its tag it is found whatever lies around it.
    junk(format!("{prefix}.p.00000"), "application/vnd.foreign", 10);
    let named = stage.doc("bob", &format!("tuf approve {}:{real} --yes", stage.at())).await;
    assert_eq!((exit(&named), note_codes(&named).len()), (0, 0), "{named:#}");
    // What is no proposal is refused when it is named.
    let foreign = stage.doc("bob", &format!("tuf approve {}:{prefix}.p.zforeign --show", stage.at())).await;
    assert_eq!((exit(&foreign), &foreign["error"]["code"]), (1, &"proposal.invalid".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_of_two_keys_is_signed_in_two_homes_and_admitted_by_the_job() {
    let stage = Stage::new().await;
    stage.init().await;
    stage.joined_by(&["bob"]).await;
    stage.publish("v1").await.ok();
    let line = format!(
        "tuf propose {} --add-key releases={} --threshold releases=2 --description two --push",
        stage.at(),
        stage.public("bob")
    );
    stage.by("publisher", line).await.ok();
    for who in ["publisher", "bob"] {
        assert_eq!(exit(&stage.approve(who).await), 0);
    }
    let done = stage.doc("publisher", &format!("tuf commit {0} --at {0}", stage.at())).await;
    assert_eq!((exit(&done), &done["result"]["status"]), (0, &"committed".into()), "{done:#}");
    // One of two keys: nothing is published, a proposal lies there.
    let line = format!("publish --from oci:{}:v2 {} --tag v2", stage.path("build"), stage.at());
    let proposed = stage.doc("publisher", &line).await;
    assert_eq!((exit(&proposed), &proposed["result"]["status"]), (0, &"proposed".into()), "{proposed:#}");
    assert_eq!(proposed["result"]["lacking"]["more"], 1);
    let verify = format!("verify {}:v2", stage.at());
    assert_ne!(exit(&stage.doc("bob", &verify).await), 0);
    // The second publisher reads what is added, and signs; without the online key it is submitted.
    let shown = stage.by("bob", format!("tuf approve {} --show", stage.at())).await.ok();
    assert!(shown.contains(&format!("entry {NAME}:v2")), "{shown}");
    assert_eq!(exit(&stage.approve("bob").await), 0);
    let line = format!("tuf commit {0} --at {0} --dangerously-without-memory test", stage.at());
    let submitted = stage.doc("bob", &line).await;
    assert_eq!((exit(&submitted), &submitted["result"]["status"]), (0, &"submitted".into()), "{submitted:#}");
    // The job that holds the online key admits it, hangs the seal and moves the tag.
    let renewed = stage.doc("publisher", &format!("renew {}", stage.at())).await;
    assert_eq!(exit(&renewed), 0, "{renewed:#}");
    assert_eq!(renewed["result"]["admitted"].as_array().unwrap().len(), 1, "{renewed:#}");
    assert_eq!(exit(&stage.doc("bob", &verify).await), 0);
    // What is in needs no more signatures: the job takes its copies away.
    assert_eq!(stage.proposals(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proposal_that_is_in_is_in_nobodys_way_where_its_copies_stay() {
    let stage = Stage::on(Quirks { deletion_disabled: true, ..Quirks::default() }).await;
    stage.init().await;
    stage.joined_by(&["bob"]).await;
    let propose =
        |days: u32| format!("tuf propose {} --expires root={days}d --description yearly --push", stage.at());
    stage.by("publisher", propose(400)).await.ok();
    assert_eq!(exit(&stage.approve("publisher").await), 0);
    let done = stage.doc("publisher", &format!("tuf commit {0} --at {0}", stage.at())).await;
    assert_eq!((exit(&done), &done["result"]["status"]), (0, &"committed".into()), "{done:#}");
    assert!(!stage.proposals().is_empty() && note_codes(&done).contains(&"proposal.left"), "{done:#}");
    stage.by("publisher", propose(500)).await.ok();
    let next = stage.approve("publisher").await;
    assert_eq!(exit(&next), 0, "{next:#}");
    assert!(note_codes(&next).contains(&"proposal.skipped"), "{next:#}");
    // Two that both stand on what lies there are two.
    stage.by("publisher", propose(600)).await.ok();
    let several = stage.approve("publisher").await;
    assert_eq!(several["error"]["code"], "proposal.several", "{several:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timestamp_of_two_keys_is_signed_by_two_jobs() {
    let stage = Stage::new().await;
    stage.init().await;
    stage.joined_by(&["second"]).await;
    let key = stage.public("second");
    let line = format!(
        "tuf propose {} --add-key timestamp={key} --threshold timestamp=2 --add-key snapshot={key} --threshold snapshot=2 --description two --push",
        stage.at()
    );
    stage.by("publisher", line).await.ok();
    assert_eq!(exit(&stage.approve("publisher").await), 0);
    let submitted = stage.doc("publisher", &format!("tuf commit {0} --at {0}", stage.at())).await;
    assert_eq!((exit(&submitted), &submitted["result"]["status"]), (0, &"submitted".into()), "{submitted:#}");
    let second = |now: &'static str| {
        let line = format!("renew {} --dangerously-without-memory test", stage.at());
        let stage = &stage;
        async move { stage.doc_at("second", now, &line).await }
    };
    let done = second("2026-05-01T12:01:00Z").await;
    assert_eq!((exit(&done), &done["result"]["status"]), (0, &"renewed".into()), "{done:#}");
    // From now on each publication and renewal takes both.
    let line = format!("publish --from oci:{}:v1 {} --tag v1", stage.path("build"), stage.at());
    let waits = stage.doc_at("publisher", LATER, &line).await;
    assert_eq!((exit(&waits), &waits["result"]["status"]), (0, &"submitted".into()), "{waits:#}");
    assert_eq!(waits["result"]["gathering"]["lacking"][0]["more"], 1);
    let verify = format!("verify {}:v1", stage.at());
    assert_ne!(exit(&stage.doc_at("second", LATER, &verify).await), 0);
    let done = second("2026-05-03T12:05:00Z").await;
    assert_eq!((exit(&done), &done["result"]["gathering"]), (0, &Value::Null), "{done:#}");
    assert_eq!(exit(&stage.doc_at("second", "2026-05-03T12:06:00Z", &verify).await), 0);
    let left = stage.registry.tags("team/app").into_iter().filter(|(tag, _)| tag.contains(".c.")).count();
    assert_eq!(left, 0);
    // The root is signed again by a proposal: alone it would be of no candidate, and lost.
    let line = format!("renew {} --role root", stage.at());
    let refused = stage.doc_at("publisher", "2026-05-03T12:10:00Z", &line).await;
    assert_eq!((exit(&refused), &refused["error"]["code"]), (3, &"key.missing".into()), "{refused:#}");
    assert!(refused["error"]["next"].as_str().unwrap().contains("--resign root"), "{refused:#}");
    let file = stage.path("yearly.json");
    let line = format!("tuf propose {} --resign root --description yearly --output {file}", stage.at());
    stage.later("publisher", "2026-05-03T12:11:00Z", line).await.ok();
    let line = format!("tuf approve {file} --yes");
    stage.later("publisher", "2026-05-03T12:12:00Z", line).await.ok();
    let line = format!("tuf commit {file} --at {}", stage.at());
    let waits = stage.doc_at("publisher", "2026-05-03T12:13:00Z", &line).await;
    assert_eq!((exit(&waits), &waits["result"]["status"]), (0, &"submitted".into()), "{waits:#}");
    let done = second("2026-05-03T12:14:00Z").await;
    assert_eq!((exit(&done), &done["result"]["gathering"]), (0, &Value::Null), "{done:#}");
    assert_eq!(done["result"]["admitted"][0]["role"], "root", "{done:#}");
    // One machine alone renews nothing, and says whom it waits for.
    let waiting =
        stage.later("publisher", "2026-05-05T12:00:00Z", format!("renew {}", stage.at())).await.ok();
    assert!(waiting.contains("waiting") && waiting.contains("1 more of"), "{waiting}");
}

/// Three homes: one at the registry, two that see nothing but a directory.
#[tokio::test(flavor = "multi_thread")]
async fn snapshot_and_timestamp_are_signed_from_a_stick() {
    let stage = Stage::new().await;
    stage.init().await;
    stage.joined_by(&["second", "third"]).await;
    let (second, third) = (stage.public("second"), stage.public("third"));
    let keys: Vec<String> = ["timestamp", "snapshot"]
        .into_iter()
        .map(|role| format!("--add-key {role}={second} --add-key {role}={third} --threshold {role}=3"))
        .collect();
    let line = format!("tuf propose {} {} --description three --push", stage.at(), keys.join(" "));
    stage.by("publisher", line).await.ok();
    assert_eq!(exit(&stage.approve("publisher").await), 0);
    let waits = stage.doc("publisher", &format!("tuf commit {0} --at {0}", stage.at())).await;
    assert_eq!(waits["result"]["status"], "submitted", "{waits:#}");
    let nothing = |tag: &str| stage.registry.tags("team/app").iter().any(|(t, _)| t.contains(tag));
    // Not written twice: what the two see is a file and an OCI layout, and never the registry.
    let (stick, file) = (format!("oci:{}", stage.path("stick")), stage.path("next.json"));
    let written = stage.doc("publisher", &format!("renew {} --output {stick}", stage.at())).await;
    assert_eq!((exit(&written), &written["result"]["status"]), (0, &"waiting".into()), "{written:#}");
    let roles = written["result"]["proposal"]["difference"]["files"].as_array().unwrap().clone();
    let roles: Vec<&str> = roles.iter().filter_map(|f| f["role"].as_str()).collect();
    assert_eq!(roles, ["root", "snapshot", "timestamp"], "{written:#}");
    stage.doc("publisher", &format!("renew {} --output {file}", stage.at())).await;
    let before = stage.registry.requests().len();
    let shown = stage.by("second", format!("tuf approve {stick} --show")).await.ok();
    assert!(
        shown.contains("root 1 -> 2") && shown.contains("timestamp: 3 of 3 keys must sign, it was 1"),
        "{shown}"
    );
    let signed = stage.doc("second", &format!("tuf approve {stick} --yes")).await;
    assert_eq!(exit(&signed), 0, "{signed:#}");
    let roles: Vec<&Value> =
        signed["result"]["signed"].as_array().unwrap().iter().map(|s| &s["role"]).collect();
    assert_eq!(roles, ["snapshot", "timestamp"]);
    assert_eq!(exit(&stage.doc("third", &format!("tuf approve {file} --yes")).await), 0);
    assert_eq!(stage.registry.requests().len(), before, "no network at any point");
    // One after the other: nothing that was signed is lost on the way.
    let line = |from: &str| format!("tuf commit {from} --at {}", stage.at());
    let waits = stage.doc("publisher", &line(&stick)).await;
    assert_eq!((exit(&waits), &waits["result"]["status"]), (0, &"waiting".into()), "{waits:#}");
    assert_eq!(waits["result"]["gathering"]["lacking"][0]["more"], 1);
    assert!(nothing(".c."));
    let done = stage.doc("publisher", &line(&file)).await;
    assert_eq!((exit(&done), &done["result"]["gathering"]), (0, &Value::Null), "{done:#}");
    assert_eq!(done["result"]["conflicts"]["commits"], 1);
    assert!(!nothing(".c."));
    // It is published, and the old stick takes nothing back.
    assert_eq!(exit(&stage.doc("publisher", &line(&stick)).await), 0, "it is in already");
    let line = format!("publish --from oci:{}:v1 {} --tag v1", stage.path("build"), stage.at());
    assert_eq!(stage.doc_at("publisher", LATER, &line).await["result"]["status"], "submitted");
    let old = stage.doc_at("publisher", LATER, &format!("tuf commit {file} --at {}", stage.at())).await;
    assert_eq!((exit(&old), &old["error"]["code"]), (1, &"proposal.stale".into()), "{old:#}");
    // A publication on its way: who signs reads what is added. What was changed on the stick is signed by nobody.
    stage.doc_at("publisher", LATER, &format!("renew {} --output {file}", stage.at())).await;
    let show = format!("tuf approve {file} --show");
    let shown = stage.later("second", LATER, show).await.ok();
    assert!(shown.contains(&format!("entry {NAME}:v1")), "{shown}");
    let honest = std::fs::read_to_string(&file).unwrap();
    let mut doc: Value = serde_json::from_str(&honest).unwrap();
    let meta = doc["drafts"]["snapshot"]["signed"]["meta"].as_object_mut().unwrap();
    meta.remove("targets/revocations.json").unwrap();
    std::fs::write(&file, doc.to_string()).unwrap();
    let refused = stage.doc_at("second", LATER, &format!("tuf approve {file} --yes")).await;
    assert_eq!((exit(&refused), &refused["error"]["code"]), (1, &"proposal.unfit".into()), "{refused:#}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), doc.to_string(), "nothing was signed");
    std::fs::write(&file, honest).unwrap();
    for who in ["second", "third"] {
        let signed = stage.doc_at(who, LATER, &format!("tuf approve {file} --yes")).await;
        assert_eq!(exit(&signed), 0, "{signed:#}");
    }
    let commit = format!("tuf commit {file} --at {}", stage.at());
    let done = stage.doc_at("publisher", LATER, &commit).await;
    assert_eq!((exit(&done), &done["result"]["status"]), (0, &"renewed".into()), "{done:#}");
    assert_eq!(exit(&stage.doc_at("second", LATER, &format!("verify {}:v1", stage.at())).await), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_writer_who_lacks_an_online_key_is_told_so() {
    let stage = Stage::new().await;
    let root = stage.path("1.root.json");
    stage
        .by("publisher", format!("init {NAME} --at {} --root-file {root} --single-writer", stage.at()))
        .await
        .ok();
    stage.joined_by(&["second"]).await;
    let key = stage.public("second");
    let line = format!(
        "tuf propose {} --add-key timestamp={key} --threshold timestamp=2 --description two --output {}",
        stage.at(),
        stage.path("two.json")
    );
    stage.by("publisher", line).await.ok();
    stage.by("publisher", format!("tuf approve {} --yes", stage.path("two.json"))).await.ok();
    let line = format!(
        "tuf commit {} --at {} --with {}",
        stage.path("two.json"),
        stage.at(),
        stage.path("second/keys/second.pem")
    );
    let _ = stage.by("publisher", line).await;
    let line = format!("renew {}", stage.at());
    let refused = stage.doc_at("publisher", LATER, &line).await;
    assert_eq!((exit(&refused), &refused["error"]["code"]), (3, &"key.missing".into()), "{refused:#}");
    assert!(refused["error"]["reason"].as_str().unwrap().contains("single writer"), "{refused:#}");
}
