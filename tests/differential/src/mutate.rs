//! Mutations of good repositories: of what is signed, of the signatures, and of the bytes that are served.

use bulla::oci::Digest;
use serde_json::{Value, json};

use crate::world::{Changes, KEYS, NOW, PATHS, Rng, World, id, public, time};

/// Random changes to one file of `world`. The answer names them.
pub fn mutate(world: &World, changes: &mut Changes, rng: &mut Rng) -> String {
    let mut files: Vec<String> = (1..=world.roots.len()).map(|i| format!("{i}.root.json")).collect();
    // The first root is what the clients trust; it is never served.
    files.remove(0);
    files.extend(world.roles.keys().cloned());
    files.extend(["snapshot", "snapshot", "timestamp", "timestamp", "targets", "targets"].map(str::to_owned));
    let file = rng.pick(&files).clone();
    let seed = rng.next();
    let what = match rng.below(10) {
        0..=4 => {
            changes
                .signed
                .entry(file.clone())
                .or_default()
                .push(Box::new(move |v| signed(v, &mut Rng::new(seed))));
            "signed"
        }
        5..=7 => {
            changes
                .envelope
                .entry(file.clone())
                .or_default()
                .push(Box::new(move |v| envelope(v, &mut Rng::new(seed))));
            "envelope"
        }
        _ => {
            changes
                .bytes
                .entry(file.clone())
                .or_default()
                .push(Box::new(move |b| bytes(b, &mut Rng::new(seed))));
            "bytes"
        }
    };
    format!("{what} of {file} #{seed}")
}

/// One change to what is signed; it will be signed and pinned as if its owner had made it.
fn signed(value: &mut Value, rng: &mut Rng) {
    match rng.below(16) {
        0 => value["expires"] = json!(time(NOW - 1 + rng.below(3) as i64)),
        1 => {
            let v = value["version"].as_u64().unwrap_or(1);
            value["version"] = rng
                .pick(&[
                    json!(0),
                    json!(v + 1),
                    json!(v.saturating_sub(1)),
                    json!(1u64 << 53),
                    json!(-1),
                    json!("1"),
                ])
                .clone();
        }
        2 => each_role(value, rng, |role, rng| role["threshold"] = json!(rng.pick(&[0, 1, 2, 3, 9]))),
        3 => each_role(value, rng, |role, rng| {
            let ids = role["keyids"].as_array_mut().unwrap();
            match rng.below(4) {
                0 => drop(ids.pop()),
                1 => ids.extend(ids.clone()),
                2 => ids.push(json!("nowhere")),
                _ => ids.push(json!(id(rng.below(KEYS)))),
            }
        }),
        4 => alias(value, rng),
        5 => keys(value, rng),
        6 | 7 => delegation(value, rng),
        8 => pins(value, rng),
        9 => value["unknown"] = json!({"é\n\"": [1, null, true, {"deep": "\u{1}"}]}),
        10 => value["_type"] = json!(rng.pick(&["root", "targets", "Timestamp", ""])),
        11 => value["spec_version"] = json!(rng.pick(&["1.0.0", "1", "2.0", "1.99.99", "", "one"])),
        _ => anywhere(value, rng, 0),
    }
}

fn each_role(value: &mut Value, rng: &mut Rng, change: impl Fn(&mut Value, &mut Rng)) {
    let mut roles: Vec<&mut Value> = if value["roles"].is_object() {
        value["roles"].as_object_mut().unwrap().values_mut().collect()
    } else if value["delegations"]["roles"].is_array() {
        value["delegations"]["roles"].as_array_mut().unwrap().iter_mut().collect()
    } else {
        return;
    };
    let i = rng.below(roles.len().max(1));
    if let Some(role) = roles.get_mut(i).filter(|r| r["keyids"].is_array()) {
        change(role, rng);
    }
}

/// The same key once more under another id, which counts for the threshold.
fn alias(value: &mut Value, rng: &mut Rng) {
    let holder = if value["keys"].is_object() { &mut *value } else { &mut value["delegations"] };
    let Some(first) = holder["keys"].as_object().and_then(|k| k.values().next().cloned()) else { return };
    holder["keys"]["alias"] = first;
    each_role(value, rng, |role, _| {
        role["keyids"].as_array_mut().unwrap().push(json!("alias"));
        role["threshold"] = json!(role["keyids"].as_array().unwrap().len());
    });
}

fn keys(value: &mut Value, rng: &mut Rng) {
    let holder =
        if value["keys"].is_object() { &mut value["keys"] } else { &mut value["delegations"]["keys"] };
    let Some(key) = holder.as_object_mut().and_then(|k| k.values_mut().next()) else { return };
    match rng.below(7) {
        0 => key["scheme"] = json!("unheard-of"),
        1 => key["keytype"] = json!("unheard-of"),
        2 => key["keyid_hash_algorithms"] = json!(["md5"]),
        3 => key["keyval"]["public"] = json!(public(rng.below(KEYS)).to_tuf()["keyval"]["public"]),
        4 => key["keyval"]["public"] = json!("00"),
        5 => {
            key["keyval"]["public"] =
                json!(key["keyval"]["public"].as_str().unwrap_or_default().to_uppercase())
        }
        _ => key["keyval"] = json!({}),
    }
}

fn delegation(value: &mut Value, rng: &mut Rng) {
    let Some(roles) = value["delegations"]["roles"].as_array_mut().filter(|r| !r.is_empty()) else { return };
    let i = rng.below(roles.len());
    let role = &mut roles[i];
    match rng.below(16) {
        0 => role["name"] = json!(rng.pick(&["root", "timestamp", "snapshot", "targets"])),
        1 => roles.push(roles[i].clone()),
        2 => role["terminating"] = json!(!role["terminating"].as_bool().unwrap_or(false)),
        3 => drop(role.as_object_mut().unwrap().remove("terminating")),
        4 => role["paths"] = json!([rng.pick(&["[ab]/*", "a/[", "***", "", "\\*", "a/**", "?/?", "**/x"])]),
        5 => role["path_hash_prefixes"] = json!([rng.pick(&["", "0", "F", "zz", "0123456789abcdef"])]),
        6 => {
            let role = role.as_object_mut().unwrap();
            role.remove("paths");
            role.remove("path_hash_prefixes");
        }
        7 => roles.reverse(),
        8 => drop(roles.remove(i)),
        9 => role["paths"] = json!(["*", "*/*"]),
        10 => role["paths"] = json!(["nothing"]),
        // Prefixes instead of patterns, of one path that is looked for or of all.
        11 => {
            let path = *rng.pick(&PATHS);
            let hash = Digest::sha256(path.as_bytes()).hex().to_owned();
            let length = rng.below(hash.len() + 1);
            role.as_object_mut().unwrap().remove("paths");
            role["path_hash_prefixes"] = json!([hash[..length]]);
        }
        // One more must sign, of one more.
        12 => {
            let more = rng.below(KEYS);
            role["threshold"] = json!(role["threshold"].as_u64().unwrap_or(1) + 1);
            if let Some(ids) = role["keyids"].as_array_mut() {
                ids.push(json!(id(more)));
            }
            value["delegations"]["keys"][id(more)] = public(more).to_tuf();
        }
        // A role that somebody else delegates to as well, for everything.
        13 => {
            let mut other = role.clone();
            other["name"] = json!(rng.pick(&["A", "B", "C", "role/D", "E"]));
            other["paths"] = json!(["*", "*/*", "*/*/*"]);
            drop(other.as_object_mut().unwrap().remove("path_hash_prefixes"));
            roles.insert(0, other);
        }
        14 => roles.iter_mut().for_each(|r| r["terminating"] = json!(true)),
        _ => role["name"] = json!(rng.pick(&["../x", "a b", "A", "B", ".", "x\n"])),
    }
}

fn pins(value: &mut Value, rng: &mut Rng) {
    let Some(meta) = value["meta"].as_object_mut().filter(|m| !m.is_empty()) else { return };
    let names: Vec<String> = meta.keys().cloned().collect();
    let name = rng.pick(&names).clone();
    let pin = &mut meta[&name];
    match rng.below(10) {
        0 => pin["length"] = json!(rng.below(5000)),
        1 => pin["hashes"] = json!({"sha256": "00".repeat(32)}),
        2 => pin["hashes"] = json!({"md5": "00"}),
        3 => pin["hashes"] = json!({}),
        4 => pin["hashes"]["blake3"] = json!("00"),
        5 => pin["version"] = json!(pin["version"].as_u64().unwrap_or(1) + 1),
        6 => drop(meta.remove(&name)),
        7 => drop(meta.insert("other.json".into(), json!({"version": 1}))),
        8 => drop(meta.insert("other".into(), json!({"version": 1}))),
        _ => {
            if let Some(hash) = pin["hashes"]["sha256"].as_str().map(str::to_uppercase) {
                pin["hashes"]["sha256"] = json!(hash);
            }
        }
    }
}

/// Any change at any place.
fn anywhere(value: &mut Value, rng: &mut Rng, depth: usize) {
    match value {
        Value::Object(map) if !map.is_empty() && (depth == 0 || rng.percent(75)) => {
            let names: Vec<String> = map.keys().cloned().collect();
            let name = rng.pick(&names).clone();
            if depth > 0 && rng.percent(12) {
                map.remove(&name);
            } else {
                anywhere(&mut map[&name], rng, depth + 1);
            }
        }
        Value::Array(list) if !list.is_empty() && rng.percent(75) => {
            let i = rng.below(list.len());
            if rng.percent(15) {
                let copy = list[i].clone();
                list.push(copy);
            } else {
                anywhere(&mut list[i], rng, depth + 1);
            }
        }
        Value::Number(n) => {
            let n = n.as_i64().unwrap_or(1);
            *value = rng
                .pick(&[
                    json!(n + 1),
                    json!(n - 1),
                    json!(0),
                    json!(1.5),
                    json!("1"),
                    json!(null),
                    json!(u64::MAX),
                ])
                .clone();
        }
        Value::String(s) => {
            let s = s.clone();
            let more = format!("{s}x");
            *value = rng
                .pick(&[
                    json!(""),
                    json!(more),
                    json!(s.to_uppercase()),
                    json!("2020-01-01T00:00:00Z"),
                    json!("2100-01-01T00:00:00+00:00"),
                    json!("2100-01-01T00:00:00.5Z"),
                    json!("2100-01-01"),
                    json!(1),
                    json!(null),
                ])
                .clone();
        }
        Value::Bool(b) => *value = rng.pick(&[json!(!*b), json!("true"), json!(null)]).clone(),
        other => *other = rng.pick(&[json!(null), json!([]), json!({}), json!(1), json!("x")]).clone(),
    }
}

/// One change around what is signed.
fn envelope(file: &mut Value, rng: &mut Rng) {
    let Some(list) = file["signatures"].as_array_mut() else { return };
    let i = rng.below(list.len().max(1));
    match rng.below(14) {
        0 | 1 if !list.is_empty() => drop(list.remove(i)),
        2 if !list.is_empty() => list.push(list[i].clone()),
        3 if !list.is_empty() => list[i]["sig"] = json!("00".repeat(64)),
        4 if !list.is_empty() => list[i]["sig"] = json!(""),
        5 if !list.is_empty() => list[i]["sig"] = json!("zz"),
        6 if !list.is_empty() => list[i]["keyid"] = json!(id(rng.below(KEYS))),
        7 => list.push(json!({"keyid": "stranger", "sig": "00"})),
        8 => list
            .extend([json!({"keyid": "stranger", "sig": "00"}), json!({"keyid": "stranger", "sig": "01"})]),
        9 if !list.is_empty() => {
            let mut again = list[i].clone();
            again["keyid"] = json!("alias");
            list.push(again);
        }
        10 if !list.is_empty() => {
            list[i]["sig"] = json!(list[i]["sig"].as_str().unwrap_or_default().to_uppercase())
        }
        11 => file["more"] = json!(1),
        12 => list.clear(),
        _ => list.push(json!({"keyid": id(rng.below(KEYS)), "sig": ""})),
    }
}

/// One change to the bytes that are served; the pins are of what was meant.
fn bytes(mut bytes: Vec<u8>, rng: &mut Rng) -> Option<Vec<u8>> {
    let at = rng.below(bytes.len().max(1));
    match rng.below(9) {
        0 => return None,
        1 => bytes[at] ^= 1 << rng.below(8),
        2 => bytes.truncate(at),
        3 => bytes.push(b' '),
        4 => bytes.extend_from_slice(b"{}"),
        5 => bytes.splice(1..1, *b"\"signed\":{},").for_each(drop),
        6 => bytes.splice(0..0, *b"\xef\xbb\xbf").for_each(drop),
        7 => {
            let value: Value = serde_json::from_slice(&bytes).ok()?;
            bytes = serde_json::to_vec_pretty(&value).ok()?;
        }
        _ => bytes = b"[]".to_vec(),
    }
    Some(bytes)
}
