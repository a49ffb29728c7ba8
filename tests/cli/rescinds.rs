//! Signatures, keys and certificates are taken back, and everybody learns of it: at the registry, at a mirror, on a stick.

use bulla::oci::Digest;
use serde_json::{Value, json};

use crate::places::run;
use crate::run::Ran;
use crate::signed::{Shop, ca_anchor, data, trusted, verdict};

/// The security team's collection: a revocation list of its own, which vouches for no bundle.
const SECURITY: &str = "example.com/team/security";
const NAME: &str = "example.com/team/app";

/// Two people signed v1, one with a bare key and one with a certificate; a deployer demands either, and goes by the security team's
/// list.
struct Desk {
    shop: Shop,
    list: String,
    mirror: String,
    stick: String,
}

impl Desk {
    async fn of(shop: Shop) -> Self {
        shop.key("alice", "p256").await;
        shop.key("bob", "p384").await;
        let at = shop.at();
        let v1 = format!("{at}@{}", shop.v1);
        shop.sign("alice", &v1, "").await.ok();
        shop.sign("bob", &v1, &format!("--format notation --cert {}", Shop::chain("p384"))).await.ok();
        let (list, root) = (shop.repository("team/security"), shop.path("1.root.json"));
        shop.by("security", format!("init {SECURITY} --at {list} --root-file {root}")).await.ok();
        let mirror = shop.repository("mirror/app");
        let stick = shop.layout("stick");
        let desk = Self { shop, list, mirror, stick };
        for to in [&desk.mirror, &desk.stick] {
            desk.shop.by("mover", format!("copy {v1} {to}:v1")).await.ok();
        }
        desk.news().await;
        for who in ["alice", "bob"] {
            desk.deployer(who, who).await;
        }
        desk
    }

    /// What the list says is brought to the stick.
    async fn news(&self) -> Value {
        let line = format!("copy --state-only {} {} --format json", self.list, self.stick);
        let ran = self.shop.by("mover", line).await;
        assert_eq!(ran.exit, 0, "{ran:#?}");
        ran.json()["result"].clone()
    }

    /// A home that demands the signature of this person, as the list leaves it.
    async fn deployer(&self, home: &str, whose: &str) {
        let home = format!("by-{home}");
        let line = format!(
            "trust add {} --collection {SECURITY} --root {}",
            self.list,
            self.shop.path("1.root.json")
        );
        self.shop.by(&home, line).await.ok();
        let file = self.shop.dir.path().join(&home).join("trust.json");
        let mut trust: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        for scope in [self.shop.at(), self.mirror.clone(), NAME.to_owned()] {
            let id = format!("{whose}-{}", scope.replace(['/', ':'], "-"));
            let mut anchor = match whose {
                "alice" => self.shop.key_anchor(&id, &scope, "alice"),
                _ => ca_anchor(&id, &scope, &data("notation/root.pem")),
            };
            anchor["rescissions"] = json!({"tuf": SECURITY});
            trust["anchors"].as_array_mut().unwrap().push(anchor);
        }
        trust["schemaVersion"] = 2.into();
        std::fs::write(&file, trust.to_string()).unwrap();
    }

    /// The verdicts at the registry, at the mirror and on the stick.
    async fn verdicts(&self, home: &str) -> [(u8, String); 3] {
        let home = format!("by-{home}");
        let v1 = &self.shop.v1;
        let stick = format!("{}@{v1} --as {NAME}", self.stick);
        [
            self.shop.verify(&home, &format!("{}@{v1}", self.shop.at())).await,
            self.shop.verify(&home, &format!("{}@{v1}", self.mirror)).await,
            self.shop.verify(&home, &stick).await,
        ]
    }

    async fn revoke(&self, what: &str) -> Ran {
        let line = format!("revoke {} {what} --reason stolen --format json", self.list);
        run(self.shop.bulla("security"), line).await
    }
}

/// SHA-256 of a certificate of a chain file.
fn fingerprint(chain: &str, which: usize) -> String {
    let pem = std::fs::read_to_string(chain).unwrap();
    let all = bulla::sig::x509::Certificate::from_pem(&pem).unwrap();
    all[which].thumbprint().to_string()
}

async fn each_kind_everywhere(shop: Shop) {
    let desk = Desk::of(shop).await;
    let chain = Shop::chain("p384");
    let public = desk.shop.path("alice/keys/release.pub");
    let v1 = format!("{}@{}", desk.shop.at(), desk.shop.v1);
    let again = desk.shop.sign("alice", &v1, "--format json").await.json();
    let carrier = again["result"]["artifacts"][0]["signature"]["digest"].as_str().unwrap().to_owned();
    let colons = fingerprint(&chain, 0).trim_start_matches("sha256:").to_uppercase();
    let colons: Vec<&str> = (0..32).map(|i| &colons[2 * i..2 * i + 2]).collect();
    let last = std::fs::read_to_string(&chain).unwrap().matches("BEGIN CERTIFICATE").count() - 1;
    let cases = [
        ("alice", format!("--signature {}@{carrier}", desk.shop.at()), "signature.rescinded"),
        ("alice", format!("--key {public}"), "signature.key.rescinded"),
        ("bob", format!("--cert {}", colons.join(":")), "signature.certificate.rescinded"),
        // Any CA above him takes his signature along.
        ("bob", format!("--cert {}", fingerprint(&chain, last)), "signature.certificate.rescinded"),
    ];
    for (home, what, code) in cases {
        assert_eq!(desk.verdicts(home).await, [trusted(), trusted(), trusted()], "before {what}");
        let revoked = desk.revoke(&what).await;
        let result = revoked.json()["result"].clone();
        assert_eq!((revoked.exit, &result["status"]), (0, &"revoked".into()), "{revoked:#?}");
        assert!(result["remains"].as_array().is_some_and(|r| !r.is_empty()), "{result:#}");
        assert_eq!(desk.revoke(&what).await.json()["result"]["status"], "unchanged");
        let brought = desk.news().await;
        assert!(brought["copied"]["bytes"].as_u64().unwrap() < 50_000, "{brought:#}");
        assert_eq!(brought["states"][0]["action"], "replaced", "{brought:#}");
        assert_eq!(
            desk.verdicts(home).await,
            [(1, code.to_owned()), (1, code.to_owned()), (1, code.to_owned())],
            "{what}"
        );
        // Who never saw the list before is told the same, and by whom, when and why.
        let first = format!("first-{}", desk.shop.dir.path().read_dir().unwrap().count());
        desk.deployer(&first, home).await;
        let report = desk.shop.report(&format!("by-{first}"), &v1).await;
        let because = &report["because"];
        assert_eq!(because["code"], code, "{report:#}");
        assert_eq!(
            (&because["data"]["reason"], &because["data"]["collection"]),
            (&"stolen".into(), &SECURITY.into())
        );
        assert_eq!(
            (&because["data"]["by"], &because["data"]["id"]),
            (&result["entry"]["by"], &result["entry"]["id"])
        );
        assert!(
            because["data"]["at"].as_str().is_some_and(|at| at.starts_with("2026-05-01T12")),
            "{because:#}"
        );
        // Only an entry that says so undoes it.
        let id = result["entry"]["id"].as_str().unwrap();
        let undone = desk.revoke(&format!("--undo {id}")).await;
        assert_eq!(undone.exit, 0, "{undone:#?}");
        desk.news().await;
    }
    for home in ["alice", "bob"] {
        assert_eq!(desk.verdicts(home).await, [trusted(), trusted(), trusted()], "after all was undone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_is_refused_at_the_registry_at_a_mirror_and_on_a_stick() {
    each_kind_everywhere(Shop::new().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn and_without_the_referrers_api() {
    each_kind_everywhere(Shop::plain().await).await;
}

/// Of the issuer's signature anybody can make a second one, and so a second thumbprint: it is the same certificate.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_was_taken_back_is_not_disguised() {
    let desk = Desk::of(Shop::new().await).await;
    let pem = std::fs::read_to_string(Shop::chain("p384")).unwrap();
    let leaf = bulla::sig::x509::Certificate::from_pem(&pem).unwrap().remove(0);
    let names = leaf.thumbprints();
    assert!(names.len() > 1 && names[0] == leaf.thumbprint(), "its issuer signs with ECDSA");
    // Taken back under each of the names that an attacker, or an honest tool, may show.
    for name in names {
        let revoked = desk.revoke(&format!("--cert {name}")).await;
        assert_eq!(revoked.exit, 0, "{revoked:#?}");
        let no = (1, "signature.certificate.rescinded".to_owned());
        assert_eq!(desk.verdicts("bob").await[0], no, "{name}");
        let id = revoked.json()["result"]["entry"]["id"].as_str().unwrap().to_owned();
        assert_eq!(desk.revoke(&format!("--undo {id}")).await.exit, 0);
    }
}

/// A stick with an older list, a list that is withheld: who has seen the news keeps it, and nobody passes for want of a list.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_list_is_no_way_back() {
    let desk = Desk::of(Shop::new().await).await;
    let older = desk.shop.layout("older");
    let line = format!("copy {}@{} {older}:v1", desk.shop.at(), desk.shop.v1);
    desk.shop.by("mover", line).await.ok();
    desk.shop.by("mover", format!("copy --state-only {} {older}", desk.list)).await.ok();
    let public = desk.shop.path("alice/keys/release.pub");
    assert_eq!(desk.revoke(&format!("--key {public}")).await.exit, 0);
    let at_older = format!("{older}@{} --as {NAME}", desk.shop.v1);
    // Not seen yet: good as of the date of that stick.
    assert_eq!(desk.shop.verify("by-alice", &at_older).await, trusted());
    let no = (1, "signature.key.rescinded".to_owned());
    let at = format!("{}@{}", desk.shop.at(), desk.shop.v1);
    assert_eq!(desk.shop.verify("by-alice", &at).await, no);
    assert_eq!(desk.shop.verify("by-alice", &at_older).await, no, "an older list, replayed");
    // The newer state is never taken away by the older one.
    desk.news().await;
    let back = desk.shop.by("mover", format!("copy --state-only {older} {} --format json", desk.stick)).await;
    assert_eq!((back.exit, &back.json()["result"]["states"][0]["action"]), (0, &"kept".into()), "{back:#?}");
    let stick = format!("{}@{} --as {NAME}", desk.stick, desk.shop.v1);
    assert_eq!(desk.shop.verify("by-alice", &stick).await, no);
    // No list at all on the stick.
    let bare = desk.shop.layout("bare");
    desk.shop.by("mover", format!("copy {at} {bare}:v1")).await.ok();
    let at_bare = format!("{bare}@{} --as {NAME}", desk.shop.v1);
    assert_eq!(desk.shop.verify("by-alice", &at_bare).await, no, "who knows, knows");
    desk.deployer("fresh", "alice").await;
    assert_eq!(desk.shop.verify("by-fresh", &at_bare).await, (3, "signature.open".to_owned()));
    // Weeks later the list on the stick has expired, and is no pass.
    let line = format!("verify {older}@{} --as {NAME} --format json", desk.shop.v1);
    let late = run(desk.shop.bulla("by-fresh").now("2026-09-01T12:00:00Z"), line).await;
    assert_eq!(verdict(&late), (3, "signature.open".to_owned()));
}

/// The collection's own key: nothing that rests on it is trusted until the role has another, and revoke says whose turn it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_the_collections_own_waits_for_its_rotation() {
    let shop = Shop::new().await;
    let (at, root) = (shop.at(), shop.path("1.root.json"));
    shop.by("admin", format!("init {NAME} --at {at} --root-file {root}")).await.ok();
    shop.by("admin", format!("publish {at}:v1 --tag v1")).await.ok();
    shop.by("deployer", format!("trust add {at} --collection {NAME} --root {root}")).await.ok();
    assert_eq!(shop.verify("deployer", &format!("{at}:v1")).await, trusted());
    let pem = std::fs::read_to_string(shop.path("admin/keys/app-releases.pub")).unwrap();
    let id = bulla::sig::PublicKey::from_pem(&pem).unwrap().key_id();
    let revoked = shop.by("admin", format!("revoke {at} --key {id} --reason stolen --format json")).await;
    let result = revoked.json()["result"].clone();
    assert_eq!(revoked.exit, 0, "{revoked:#?}");
    let roles: Vec<&str> =
        result["roles"].as_array().unwrap().iter().map(|r| r["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["targets/releases", "targets/revocations"], "{result:#}");
    let said = result["remains"][0].as_str().unwrap();
    assert!(said.contains("tuf propose --remove-key") && said.contains("signs targets"), "{said}");
    let report = shop.report("deployer", &format!("{at}:v1")).await;
    assert_eq!(
        (&report["because"]["code"], &report["because"]["data"]["role"]),
        (&"revocation.key".into(), &"targets/releases".into())
    );
    assert!(report["because"]["detail"].as_str().unwrap().contains("stolen"), "{report:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stops_revoke_of_signatures_keys_and_certificates() {
    let desk = Desk::of(Shop::new().await).await;
    let list = desk.list.clone();
    let some = Digest::sha256(b"x");
    let chain = Shop::chain("p384");
    for (line, code) in [
        (format!("revoke {list}:v1 --key {some}"), "usage"),
        (format!("revoke {list}@{some} --cert {some}"), "usage"),
        (format!("revoke {list} --cert nothing"), "usage"),
        (format!("revoke {list} --cert {chain}"), "usage"),
        (format!("revoke {list} --cert {}", desk.shop.path("alice/keys/release.pub")), "usage"),
        (format!("revoke {list} --signature sha512:{}", "0".repeat(128)), "usage"),
        (format!("revoke {list} --signature {}:v1", desk.shop.at()), "usage"),
        (format!("revoke {list} --signature {some} --since 2026-01-01T00:00:00Z"), "usage"),
        (format!("revoke {list} --since 2026-01-01T00:00:00Z"), "usage"),
        (format!("revoke {list} --key {some} --since yesterday"), "usage"),
        (format!("revoke {list} --key {some} --cert {some}"), "usage"),
        (format!("revoke {list} --key {some} --advisory"), "usage"),
        ("revoke".to_owned(), "usage"),
    ] {
        let ran = run(desk.shop.bulla("security"), format!("{line} --reason x --format json")).await;
        assert_eq!((ran.exit, ran.json()["error"]["code"].as_str()), (2, Some(code)), "{line}: {ran:#?}");
    }
    // Two repositories are anchored here, the place and the name: which is meant is asked.
    let ran = run(desk.shop.bulla("security"), format!("revoke --key {some} --reason x --format json")).await;
    assert_eq!((ran.exit, ran.json()["error"]["code"].as_str()), (2, Some("usage")), "{ran:#?}");
    let ran = desk.revoke("--key ./nothing.pub").await;
    assert_eq!((ran.exit, ran.json()["error"]["code"].as_str()), (3, Some("key.absent")), "{ran:#?}");
    // The bundle is no signature.
    let ran = desk.revoke(&format!("--signature {}@{}", desk.shop.at(), desk.shop.v2)).await;
    assert_eq!(
        (ran.exit, ran.json()["error"]["code"].as_str()),
        (1, Some("revoke.no-signature")),
        "{ran:#?}"
    );
    let ran = desk.revoke("--undo 0123456789abcdef").await;
    assert_eq!((ran.exit, ran.json()["error"]["code"].as_str()), (1, Some("revoke.no-entry")), "{ran:#?}");
    // Bounded by a time, and without: the wider one is entered beside it.
    let since = format!("--key {some} --since 2026-04-01T00:00:00Z");
    let bounded = desk.revoke(&since).await.json();
    assert_eq!(bounded["result"]["entry"]["since"], "2026-04-01T00:00:00Z");
    assert_eq!(desk.revoke(&since).await.json()["result"]["status"], "unchanged");
    let wider = desk.revoke(&format!("--key {some}")).await.json();
    assert_eq!(
        (&wider["result"]["status"], &wider["result"]["entry"]["since"]),
        (&"revoked".into(), &Value::Null)
    );
    assert_eq!(desk.revoke(&since).await.json()["result"]["status"], "unchanged", "the wider one covers it");
    // No key of the list: nothing is signed.
    std::fs::rename(desk.shop.path("security/keys/security-releases.pem"), desk.shop.path("away.pem"))
        .unwrap();
    let ran = desk.revoke(&format!("--key {}", Digest::sha256(b"y"))).await;
    assert_eq!((ran.exit, ran.json()["error"]["code"].as_str()), (3, Some("key.missing")), "{ran:#?}");
}

/// States without bundles: for registries, layouts and archives, looked at ahead, and refused where nothing fits.
#[tokio::test(flavor = "multi_thread")]
async fn states_alone_are_copied() {
    let desk = Desk::of(Shop::new().await).await;
    let (list, mirror) = (desk.list.clone(), desk.shop.repository("mirror/security"));
    let archive = format!("oci-archive:{}", desk.shop.path("news.tar"));
    for to in [&mirror, &archive] {
        let ahead =
            desk.shop.by("mover", format!("copy --state-only --dry-run {list} {to} --format json")).await;
        assert_eq!((ahead.exit, &ahead.json()["result"]["status"]), (0, &"planned".into()), "{ahead:#?}");
        let first =
            desk.shop.by("mover", format!("copy --state-only {list} {to} --format json")).await.json();
        assert_eq!(first["result"]["states"][0]["action"], "copied", "{first:#}");
        let again =
            desk.shop.by("mover", format!("copy --state-only {list} {to} --format json")).await.json();
        assert_eq!(again["result"]["states"][0]["action"], "same", "{again:#}");
        assert_eq!(again["result"]["copied"]["bytes"], 0, "{again:#}");
    }
    assert_eq!(desk.shop.registry.tags("mirror/security").len(), 1, "no bundle came along");
    // From the archive on, as over an air gap.
    let site = desk.shop.repository("site/security");
    desk.shop.by("mover", format!("copy --state-only {archive} {site}")).await.ok();
    assert_eq!(desk.shop.registry.tags("site/security"), desk.shop.registry.tags("mirror/security"));
    for (line, exit, code) in [
        (format!("copy --state-only {list}:v1 {mirror}"), 2, "usage"),
        (format!("copy --state-only {list} {mirror}:v1"), 2, "usage"),
        (format!("copy --state-only --all-tags {list} {mirror}"), 2, "usage"),
        (format!("copy --state-only --verify {list} {mirror}"), 2, "usage"),
        (format!("copy --state-only {} {mirror}", desk.shop.at()), 3, "ref.absent"),
    ] {
        let ran = desk.shop.by("mover", format!("{line} --format json")).await;
        assert_eq!((ran.exit, ran.json()["error"]["code"].as_str()), (exit, Some(code)), "{line}: {ran:#?}");
    }
}
