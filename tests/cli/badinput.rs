//! Bad input, from the outside and from the user: each refusal has its exit code and says what, why and what next, in
//! text and in JSON alike; and nothing is left behind that looks finished.

use std::path::Path;

use bulla::oci::{Content, media_type};
use bulla::store::layout::OciDir;
use bulla::store::{Manage as _, Store as _};
use serde_json::{Value, json};

use crate::bundles;
use crate::places::run;
use crate::registry::{Action, Auth, Config, Fault, Registry};
use crate::run::{Bulla, Ran};

const NAME: &str = "example.com/team/app";

/// A folder with a home, a layout `build` that holds `v1`, and a registry.
struct Desk {
    dir: tempfile::TempDir,
    registry: Registry,
    image: Content,
}

impl Desk {
    async fn new() -> Self {
        let dir = bundles::scratch();
        let store = OciDir::create(dir.path().join("build")).await.unwrap();
        let image = bundles::image(&store, "bad").await;
        store.push_manifest(&image, Some(&bundles::tag("v1"))).await.unwrap();
        store.flush().await.unwrap();
        Self { dir, registry: Registry::start(Config::default()).await, image }
    }

    /// With a collection at `team/app` of the registry, in which `v1` is released, and no password on its keys.
    async fn released() -> Self {
        let desk = Self::new().await;
        for key in ["root", "daily"] {
            desk.ok(format!("key generate {key} --dangerously-unencrypted")).await;
        }
        let (at, root) = (desk.at(), desk.path("1.root.json"));
        let keys = "--root-key root --targets-key root --releases-key daily --online-key daily";
        desk.ok(format!("init {NAME} --at {at} --root-file {root} {keys}")).await;
        desk.ok(format!("publish --from oci:{} {at} --tag v1", desk.path("build:v1"))).await;
        desk
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn at(&self) -> String {
        format!("{}/team/app", self.registry.host())
    }

    fn bulla(&self) -> Bulla {
        Bulla::at(&self.dir.path().join("home"))
    }

    async fn ok(&self, line: String) -> String {
        run(self.bulla(), line).await.ok()
    }

    /// The command is refused so; `thing` stands in the message, `why` in the reason.
    async fn refused(&self, line: &str, says: (u8, &str), thing: &str, why: &str) {
        let json = run(self.bulla(), format!("{line} --format json")).await;
        let text = run(self.bulla(), line.to_owned()).await;
        explained(line, &text, &json, says, thing, why);
    }

    /// `verify` answers so, with a report; `thing` and `why` stand in what it says.
    async fn judged(&self, line: &str, says: (u8, &str), why: &str) {
        let (exit, code) = says;
        let ran = run(self.bulla(), format!("verify {line} --format json")).await;
        let json = ran.json();
        let bundle = &json["result"]["bundles"][0];
        assert_eq!((ran.exit, bundle["because"]["code"].as_str()), (exit, Some(code)), "{line}: {json:#}");
        assert_eq!(json["error"], Value::Null, "{line}: an answer is no error");
        let detail = bundle["because"]["detail"].as_str().unwrap();
        assert!(detail.contains(why), "{line}: {why:?} is not in {detail:?}");
        let next = bundle["next"].as_str().unwrap_or_else(|| panic!("{line}: no next step: {bundle:#}"));

        let text = run(self.bulla(), format!("verify {line}")).await;
        assert_eq!(text.exit, exit, "{text:#?}");
        let reference = line.split(' ').next().unwrap();
        assert!(text.out.lines().next().unwrap().ends_with(reference), "{}", text.out);
        assert!(!text.out.contains("verified as"), "{}", text.out);
        for part in [format!("  because {code}: {detail}\n"), format!("  next    {next}\n")] {
            assert!(text.out.contains(&part), "{part:?} is not in\n{}", text.out);
        }
    }
}

#[track_caller]
fn explained(line: &str, text: &Ran, json: &Ran, (exit, code): (u8, &str), thing: &str, why: &str) {
    let document = json.json();
    let error = &document["error"];
    assert_eq!((json.exit, error["code"].as_str()), (exit, Some(code)), "{line}: {document:#}");
    let part = |name: &str| error[name].as_str().unwrap_or_else(|| panic!("{line}: no {name}: {error:#}"));
    let (message, reason, next) = (part("message"), part("reason"), part("next"));
    assert!(message.contains(thing), "{line}: {thing:?} is not in {message:?}");
    assert!(reason.contains(why), "{line}: {why:?} is not in {reason:?}");
    assert_eq!((text.exit, text.out.as_str()), (exit, ""), "{line}");
    for (word, part) in [("error: ", message), ("  reason: ", reason), ("  next: ", next)] {
        let said = text.err.lines().find_map(|l| l.strip_prefix(word));
        let said = said.unwrap_or_else(|| panic!("{line}: no {word:?}: {}", text.err));
        assert_eq!(masked(said), masked(part), "{line}");
    }
}

/// Without digests and numbers: of several blobs under way at once, another one may fail first.
fn masked(text: &str) -> String {
    let same = |word: &str| !word.bytes().all(|b| b.is_ascii_hexdigit()) || word.len() < 64;
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words.filter(|w| same(w) && w.parse::<u64>().is_err()).collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_and_unreadable_keys() {
    let desk = Desk::released().await;
    run(desk.bulla().var("BULLA_PASSWORD", "right"), "key generate k".into()).await.ok();
    std::fs::rename(desk.path("home/keys/k.pem"), desk.path("k.pem")).unwrap();
    let key = desk.path("k.pem");
    let (at, build) = (desk.at(), desk.path("build:v1"));
    for line in [
        format!("key show {key}"),
        format!("key import {key} copy"),
        format!("publish {at}:v1 --releases-key {key}"),
        format!("renew {at} --online-key {key}"),
        format!("init example.com/other --at {at} --online-key {key} --root-file {}", desk.path("2.json")),
    ] {
        let bulla = || desk.bulla().var("BULLA_PASSWORD", "wrong");
        let (text, json) = (run(bulla(), line.clone()).await, format!("{line} --format json"));
        let json = run(bulla(), json).await;
        explained(&line, &text, &json, (3, "key.password"), &key, "wrong password");
        assert!(!json.out.contains("\"wrong\""), "a password is never printed");
    }

    let no_pem = desk.path("no.pem");
    std::fs::write(&no_pem, "garbage").unwrap();
    let folder = desk.path("folder.pem");
    std::fs::create_dir(&folder).unwrap();
    let two = desk.path("two.pem");
    let one = std::fs::read_to_string(desk.path("home/keys/daily.pem")).unwrap();
    std::fs::write(&two, one.repeat(2)).unwrap();
    let torn = desk.path("torn.pem");
    std::fs::write(&torn, &one[..one.len() / 2]).unwrap();
    let big = desk.path("big.pem");
    std::fs::write(&big, vec![b'x'; 2_000_000]).unwrap();
    for (file, why) in [
        (&no_pem, "no PEM key"),
        (&folder, "not a regular file"),
        (&two, "2 keys"),
        (&torn, "damaged"),
        (&big, "larger than the limit"),
    ] {
        for line in [
            format!("key show {file}"),
            format!("publish {at}:v1 --releases-key {file}"),
            format!("renew {at} --online-key {file}"),
        ] {
            desk.refused(&line, (3, "key.unreadable"), file, why).await;
        }
    }
    let public = desk.path("home/keys/daily.pub");
    let line = format!("publish {at}:v1 --releases-key {public}");
    desk.refused(&line, (3, "key.unreadable"), &public, "the private key is needed").await;
    let line = format!("renew {at} --online-key nobody");
    desk.refused(&line, (3, "key.absent"), "nobody", "does not exist").await;

    // None of the role's keys is here.
    std::fs::rename(desk.path("home/keys"), desk.path("keys")).unwrap();
    let line = format!("publish --from oci:{build} {at} --tag v2");
    desk.refused(&line, (3, "key.missing"), "targets/releases", "0 of 1 keys").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_trusted_for_it() {
    let desk = Desk::new().await;
    let (build, at) = (desk.path("build"), desk.at());
    desk.ok(format!("copy oci:{build}:v1 {at}")).await;
    desk.judged(&format!("{at}:v1"), (1, "anchor.none"), &at).await;
    desk.judged(&format!("oci:{build}:v1 --as {NAME}"), (1, "anchor.none"), NAME).await;
    let ran = run(desk.bulla(), format!("verify {at}:v1")).await;
    assert!(
        ran.out.contains(&format!("bulla trust add {at} --root")),
        "the scope is spelled out: {}",
        ran.out
    );
    let unnamed = format!("verify oci:{build}:v1");
    desk.refused(&unnamed, (2, "anchor.ambiguous"), &build, "no collection is anchored").await;
    for line in [format!("publish {at}:v1"), format!("renew {at}")] {
        desk.refused(&line, (2, "anchor.none"), &at, "anchored").await;
    }
}

/// The registry is not there, or does not let anybody in.
#[tokio::test(flavor = "multi_thread")]
async fn registries_that_refuse() {
    let desk = Desk::released().await;
    let (build, at, host) = (desk.path("build"), desk.at(), desk.registry.host());
    let (stick, root) = (desk.path("stick"), desk.path("1.root.json"));
    desk.ok(format!("trust add 127.0.0.1:1/app --collection {NAME} --root {root}")).await;
    let gone = "127.0.0.1:1/app";
    let finger = format!("sha256:{}", "0".repeat(64));
    for line in [
        format!("copy {gone}:v1 oci:{stick}"),
        format!("copy oci:{build}:v1 {gone}"),
        format!("tree {gone}:v1"),
        format!("publish {gone}:v1"),
        format!("renew {gone}"),
        format!("trust add {gone} --root {finger}"),
        format!(
            "init example.com/other --at {gone} --root-key root --targets-key root --releases-key daily --online-key daily --root-file {}",
            desk.path("2.json")
        ),
    ] {
        desk.refused(&line, (3, "registry.unreachable"), gone, "cannot connect").await;
    }
    desk.judged(&format!("{gone}:v1"), (3, "bundle.resolve"), "cannot connect").await;

    for (status, code, word) in [
        (401, "registry.unauthorized", "unauthorized"),
        (403, "registry.forbidden", "denied"),
        (429, "registry.throttled", "too many requests"),
    ] {
        let faults = |method: &str, path: &str| match status {
            429 => Fault::on(method, path).too_many("0"),
            _ => Fault::on(method, path).status(status),
        };
        desk.registry.fault(faults("GET", "/v2/team/app/*"));
        for line in [
            format!("copy {at}:v1 oci:{stick}"),
            format!("tree {at}:v1"),
            format!("publish {at}:v1"),
            format!("renew {at}"),
        ] {
            desk.refused(&line, (3, code), &at, word).await;
        }
        desk.judged(&format!("{at}:v1"), (3, "bundle.resolve"), word).await;
        desk.registry.behave();
        desk.registry.fault(faults("POST", "/v2/new/app/*"));
        let line = format!("copy oci:{build}:v1 {host}/new/app");
        desk.refused(&line, (3, code), "destination: ", word).await;
        desk.registry.behave();
    }
    assert!(desk.registry.tags("new/app").is_empty(), "no tag without all the rest");
    assert!(!Path::new(&stick).join("index.json").exists(), "nothing came, nothing was made");
}

/// A login that the registry does not know; the password shows nowhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_login() {
    let desk = Desk::new().await;
    desk.ok(format!("copy oci:{} {}", desk.path("build:v1"), desk.at())).await;
    for auth in [Auth::basic("me", "sesame"), Auth::bearer("me", "sesame")] {
        desk.registry.auth(|a| *a = auth);
        let line = format!("tree {}:v1 --username me --password-stdin", desk.at());
        let bulla = || desk.bulla().stdin(b"open-pumpkin\n");
        let text = run(bulla(), line.clone()).await;
        let json = run(bulla(), format!("{line} --format json")).await;
        explained(&line, &text, &json, (3, "registry.unauthorized"), &desk.at(), "unauthorized");
        assert!(!format!("{text:?}{json:?}").contains("open-pumpkin"));
        run(desk.bulla().stdin(b"sesame\n"), line).await.ok();
    }
    desk.refused(&format!("tree {}:v1", desk.at()), (3, "registry.unauthorized"), &desk.at(), "").await;
}

/// Blobs and manifests that are cut short, differ, or never end; and documents of other kinds.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_not_what_was_asked_for() {
    let desk = Desk::released().await;
    let at = desk.at();
    let blobs = "/v2/team/app/blobs/*";
    let manifests = "/v2/team/app/manifests/v1";
    for (i, (path, action, code, why)) in [
        (blobs, Action::Shorten(9), "blob.truncated", "36"),
        (blobs, Action::Truncate(9), "registry.interrupted", "connection broke"),
        (blobs, Action::WrongBytes, "blob.digest", "sha256:"),
        (manifests, Action::WrongBytes, "blob.digest", "sha256:"),
        (manifests, Action::Endless, "manifest.size", "limit"),
    ]
    .into_iter()
    .enumerate()
    {
        desk.registry.fault(Fault::on("GET", path).action(action));
        let stick = desk.path(&format!("stick{i}"));
        desk.refused(&format!("copy {at}:v1 oci:{stick}"), (3, code), "source: ", why).await;
        desk.registry.behave();
        let there = run(desk.bulla(), format!("tree oci:{stick}:v1")).await;
        assert_eq!(there.exit, 3, "{code}: no tag without all the rest");
    }
    for (action, code) in [(Action::WrongBytes, "bundle.digest"), (Action::Endless, "bundle.resolve")] {
        desk.registry.fault(Fault::on("GET", manifests).action(action));
        desk.judged(&format!("{at}:v1"), (3, code), "").await;
        desk.registry.behave();
    }

    // On a stick: a blob is shorter, a manifest differs.
    let stick = desk.path("stick");
    desk.ok(format!("copy {at}:v1 oci:{stick}")).await;
    let digest = desk.image.digest();
    let manifest = Path::new(&stick).join("blobs/sha256").join(digest.hex());
    let good = std::fs::read(&manifest).unwrap();
    let doc: Value = serde_json::from_slice(desk.image.bytes()).unwrap();
    let layer = doc["layers"][0]["digest"].as_str().unwrap();
    let layer = Path::new(&stick).join("blobs").join(layer.replace(':', "/"));
    let whole = std::fs::read(&layer).unwrap();
    std::fs::write(&layer, &whole[..1000]).unwrap();
    let line = format!("copy oci:{stick}:v1 {}/new/app", desk.registry.host());
    desk.refused(&line, (3, "blob.truncated"), "source: ", "1000").await;
    std::fs::write(&layer, &whole).unwrap();
    std::fs::write(&manifest, String::from_utf8(good.clone()).unwrap().replace("layers", "LAYERS")).unwrap();
    desk.refused(&line, (3, "blob.digest"), "source: ", digest.hex()).await;
    desk.ok(format!("trust add {NAME} --root {}", desk.path("1.root.json"))).await;
    desk.judged(&format!("oci:{stick}:v1 --as {NAME}"), (3, "bundle.digest"), digest.hex()).await;
    assert!(desk.registry.tags("new/app").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_over_the_cap() {
    let desk = Desk::released().await;
    let at = desk.at();
    let doc = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [],
        "annotations": {"x": "y".repeat(4 << 20)},
    });
    let bytes = bulla::oci::sorted_json(&doc);
    let digest = desk.registry.put_manifest("team/app", Some("big"), media_type::OCI_INDEX, bytes.clone());
    desk.refused(&format!("tree {at}:big"), (3, "manifest.size"), &at, "limit of 4").await;
    let copy = format!("copy {at}:big oci:{}", desk.path("stick"));
    desk.refused(&copy, (3, "manifest.size"), "source: ", "limit of 4").await;
    desk.refused(&format!("publish {at}:big"), (3, "manifest.size"), &at, "limit of 4").await;
    desk.judged(&format!("{at}:big"), (3, "bundle.resolve"), "limit of 4").await;

    let build = desk.path("build");
    let hex = digest.strip_prefix("sha256:").unwrap();
    std::fs::write(Path::new(&build).join("blobs/sha256").join(hex), &bytes).unwrap();
    let index = Path::new(&build).join("index.json");
    let mut entries: Value = serde_json::from_slice(&std::fs::read(&index).unwrap()).unwrap();
    entries["manifests"].as_array_mut().unwrap().push(json!({
        "mediaType": media_type::OCI_INDEX, "digest": digest, "size": bytes.len(),
        "annotations": {"org.opencontainers.image.ref.name": "big"},
    }));
    std::fs::write(&index, entries.to_string()).unwrap();
    desk.refused(&format!("tree oci:{build}:big"), (3, "manifest.size"), &build, "limit of 4").await;
}

/// Types that nobody has heard of are carried, vouched for and verified; what is no manifest at all is named.
#[tokio::test(flavor = "multi_thread")]
async fn unknown_media_types() {
    let desk = Desk::released().await;
    let (at, build) = (desk.at(), desk.path("build"));
    let store = OciDir::open(Path::new(&build)).await.unwrap();
    let config = bundles::blob(&store, "application/x-nobody.config", "{}").await;
    let layer = bundles::blob(&store, "application/x-nobody.layer+zip", "not a zip").await;
    let doc = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "artifactType": "application/x-nobody",
        "config": config, "layers": [layer], "x-nobody": {"deep": [1, 2, 3]},
    });
    let odd = Content::new(media_type::OCI_MANIFEST, bulla::oci::sorted_json(&doc));
    store.push_manifest(&odd, Some(&bundles::tag("odd"))).await.unwrap();
    store.flush().await.unwrap();

    desk.ok(format!("publish --from oci:{build}:odd {at} --tag odd")).await;
    let stick = desk.path("stick");
    desk.ok(format!("copy {at}:odd oci:{stick}")).await;
    desk.ok(format!("trust add {NAME} --root {}", desk.path("1.root.json"))).await;
    desk.ok(format!("verify {at}:odd")).await;
    desk.ok(format!("verify oci:{stick}:odd --as {NAME}")).await;
    let file = Path::new(&stick).join("blobs/sha256").join(odd.digest().hex());
    assert_eq!(std::fs::read(file).unwrap(), bulla::oci::sorted_json(&doc), "byte for byte");

    let signed = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    desk.registry.put_manifest("team/app", Some("old"), signed, b"{\"schemaVersion\":1}".to_vec());
    let copy = format!("copy {at}:old oci:{}", desk.path("old"));
    desk.refused(&copy, (3, "manifest.type"), "source: ", signed).await;
    desk.refused(&format!("publish {at}:old"), (2, "publish.unsupported"), &at, signed).await;
    desk.judged(&format!("{at}:old"), (1, "bundle.ambiguous"), signed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_that_are_no_layouts() {
    let desk = Desk::released().await;
    let at = desk.at();
    let make = |name: &str, files: &[(&str, &str)]| {
        let dir = desk.dir.path().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        files.iter().for_each(|(file, text)| std::fs::write(dir.join(file), text).unwrap());
        dir.to_str().unwrap().to_owned()
    };
    let version = "{\"imageLayoutVersion\": \"1.0.0\"}";
    let file = desk.path("file");
    std::fs::write(&file, "").unwrap();
    for (dir, why) in [
        (make("empty", &[]), "oci-layout"),
        (make("other", &[("readme", "hello")]), "oci-layout"),
        (
            make("future", &[("oci-layout", "{\"imageLayoutVersion\": \"2.0.0\"}"), ("index.json", "{}")]),
            "2.0.0",
        ),
        (make("headless", &[("oci-layout", version)]), "index.json"),
        (make("torn", &[("oci-layout", version), ("index.json", "{\"schemaVersion\": 2, ")]), "index.json"),
        (desk.path("nowhere"), "does not exist"),
        (file, "is a file"),
    ] {
        for line in [
            format!("tree oci:{dir}:v1"),
            format!("copy oci:{dir}:v1 {}/new/app", desk.registry.host()),
            format!("publish --from oci:{dir}:v1 {at} --tag v9"),
        ] {
            desk.refused(&line, (3, "layout.invalid"), &dir, why).await;
        }
    }
    assert!(desk.registry.tags("new/app").is_empty());
}

/// Places that nobody may write to, root included: below /proc, below a file, on a full device.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn destinations_that_cannot_be_written() {
    let desk = Desk::released().await;
    let at = desk.at();
    let file = desk.path("file");
    std::fs::write(&file, "").unwrap();
    let below = format!("{file}/stick");
    desk.registry.clear();
    for place in ["/proc/bulla", below.as_str()] {
        desk.refused(&format!("copy {at}:v1 oci:{place}"), (3, "file.unwritable"), place, "").await;
    }
    assert_eq!(
        desk.registry.count("GET", "*/blobs/*"),
        0,
        "found before anything is sent:\n{}",
        desk.registry.log()
    );
    let keys = "--root-key root --targets-key root --releases-key daily --online-key daily";
    for place in ["/proc/bulla.json", &format!("{file}/root.json")] {
        let line =
            format!("init example.com/other --at oci:{} {keys} --root-file {place}", desk.path("other"));
        desk.refused(&line, (3, "file.unwritable"), place, "").await;
        desk.refused(&format!("trust export --output {place}"), (3, "file.unwritable"), place, "").await;
    }
    desk.refused("trust export --output /dev/full", (3, "file.unwritable"), "/dev/full", "").await;
    desk.refused("man /proc/bulla", (3, "file.unwritable"), "/proc/bulla", "").await;
    let other = std::fs::read_to_string(desk.path("other/index.json")).unwrap_or_default();
    assert!(!other.contains("sha256:"), "nothing was pushed: {other}");

    // A home that cannot be written: keys, anchors and memory.
    let root = desk.path("1.root.json");
    for line in
        ["key generate k --dangerously-unencrypted".to_owned(), format!("trust add {NAME} --root {root}")]
    {
        let bulla = || Bulla::at(Path::new("/proc/bulla"));
        let text = run(bulla(), line.clone()).await;
        let json = run(bulla(), format!("{line} --format json")).await;
        explained(&line, &text, &json, (3, "file.unwritable"), "/proc/bulla", "");
    }
}

/// Command lines that mean nothing: exit 2, nothing is asked of any registry, and the message names what is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn flags_misused() {
    let desk = Desk::new().await;
    let (at, build) = (desk.at(), desk.path("build"));
    let host = desk.registry.host();
    for (line, word) in [
        ("verify".to_owned(), "<REF>"),
        ("verify alpine".into(), "alpine"),
        (format!("verify {at}"), &at),
        (format!("verify {at}:v1 --as {NAME}"), "--as"),
        (format!("verify oci:{build}:v1 --as app"), "--as"),
        (format!("verify {at}:v1 --format yaml"), "--format"),
        (format!("verify {at}:v1 --concurrency 65"), "--concurrency"),
        (format!("verify {at}:v1 --username me"), "--password-stdin"),
        (format!("verify {at}:v1 --cert c.pem"), "--key"),
        ("trust add example.com/x".into(), "--root"),
        ("trust add example.com/x --root sha256:zz".into(), "sha256:zz"),
        ("trust add example.com/x:v1 --root r.json".into(), "example.com/x:v1"),
        ("trust remove".into(), "<ID>"),
        (format!("copy {at}:v1"), "<DESTINATION>"),
        (format!("copy {at} oci:{build}"), &at),
        (format!("copy {at}:v1 oci:{build}@sha256:{}", "0".repeat(64)), "digest"),
        (format!("publish --from oci:{build}:v1 {at}:v1"), "--from"),
        (format!("publish {at}:v1 {at}:v2 --tag x"), "--tag"),
        (format!("publish {at}:v1 {host}/other:v1"), "several places"),
        (format!("publish {at}:v1 --tag -x"), "-x"),
        (format!("renew {at}:v1"), &at),
        (format!("renew {at} --role nobody"), "nobody"),
        ("init app".into(), "app"),
        ("init example.com/app:v1".into(), "example.com/app:v1"),
        (format!("init {NAME} --at {at}:v1"), &at),
        (format!("init {NAME} --expires root=30"), "--expires"),
        (format!("init {NAME} --root-key a --root-key b"), "root"),
        ("key generate ../k".into(), "../k"),
        ("frobnicate".into(), "frobnicate"),
        ("verify --frobnicate".into(), "--frobnicate"),
    ] {
        let json = run(desk.bulla(), format!("{line} --format json")).await;
        if line.contains("yaml") {
            assert_eq!(json.exit, 2, "{json:#?}");
            continue;
        }
        let document = json.json();
        let error = &document["error"];
        assert_eq!((json.exit, error["code"].as_str()), (2, Some("usage")), "{line}: {document:#}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(word), "{line}: {word:?} is not in {message:?}");
        assert!(error["next"].is_string(), "{line}: no next step: {error:#}");
        let text = run(desk.bulla(), line.clone()).await;
        assert_eq!((text.exit, text.out.as_str()), (2, ""), "{line}");
        assert!(text.err.starts_with("error: ") && text.err.contains(word), "{line}: {}", text.err);
    }
    assert_eq!(desk.registry.requests().len(), 0, "{}", desk.registry.log());
}
