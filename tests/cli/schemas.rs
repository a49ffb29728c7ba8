//! The JSON Schemas in `docs/schemas` against real proposals and lists of changes, and against what the code takes.

use std::collections::BTreeSet;
use std::path::Path;

use bulla::tuf::proposal::{Proposal, changes};
use serde_json::{Value, json};

use crate::run::Bulla;
use crate::signed::Shop;

const NAME: &str = "example.com/team/app";

fn schema(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/schemas/{name}.schema.json"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.is_u64() || value.is_i64(),
        other => panic!("type {other}"),
    }
}

/// Whether `value` fits `schema`: the keywords that these schemas use, and a panic for any other.
fn check(root: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let fail = |why: String| Err(format!("{at}: {why}"));
    for (keyword, rule) in schema.as_object().unwrap() {
        let number = || rule.as_u64().unwrap();
        let count = |n: usize| n as u64;
        let object = value.as_object();
        let fits = match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "default" | "properties" => true,
            "$ref" => {
                let target = root.pointer(rule.as_str().unwrap().strip_prefix('#').unwrap()).unwrap();
                check(root, target, value, at)?;
                true
            }
            "type" => match rule {
                Value::Array(any) => any.iter().any(|kind| is_of(kind.as_str().unwrap(), value)),
                kind => is_of(kind.as_str().unwrap(), value),
            },
            "const" => value == rule,
            "enum" => rule.as_array().unwrap().contains(value),
            "required" => object
                .is_none_or(|o| rule.as_array().unwrap().iter().all(|n| o.contains_key(n.as_str().unwrap()))),
            "minimum" => value.as_u64().is_none_or(|n| n >= number()),
            "maximum" => value.as_u64().is_none_or(|n| n <= number()),
            "minLength" => value.as_str().is_none_or(|s| count(s.chars().count()) >= number()),
            "maxLength" => value.as_str().is_none_or(|s| count(s.chars().count()) <= number()),
            "minItems" => value.as_array().is_none_or(|a| count(a.len()) >= number()),
            "maxItems" => value.as_array().is_none_or(|a| count(a.len()) <= number()),
            "minProperties" => object.is_none_or(|o| count(o.len()) >= number()),
            "maxProperties" => object.is_none_or(|o| count(o.len()) <= number()),
            "items" => {
                for (i, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(root, rule, item, &format!("{at}/{i}"))?;
                }
                true
            }
            "additionalProperties" => {
                let known = schema.get("properties").and_then(Value::as_object);
                let more =
                    object.into_iter().flatten().filter(|(n, _)| known.is_none_or(|k| !k.contains_key(*n)));
                for (name, member) in more {
                    match rule {
                        Value::Bool(false) => return fail(format!("{name} is not known")),
                        rule => check(root, rule, member, &format!("{at}/{name}"))?,
                    }
                }
                true
            }
            "oneOf" => {
                let fits =
                    rule.as_array().unwrap().iter().filter(|s| check(root, s, value, at).is_ok()).count();
                fits == 1
            }
            other => panic!("the checker does not know {other}"),
        };
        if !fits {
            return fail(format!("{keyword} {rule}"));
        }
    }
    for (name, rule) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        if let Some(member) = value.get(name) {
            check(root, rule, member, &format!("{at}/{name}"))?;
        }
    }
    Ok(())
}

fn fits(schema: &Value, value: &Value) -> Result<(), String> {
    check(schema, schema, value, "")
}

/// Whether a document fits the schema of that name.
pub(crate) fn fits_named(name: &str, value: &Value) -> Result<(), String> {
    fits(&schema(name), value)
}

/// What serde names in "expected one of …".
fn expected(error: &str) -> BTreeSet<String> {
    let (_, names) = error.split_once("expected").unwrap_or_else(|| panic!("{error}"));
    names.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn names(object: &Value) -> BTreeSet<String> {
    object.as_object().unwrap().keys().cloned().collect()
}

/// A home with a collection in a layout, and the proposals that it makes.
struct Owner(tempfile::TempDir);

impl Owner {
    fn new() -> Self {
        let owner = Self(tempfile::tempdir().unwrap());
        let root = owner.path("1.root.json");
        owner.run(&format!("init {NAME} --at {} --root-file {root}", owner.state()));
        owner.run("key generate dev");
        owner
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn state(&self) -> String {
        format!("oci:{}", self.path("state"))
    }

    fn run(&self, line: &str) -> String {
        Bulla::at(&self.0.path().join("home")).var("BULLA_PASSWORD", "p").run(line).ok()
    }

    fn key(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(&format!("home/keys/{name}.pub"))).unwrap()
    }

    fn propose(&self, flags: &str) -> Value {
        let file = self.path("p.json");
        self.run(&format!("tuf propose {} {flags} --description d --by b --output {file}", self.state()));
        serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
    }
}

#[test]
fn real_proposals_fit_their_schema_and_nothing_else_does() {
    let (schema, owner) = (schema("proposal"), Owner::new());
    std::fs::write(owner.path("policy.json"), "{}").unwrap();
    let dev = owner.path("home/keys/dev.pub");
    let file = owner.path("policy.json");
    let mut last = Value::Null;
    for flags in [
        "--resign root --expires targets=30d".to_owned(),
        format!("--delegate dev=dev-* --add-key dev={dev} --start dev"),
        format!(
            "--delegate targets/security={NAME} --add-key targets/security={dev} --demand 2=releases,targets/security"
        ),
        format!("--file targets={NAME}/policy.json={file}"),
    ] {
        let proposal = owner.propose(&flags);
        assert_eq!(fits(&schema, &proposal), Ok(()), "{flags}");
        last = proposal;
    }
    assert!(last["files"].is_object() && last["published"]["metadata"].is_object());
    owner.run(&format!("tuf approve {} --yes", owner.path("p.json")));
    let signed: Value = serde_json::from_slice(&std::fs::read(owner.path("p.json")).unwrap()).unwrap();
    assert_eq!(signed["drafts"]["targets"]["signatures"].as_array().map(Vec::len), Some(1));
    assert_eq!(fits(&schema, &signed), Ok(()));

    // The code's members are the schema's, and so is what must be there.
    let parse = |v: &Value| {
        Proposal::parse(v.to_string().as_bytes()).map(|_| ()).map_err(|e| {
            format!("{e}{}", std::error::Error::source(&e).map(|s| format!(": {s}")).unwrap_or_default())
        })
    };
    assert_eq!(parse(&signed), Ok(()));
    let places = [
        ("", "/properties"),
        ("/base/root", "/properties/base/additionalProperties/properties"),
        ("/drafts/targets", "/properties/drafts/additionalProperties/properties"),
        (
            "/drafts/targets/signatures/0",
            "/properties/drafts/additionalProperties/properties/signatures/items/properties",
        ),
        ("/published", "/properties/published/properties"),
    ];
    for (place, properties) in places {
        let mut more = signed.clone();
        more.pointer_mut(place).unwrap()["zz"] = json!(1);
        let said = parse(&more).unwrap_err();
        assert_eq!(expected(&said), names(schema.pointer(properties).unwrap()), "{place}: {said}");
        assert!(fits(&schema, &more).is_err(), "{place}");
        for name in names(schema.pointer(properties).unwrap()) {
            let mut less = signed.clone();
            less.pointer_mut(place).unwrap().as_object_mut().unwrap().remove(&name);
            assert_eq!(parse(&less).is_ok(), fits(&schema, &less).is_ok(), "{place} without {name}");
        }
    }
}

#[test]
fn lists_of_changes_fit_their_schema_and_the_code_takes_what_it_says() {
    let (schema, owner) = (schema("changes"), Owner::new());
    let collection = NAME.parse().unwrap();
    let variants = schema["properties"]["changes"]["items"]["oneOf"].as_array().unwrap();
    let list = |change: &Value| json!({"schemaVersion": 1, "collection": NAME, "changes": [change]});
    let at = bulla::time::UnixTime::from_secs(1_800_000_000);
    let read = |v: &Value| changes(v.to_string().as_bytes(), &collection, at).map_err(|e| e.to_string());
    let said = read(&list(&json!({"change": "zz"}))).unwrap_err();
    let kinds: BTreeSet<String> =
        variants.iter().map(|v| v["properties"]["change"]["const"].as_str().unwrap().to_owned()).collect();
    assert_eq!(expected(&said), kinds);
    let sample = |name: &str| match name {
        "role" | "before" => json!("targets/releases/dev"),
        "by" => json!("targets/releases"),
        "key" => json!(owner.key("dev")),
        "keys" => json!([owner.key("dev")]),
        "keyId" => json!("ab".repeat(32)),
        "threshold" | "min" => json!(1),
        "lifetime" => json!(3_600),
        "paths" => json!(["dev-*"]),
        "terminating" | "mayDelegate" => json!(true),
        "place" => json!({"before": "targets/releases/dev"}),
        "vetting" => json!({"identity": "A", "request": "ab", "vettedBy": "B", "note": "n"}),
        "roles" => json!(["targets/releases"]),
        "path" => json!("p"),
        "target" => json!({"length": 1, "hashes": {"sha256": "00"}}),
        "base64" => json!("aGk="),
        "custom" => json!({"a": 1}),
        other => panic!("no sample of {other}"),
    };
    for variant in variants {
        let kind = &variant["properties"]["change"]["const"];
        let mut whole = json!({"change": kind});
        for name in names(&variant["properties"]).into_iter().filter(|n| n != "change") {
            whole[&name] = sample(&name);
        }
        assert_eq!(fits(&schema, &list(&whole)), Ok(()), "{whole}");
        assert!(read(&list(&whole)).is_ok(), "{whole}: {:?}", read(&list(&whole)));
        let mut more = whole.clone();
        more["zz"] = json!(1);
        let said = read(&list(&more)).unwrap_err();
        let known: BTreeSet<String> =
            names(&variant["properties"]).into_iter().filter(|n| n != "change").collect();
        assert!(known.is_empty() || expected(&said) == known, "{kind}: {said}");
        assert!(fits(&schema, &list(&more)).is_err());
        for name in names(&whole) {
            let mut less = whole.clone();
            less.as_object_mut().unwrap().remove(&name);
            assert_eq!(
                read(&list(&less)).is_ok(),
                fits(&schema, &list(&less)).is_ok(),
                "{kind} without {name}"
            );
        }
    }

    // One that is used: a team, its order, and what is demanded.
    let team = json!({"schemaVersion": 1, "collection": NAME, "changes": [
        {"change": "delegate", "by": "targets/releases", "role": "targets/releases/dev", "keys": [owner.key("dev")], "paths": ["dev-*"]},
        {"change": "start", "role": "targets/releases/dev"},
        {"change": "resign", "role": "targets", "lifetime": 2_592_000},
    ]});
    assert_eq!(fits(&schema, &team), Ok(()));
    let file = owner.path("changes.json");
    std::fs::write(&file, team.to_string()).unwrap();
    let proposal = owner.propose(&format!("--from-file {file} --order releases=dev"));
    assert_eq!(
        names(&proposal["drafts"]),
        ["targets", "targets/releases", "targets/releases/dev"].map(String::from).into()
    );
    std::fs::write(&file, team.to_string().replace(NAME, "example.com/other")).unwrap();
    let line = format!("tuf propose {} --from-file {file} --description d --format json", owner.state());
    let refused = Bulla::at(&owner.0.path().join("home")).var("BULLA_PASSWORD", "p").run(&line);
    assert_eq!(refused.exit, 2, "{refused:#?}");
}

/// Every kind of verdict, with each member of the reports named in the schema. That every other report of these tests fits it too,
/// `Ran::json` sees to.
#[tokio::test(flavor = "multi_thread")]
async fn every_verdict_fits_its_schema() {
    let shop = Shop::new().await;
    let at = shop.at();
    shop.key("builder", "p256").await;
    shop.sign("builder", &format!("{at}:v1"), "--format sigstore").await.ok();
    let anchor = || shop.key_anchor("builder", &at, "builder");
    let trust = |who: &str, more: Value| {
        let mut document = json!({"anchors": [anchor()]});
        document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        shop.trust(who, &document);
    };
    trust("plain", json!({}));
    let off = json!({"scope": at, "checks": {"signature": false}, "reason": "not yet"});
    trust("off", json!({"statements": [off]}));
    trust("two", json!({"statements": [{"scope": at, "require": {"tuf": true}}]}));
    shop.trust("nobody", &json!({}));
    shop.trust("broken", &json!({"anchors": [{}]}));
    let schema = schema("verify");
    let mut verdicts = BTreeSet::new();
    for (who, reference) in [
        ("plain", format!("{at}:v1")),
        ("plain", format!("{at}:v2")),
        ("plain", format!("{at}:v9")),
        ("plain", format!("{at}:v1 {}:v1", shop.layout("not-there"))),
        ("broken", format!("{at}:v1")),
        ("off", format!("{at}:v1")),
        ("two", format!("{at}:v1")),
        ("nobody", format!("{at}:v1")),
    ] {
        let document = shop.by(who, format!("verify {reference} --format json")).await.json();
        assert_eq!(fits(&schema, &document), Ok(()));
        if document["result"].is_null() {
            verdicts.insert("error".to_owned());
        }
        for report in document["result"]["bundles"].as_array().into_iter().flatten() {
            verdicts.insert(report["verdict"].as_str().unwrap().to_owned());
            if report["verdict"] == "failed" {
                continue;
            }
            for (of, value) in [
                ("report", report),
                ("requirement", &report["requirements"][0]),
                ("check", &report["signatures"][0]),
                ("check", &report["because"]),
            ] {
                let known = names(&schema["$defs"][of]["properties"]);
                let unknown: Vec<_> = value
                    .as_object()
                    .into_iter()
                    .flatten()
                    .map(|(n, _)| n)
                    .filter(|n| !known.contains(*n))
                    .collect();
                assert!(unknown.is_empty(), "the schema of {of} lacks {unknown:?}");
            }
        }
    }
    let all = ["error", "failed", "not-checked", "not-trusted", "trusted", "undecided"];
    assert_eq!(verdicts, all.map(str::to_owned).into());
    // It refuses what is not said.
    let good = shop.by("plain", format!("verify {at}:v1 --format json")).await.json();
    for (pointer, with) in [
        ("/schemaVersion", json!(2)),
        ("/exitCode", json!(9)),
        ("/result/bundles/0/verdict", json!("perhaps")),
        ("/result/bundles/0/size", json!("1")),
        ("/result/bundles/0/signatures/0/outcome", json!("odd")),
        ("/result/bundles/0/requirements/0/threshold", json!(0)),
    ] {
        let mut other = good.clone();
        *other.pointer_mut(pointer).unwrap() = with;
        assert!(fits(&schema, &other).is_err(), "{pointer}");
    }
}
