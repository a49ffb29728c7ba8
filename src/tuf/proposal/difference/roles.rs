//! What changed of keys, thresholds and delegations.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::*;

type Roles<'a> = (&'a Value, &'a BTreeMap<String, Value>);

/// Keys and thresholds of the roles that one table of keys serves.
pub(super) fn keys_and_roles(under: &[&str], old: Roles<'_>, new: Roles<'_>, out: &mut Vec<Item>) {
    let place = |rest: &[&str]| under.iter().chain(rest).map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let names: BTreeSet<&String> = old.1.keys().chain(new.1.keys()).collect();
    for name in names {
        let (a, b) = (old.1.get(name), new.1.get(name));
        let (had, has) = (ids(a), ids(b));
        let (ids_at, key_at) = (place(&["roles", name, "keyids"]), |id: &str| place(&["keys", id]));
        let shown_name = plain(name);
        let mut key = |kind, id: &str, at: Vec<Vec<String>>, text: String| {
            let (old, new) = (old.0.get(id).cloned(), new.0.get(id).cloned());
            out.push(Item { kind, subject: name.clone(), at, old, new, text });
        };
        for id in has.difference(&had) {
            let text = format!("{shown_name}: key {} may sign", key_text(id, new.0.get(id)));
            let listed = (old.0.get(id) != new.0.get(id)).then(|| key_at(id));
            key(ItemKind::KeyAdded, id, [ids_at.clone()].into_iter().chain(listed).collect(), text);
        }
        for id in had.difference(&has) {
            let text = format!("{shown_name}: key {} may no longer sign", key_text(id, old.0.get(id)));
            let gone = new.0.get(id).is_none().then(|| key_at(id));
            key(ItemKind::KeyRemoved, id, [ids_at.clone()].into_iter().chain(gone).collect(), text);
        }
        for id in had.intersection(&has).filter(|id| old.0.get(id.as_str()) != new.0.get(id.as_str())) {
            let (from, to) = (key_text(id, old.0.get(id)), key_text(id, new.0.get(id)));
            let text = format!("{shown_name}: the key object of an id changed: {from} -> {to}");
            key(ItemKind::KeyChanged, id, vec![key_at(id)], text);
        }
        let threshold = |role: Option<&Value>| role.and_then(|r| r.get("threshold")).cloned();
        let (from, to) = (threshold(a), threshold(b));
        if from != to {
            let of = format!("of {} keys", has.len());
            let text = match &from {
                Some(from) => format!("{shown_name}: {} {of} must sign, it was {from}", shown(to.as_ref())),
                None => format!("{shown_name}: {} {of} must sign", shown(to.as_ref())),
            };
            let at = vec![place(&["roles", name, "threshold"])];
            out.push(Item { kind: ItemKind::Threshold, subject: name.clone(), at, old: from, new: to, text });
        }
    }
}

fn ids(role: Option<&Value>) -> BTreeSet<String> {
    let list = role.and_then(|r| r.get("keyids")).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// A key by its fingerprint: the id is a word that the file's writer chose (TAP 12), the fingerprint is computed.
fn key_text(id: &str, key: Option<&Value>) -> String {
    match key.map(PublicKey::from_tuf) {
        Some(Ok(key)) => {
            let fingerprint = key.key_id();
            let named =
                if fingerprint.as_str() == id { String::new() } else { format!(", named {}", plain(id)) };
            format!("{fingerprint} ({}{named})", key.scheme())
        }
        // It names what the key says of itself.
        Some(Err(e)) => {
            format!("{} (it cannot be used: {})", plain(id), shown(Some(&Value::from(e.to_string()))))
        }
        None => format!("{} (it is not listed)", plain(id)),
    }
}

pub(super) fn delegations(old: &Value, new: &Value, out: &mut Vec<Item>) {
    let read = |v: &Value| named(v["roles"].as_array().map(Vec::as_slice).unwrap_or_default());
    // Two of one name, or one without: told as a whole.
    let (Some((order, a)), Some((new_order, b))) = (read(old), read(new)) else { return };
    let (roles, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
        (a.clone().into_iter().collect(), b.clone().into_iter().collect());
    let place =
        |rest: &[&str]| ["delegations"].iter().chain(rest).map(|s| (*s).to_owned()).collect::<Vec<_>>();
    for (name, role) in others.iter().filter(|(name, _)| !roles.contains_key(*name)) {
        let mut text =
            format!("delegation to {}: {} of its keys must sign", plain(name), shown(role.get("threshold")));
        text += &format!(", for {}", scope_text(role));
        text += if role["terminating"] == true { ", terminating" } else { ", not terminating" };
        let known = ["name", "keyids", "threshold", "terminating", "paths", "path_hash_prefixes"];
        for (member, value) in
            role.as_object().into_iter().flatten().filter(|(m, _)| !known.contains(&m.as_str()))
        {
            text += &format!(", {}: {}", plain(member), shown(Some(value)));
        }
        let new = Some(role.clone());
        let at = vec![place(&["roles", name])];
        out.push(Item { kind: ItemKind::DelegationAdded, subject: name.clone(), at, old: None, new, text });
    }
    for (name, role) in roles.iter().filter(|(name, _)| !others.contains_key(*name)) {
        let text = format!("no more delegation to {}, which spoke for {}", plain(name), scope_text(role));
        let (at, old) = (vec![place(&["roles", name])], Some(role.clone()));
        out.push(Item { kind: ItemKind::DelegationRemoved, subject: name.clone(), at, old, new: None, text });
    }
    keys_and_roles(&["delegations"], (&old["keys"], &roles), (&new["keys"], &others), out);
    for (name, before) in &roles {
        let Some(after) = others.get(name) else { continue };
        for member in ["paths", "path_hash_prefixes"] {
            paths(name, member, before, after, &place(&["roles", name, member]), out);
        }
        let (from, to) = (before.get("terminating"), after.get("terminating"));
        if from != to {
            let text = match to == Some(&Value::Bool(true)) {
                true => format!("{}: the search ends there now", plain(name)),
                false => format!("{}: the search goes on after it now", plain(name)),
            };
            let at = vec![place(&["roles", name, "terminating"])];
            let (old, new) = (from.cloned(), to.cloned());
            out.push(Item { kind: ItemKind::Terminating, subject: name.clone(), at, old, new, text });
        }
    }
    let kept = |list: &[Value], other: &Map<String, Value>| -> Vec<Value> {
        list.iter().filter(|n| n.as_str().is_some_and(|n| other.contains_key(n))).cloned().collect()
    };
    if order != new_order {
        let swapped = kept(&order, &b) != kept(&new_order, &a);
        let list = |names: &[Value]| {
            names.iter().filter_map(Value::as_str).map(plain).collect::<Vec<_>>().join(", ")
        };
        let text = match swapped {
            true => format!("the order of the delegations is {}, it was {}", list(&new_order), list(&order)),
            false => format!("the order of the delegations is {}", list(&new_order)),
        };
        let (old, new) = (Some(order.into()), Some(new_order.into()));
        let at = vec![place(&["roles"])];
        out.push(Item { kind: ItemKind::Order, subject: "delegations".into(), at, old, new, text });
    }
}

fn paths(name: &str, member: &str, before: &Value, after: &Value, at: &[String], out: &mut Vec<Item>) {
    let list = |v: &Value| -> BTreeSet<String> {
        v[member].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let (a, b) = (list(before), list(after));
    let rows = [
        (ItemKind::PathsAdded, b.difference(&a).collect::<Vec<_>>(), "may speak for"),
        (ItemKind::PathsRemoved, a.difference(&b).collect(), "may no longer speak for"),
    ];
    for (kind, changed, what) in rows {
        if changed.is_empty() {
            continue;
        }
        let text: Vec<String> = changed.iter().map(|p| plain(p)).collect();
        let prefix = if member == "paths" { "" } else { "hash prefixes " };
        let text = format!("{} {what} {prefix}{}", plain(name), text.join(" and "));
        let (old, new) = (before.get(member).cloned(), after.get(member).cloned());
        out.push(Item { kind, subject: name.to_owned(), at: vec![at.to_vec()], old, new, text });
    }
}

fn scope_text(role: &Value) -> String {
    let list = |v: &Value| {
        v.as_array().into_iter().flatten().filter_map(Value::as_str).map(plain).collect::<Vec<_>>()
    };
    let (paths, prefixes) = (list(&role["paths"]), list(&role["path_hash_prefixes"]));
    match (paths.is_empty(), prefixes.is_empty()) {
        (false, _) => paths.join(" and "),
        (true, false) => format!("hash prefixes {}", prefixes.join(" and ")),
        (true, true) => "nothing".into(),
    }
}
