use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::oci::{Content, Descriptor, Digest, Manifest, media_type};
use crate::trust::report::Outcome;

const CONFIG: &str = "application/vnd.cnab.config.v1+json";

/// A CNAB bundle of one invocation image and two components, each part of which can be changed.
pub(crate) struct Sample {
    /// `bundle.json`.
    pub(crate) bundle: Value,
    /// Entries of the index beside the config.
    pub(crate) entries: Vec<Value>,
    pub(crate) config_type: &'static str,
    /// Layers of the config manifest; the config itself where it says "config".
    pub(crate) layers: Value,
    pub(crate) images: Vec<Content>,
}

/// The same as bytes.
pub(crate) struct Built {
    pub(crate) index: Content,
    pub(crate) config: Content,
    pub(crate) bundle_json: Content,
}

pub(crate) fn image(text: &str) -> Content {
    let doc = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "layers": [], "annotations": {"text": text},
        "config": Descriptor::of("application/vnd.oci.image.config.v1+json", b"{}"),
    });
    Content::new(media_type::OCI_MANIFEST, serde_json::to_vec(&doc).unwrap())
}

fn entry(image: &Content, kind: &str, name: Option<&str>) -> Value {
    let mut d = json!(image.descriptor());
    d["annotations"] = json!({MANIFEST_TYPE: kind});
    if let Some(name) = name {
        d["annotations"][COMPONENT_NAME] = name.into();
    }
    d
}

impl Sample {
    pub(crate) fn new() -> Self {
        let [inv, web, db] = ["inv", "web", "db"].map(image);
        let named = |image: &Content, name: &str| {
            json!({
                "image": format!("example.com/{name}:1"), "contentDigest": image.digest(), "size": 1, "imageType": "oci",
                "mediaType": image.media_type(),
            })
        };
        Self {
            bundle: json!({
                "schemaVersion": "v1.0.0", "name": "app", "version": "1.2.3", "custom": {"weight": 0.5},
                "invocationImages": [named(&inv, "inv")],
                "images": {"db": named(&db, "db"), "web": named(&web, "web")},
            }),
            entries: vec![
                entry(&inv, "invocation", None),
                entry(&db, "component", Some("db")),
                entry(&web, "component", Some("web")),
            ],
            config_type: CONFIG,
            layers: Value::Null,
            images: vec![inv, web, db],
        }
    }

    pub(crate) fn build(&self) -> Built {
        let bundle_json = Content::new(self.config_type, serde_json::to_vec(&self.bundle).unwrap());
        let layers = match self.layers.as_str() {
            Some(_) => json!([bundle_json.descriptor()]),
            None => self.layers.clone(),
        };
        // Without mediaType, as older tools wrote it.
        let config = json!({"schemaVersion": 2, "config": bundle_json.descriptor(), "layers": layers});
        let config = Content::new(media_type::OCI_MANIFEST, serde_json::to_vec(&config).unwrap());
        let entries: Vec<Value> =
            [entry(&config, "config", None)].into_iter().chain(self.entries.clone()).collect();
        let index = json!({
            "schemaVersion": 2, "manifests": entries, "annotations": {"io.cnab.runtime_version": "v1.0.0"},
        });
        let index = Content::new(media_type::OCI_INDEX, serde_json::to_vec(&index).unwrap());
        Built { index, config, bundle_json }
    }

    fn report(&self) -> CnabReport {
        let built = self.build();
        look(&index_of(&built.index), Some(&built.answer()))
    }

    fn codes(&self) -> Vec<&'static str> {
        failed(&self.report())
    }
}

impl Built {
    pub(crate) fn answer(&self) -> CnabAnswer {
        let (config, bundle_json) = (self.config.clone(), self.bundle_json.clone());
        CnabAnswer::Read { config, bundle_json, absent: Vec::new() }
    }
}

fn index_of(index: &Content) -> Result<CnabIndex, CnabIndexError> {
    CnabIndex::of(&Manifest::parse(index).unwrap()).map(Option::unwrap)
}

fn failed(report: &CnabReport) -> Vec<&'static str> {
    report.checks.iter().filter(|c| c.is_fail()).map(|c| c.code.as_str()).collect()
}

#[test]
fn a_whole_bundle_passes_in_every_form_that_tools_write() {
    for config_type in [
        "application/vnd.cnab.bundle.config.v1+json",
        CONFIG,
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.docker.container.image.v1+json",
    ] {
        for layers in [Value::Null, json!([]), json!("config")] {
            let sample = Sample { config_type, layers: layers.clone(), ..Sample::new() };
            let report = sample.report();
            assert_eq!(failed(&report), Vec::<&str>::new(), "{config_type} {layers}");
            assert_eq!(report.name, Some(("app".into(), "1.2.3".into())));
            let names: Vec<&str> = report.images.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, ["invocationImages[0]", "db", "web"]);
            assert_eq!(report.checks[0].outcome, Outcome::Pass);
        }
    }
    // More than one invocation image, in any order; and one image under two names.
    let mut many = Sample::new();
    let (second, first) = (image("second"), many.bundle["invocationImages"][0].clone());
    many.bundle["invocationImages"] = json!([
        {"image": "x", "contentDigest": second.digest()}, first
    ]);
    many.bundle["images"]["again"] = many.bundle["images"]["web"].clone();
    many.entries.push(entry(&second, "invocation", None));
    many.entries.push(entry(&image("web"), "component", Some("again")));
    assert_eq!(many.codes(), Vec::<&str>::new());
    let built = many.build();
    assert_eq!(index_of(&built.index).unwrap().images().len(), 4);
}

#[test]
fn every_difference_between_index_and_bundle_json_is_found() {
    type Change = fn(&mut Sample);
    let swap: Change = |s| s.entries[2] = entry(&image("evil"), "component", Some("web"));
    let cases: [(&str, Change, &[&str]); 12] = [
        ("a component swapped", swap, &["cnab.image.digest"]),
        (
            "two components swapped",
            |s| {
                let (db, web) = (image("db"), image("web"));
                s.entries[1] = entry(&web, "component", Some("db"));
                s.entries[2] = entry(&db, "component", Some("web"));
            },
            &["cnab.image.digest", "cnab.image.digest"],
        ),
        (
            "contentDigest of another image",
            |s| {
                let other = s.bundle["images"]["web"]["contentDigest"].clone();
                s.bundle["images"]["db"]["contentDigest"] = other;
            },
            &["cnab.image.digest"],
        ),
        (
            "an image that bundle.json does not name",
            |s| s.entries.push(entry(&image("evil"), "component", Some("evil"))),
            &["cnab.image.extra"],
        ),
        (
            "a second invocation image",
            |s| s.entries.push(entry(&image("evil"), "invocation", None)),
            &["cnab.image.extra"],
        ),
        ("the same invocation image twice", |s| s.entries.push(s.entries[0].clone()), &["cnab.image.extra"]),
        ("a component left out", |s| drop(s.entries.pop()), &["cnab.image.missing"]),
        (
            "one entry for two invocation images",
            |s| {
                let first = s.bundle["invocationImages"][0].clone();
                s.bundle["invocationImages"].as_array_mut().unwrap().push(first);
            },
            &["cnab.image.missing"],
        ),
        (
            "the invocation image swapped",
            |s| s.entries[0] = entry(&image("evil"), "invocation", None),
            &["cnab.image.digest"],
        ),
        (
            "a component renamed",
            |s| s.entries[2]["annotations"][COMPONENT_NAME] = "Web".into(),
            &["cnab.image.missing", "cnab.image.extra"],
        ),
        (
            "a component as an invocation image",
            |s| s.entries[2] = entry(&image("web"), "invocation", None),
            &["cnab.image.extra", "cnab.image.missing"],
        ),
        (
            "another media type",
            |s| s.bundle["images"]["web"]["mediaType"] = media_type::OCI_INDEX.into(),
            &["cnab.image.type"],
        ),
    ];
    for (what, change, codes) in cases {
        let mut sample = Sample::new();
        change(&mut sample);
        assert_eq!(sample.codes(), codes, "{what}");
    }
}

#[test]
fn what_is_no_cnab_index_is_told_apart() {
    let plain = json!({"schemaVersion": 2, "manifests": [json!(image("a").descriptor())]});
    let parse = |doc: &Value| {
        Manifest::parse(&Content::new(media_type::OCI_INDEX, serde_json::to_vec(doc).unwrap())).unwrap()
    };
    assert_eq!(CnabIndex::of(&parse(&plain)), Ok(None));
    assert_eq!(CnabIndex::of(&Manifest::parse(&image("a")).unwrap()), Ok(None));
    let mut says = plain.clone();
    says["annotations"] = json!({"org.opencontainers.artifactType": "application/vnd.cnab.manifest.v1"});
    assert!(matches!(CnabIndex::of(&parse(&says)), Err(CnabIndexError::Untyped(_))));
    type Change = fn(&mut Sample);
    let cases: [(Change, &str); 8] = [
        (|s| s.entries.push(json!(image("x").descriptor())), "does not say what part"),
        (|s| s.entries.push(entry(&image("x"), "sbom", None)), "of the type \"sbom\""),
        (|s| s.entries.push(entry(&image("x"), "config", None)), "2 entries of the type config"),
        (|s| drop(s.entries.remove(0)), "0 entries of the type invocation"),
        (|s| s.entries.push(entry(&image("x"), "component", None)), "has no name"),
        (|s| s.entries.push(entry(&image("x"), "component", Some("a\nb"))), "has no name"),
        (|s| s.entries.push(entry(&image("x"), "component", Some("web"))), "named \"web\""),
        (|s| s.entries[0]["mediaType"] = "application/octet-stream".into(), "no manifest"),
    ];
    for (change, why) in cases {
        let mut sample = Sample::new();
        change(&mut sample);
        let report = look(&index_of(&sample.build().index), None);
        assert_eq!(failed(&report), ["cnab.index"], "{why}");
        assert!(report.checks[0].detail.contains(why), "{why}: {}", report.checks[0].detail);
    }
    let mut many = Sample::new();
    let more = |i: usize| entry(&image("x"), "component", Some(&i.to_string()));
    many.entries.extend((0..MAX_IMAGES).map(more));
    assert!(matches!(index_of(&many.build().index), Err(CnabIndexError::TooMany(_))));
}

#[test]
fn only_the_config_manifest_of_the_index_counts_and_only_its_bundle_json() {
    let (good, evil) = (Sample::new().build(), Sample { layers: json!([]), ..Sample::new() }.build());
    let index = index_of(&good.index);
    let says = |answer: CnabAnswer| failed(&look(&index, Some(&answer)));
    let read = |config: &Content, bundle_json: &Content, absent: Vec<Digest>| CnabAnswer::Read {
        config: config.clone(),
        bundle_json: bundle_json.clone(),
        absent,
    };
    assert_eq!(says(read(&evil.config, &good.bundle_json, vec![])), ["cnab.config"]);
    let retyped = Content::new(media_type::DOCKER_MANIFEST, good.config.bytes().clone());
    assert_eq!(says(read(&retyped, &good.bundle_json, vec![])), ["cnab.config"]);
    let other = Content::new(CONFIG, b"{}".to_vec());
    assert_eq!(says(read(&good.config, &other, vec![])), ["cnab.bundle-json"]);
    let absent = vec![image("web").digest().clone()];
    assert_eq!(says(read(&good.config, &good.bundle_json, absent)), ["cnab.image.absent"]);
    assert_eq!(says(CnabAnswer::Unreadable("503".into())), ["cnab.unreadable"]);
    for layers in [json!([image("x").descriptor()]), json!("config")] {
        let sample = Sample { layers: layers.clone(), config_type: "application/json", ..Sample::new() };
        assert_eq!(sample.codes(), ["cnab.config"], "{layers}");
    }
    let sample = Sample { layers: json!([image("x").descriptor()]), ..Sample::new() };
    assert_eq!(sample.codes(), ["cnab.config"]);
}

#[test]
fn what_is_no_bundle_json_is_refused() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 15] = [
        (|b| b["invocationImages"] = json!([]), "there is none"),
        (|b| b["invocationImages"] = json!(null), "there is none"),
        (|b| b["invocationImages"] = json!({}), "no list"),
        (|b| b["images"] = json!([]), "no object"),
        (|b| b["images"]["web"] = json!("x"), "no object"),
        (|b| b["images"]["web"]["contentDigest"] = json!("sha256:00"), "no digest"),
        (|b| b["images"]["web"]["contentDigest"] = json!(""), "no digest"),
        (|b| drop(b["images"]["web"].as_object_mut().unwrap().remove("contentDigest")), "missing"),
        (|b| b["name"] = json!(7), "no text"),
        (|b| b["Images"] = json!({}), "\"Images\""),
        (|b| b["image\u{17f}"] = json!({}), "another one"),
        (|b| b["images"]["web"]["contentdigest"] = json!("x"), "\"contentdigest\""),
        (|b| b["invocationImages"][0]["image"] = json!("x".repeat(2000)), "too long"),
        (|b| b["images"][""] = b["images"]["web"].clone(), "no name"),
        (|b| b["version"] = json!(null), "missing"),
    ];
    for (change, why) in cases {
        let mut bundle = Sample::new().bundle;
        change(&mut bundle);
        let error = BundleJson::parse(&serde_json::to_vec(&bundle).unwrap()).unwrap_err().to_string();
        assert!(error.contains(why), "{why}: {error}");
    }
    let mut later = Sample::new();
    later.bundle["schemaVersion"] = "v2.0.0".into();
    assert_eq!(later.codes(), ["cnab.unreadable"]);
    later.bundle["schemaVersion"] = "1.0.0".into();
    assert_eq!(later.codes(), Vec::<&str>::new());
    let twice = br#"{"images":{"a":1},"images":{}}"#;
    assert!(matches!(BundleJson::parse(twice), Err(BundleJsonError::Json(_))));
    let large = vec![b' '; MAX_BUNDLE_JSON as usize + 1];
    assert!(matches!(BundleJson::parse(&large), Err(BundleJsonError::TooLarge(_))));
}

fn map(change: impl Fn(&mut Value)) -> Vec<String> {
    let sample = Sample::new();
    let at = |name: &str| format!("mirror.example/app@{}", image(name).digest());
    let mut map = json!({
        "example.com/inv:1": at("inv"), "example.com/web:1": at("web"), "example.com/db:1": at("db"),
    });
    change(&mut map);
    let bundle = BundleJson::parse(sample.build().bundle_json.bytes()).unwrap();
    let map = RelocationMap::parse(&serde_json::to_vec(&map).unwrap()).unwrap();
    let repository = "mirror.example/app".parse().unwrap();
    map.misplaced(&bundle, Some(&repository)).iter().map(ToString::to_string).collect()
}

#[test]
fn a_relocation_map_that_lies_is_found_out() {
    assert_eq!(map(|_| {}), Vec::<String>::new());
    let evil = format!("mirror.example/app@{}", image("evil").digest());
    let other = format!("evil.example/app@{}", image("web").digest());
    type Change<'a> = &'a dyn Fn(&mut Value);
    let cases: [(Change<'_>, &str); 6] = [
        (&|m| m["example.com/web:1"] = evil.clone().into(), "contentDigest is"),
        (&|m| m["example.com/web:1"] = other.clone().into(), "not the bundle's repository"),
        (&|m| m["example.com/web:1"] = "mirror.example/app:v1".into(), "names no digest"),
        (&|m| drop(m.as_object_mut().unwrap().remove("example.com/web:1")), "does not map"),
        (&|m| m["example.com/other:1"] = evil.clone().into(), "does not name"),
        (
            &|m| m["example.com/web:1"] = format!("oci:dir@{}", image("web").digest()).into(),
            "not the bundle's",
        ),
    ];
    for (change, why) in cases {
        let found = map(change);
        assert!(found.len() == 1 && found[0].contains(why), "{why}: {found:?}");
    }
    for bad in ["[]", "{\"a\":1}", "{\"a\":\"\"}", "{\"a\":\"b\",\"a\":\"b\"}", ""] {
        assert!(RelocationMap::parse(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn files_of_the_caller_must_belong_to_it() {
    let built = Sample::new().build();
    let (index, answer) = (index_of(&built.index), built.answer());
    let thin = |bytes: &[u8]| {
        let files = CnabFiles { thin: Some(bytes.to_vec().into()), ..CnabFiles::default() };
        let (report, whole) = judge(&index, Some(&answer), &files, "mirror.example/app:v1");
        assert_eq!(whole.is_some(), report.verdict().is_none());
        failed(&report)
    };
    assert_eq!(thin(built.bundle_json.bytes()), Vec::<&str>::new());
    let mut spaced = built.bundle_json.bytes().to_vec();
    spaced.push(b'\n');
    assert_eq!(thin(&spaced), ["cnab.thin"]);
}

#[test]
fn levels_are_never_stated_too_high() {
    let level = |bundle_signed, images_signed, bundle, images| {
        let provenance = Provenance { bundle, images };
        CnabLevel::of(Reached { bundle_signed, images_signed, provenance }).as_str()
    };
    assert_eq!(
        [(false, false), (false, true), (true, false), (true, true)].map(|(b, i)| level(b, i, false, false)),
        ["0", "1a", "1b", "2"]
    );
    assert_eq!(
        [(false, true), (true, false), (true, true)].map(|(b, i)| level(true, true, b, i)),
        ["3a", "3b", "4"]
    );
    // Provenance of what is not signed counts for nothing.
    for (bundle, images, is) in [(true, false, "1b"), (false, true, "1a"), (false, false, "0")] {
        assert_eq!(level(bundle, images, true, true), is);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        let _ = (BundleJson::parse(&bytes), RelocationMap::parse(&bytes));
        for kind in [media_type::OCI_INDEX, media_type::OCI_MANIFEST] {
            if let Ok(manifest) = Manifest::parse(&Content::new(kind, bytes.clone())) {
                let _ = (CnabIndex::of(&manifest), bundle_json_of(&manifest));
            }
        }
    }

    #[test]
    fn a_changed_bundle_json_never_passes(at: prop::sample::Index, with: u8) {
        let built = Sample::new().build();
        let mut bytes = built.bundle_json.bytes().to_vec();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != with);
        bytes[at] = with;
        let _ = BundleJson::parse(&bytes);
        let bundle_json = Content::new(CONFIG, bytes);
        let answer = CnabAnswer::Read { config: built.config.clone(), bundle_json, absent: vec![] };
        let report = look(&index_of(&built.index), Some(&answer));
        prop_assert_eq!(failed(&report), ["cnab.bundle-json"]);
    }

    /// Whatever is named and whatever is listed: without a difference both are the same, and with any difference they are not.
    #[test]
    fn one_to_one_in_both_directions(
        named in prop::collection::btree_map("[a-c]", 0u8..3, 0..4),
        listed in prop::collection::btree_map("[a-c]", 0u8..3, 0..4),
        invoked in prop::collection::vec(0u8..3, 1..4),
        entered in prop::collection::vec(0u8..3, 1..4),
    ) {
        let digest = |n: &u8| image(&n.to_string());
        let mut sample = Sample::new();
        let named_images = named.iter().map(|(name, n)| {
            (name.clone(), json!({"image": name, "contentDigest": digest(n).digest()}))
        });
        sample.bundle["images"] = Value::Object(named_images.collect());
        let invocations = invoked.iter().map(|n| json!({"image": "i", "contentDigest": digest(n).digest()}));
        sample.bundle["invocationImages"] = invocations.collect();
        sample.entries = entered.iter().map(|n| entry(&digest(n), "invocation", None)).collect();
        sample.entries.extend(listed.iter().map(|(name, n)| entry(&digest(n), "component", Some(name))));
        let (mut a, mut b) = (invoked.clone(), entered.clone());
        a.sort_unstable();
        b.sort_unstable();
        prop_assert_eq!(sample.codes().is_empty(), named == listed && a == b);
    }
}
