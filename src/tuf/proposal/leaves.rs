//! Two JSON values compared member by member.

use serde_json::{Map, Value};

/// One place where two values differ: a whole member that is only in one of them, or one that is no object in both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) at: Vec<String>,
    pub(super) old: Option<Value>,
    pub(super) new: Option<Value>,
    /// It is the order of the delegations, not what stands at the place.
    pub(super) order: bool,
}

/// Every place where `old` and `new` differ. `delegations.roles` counts as an object by name, beside the order of its names;
/// other lists are one place each.
pub(super) fn leaves(old: &Value, new: &Value) -> Vec<Leaf> {
    let mut out = Vec::new();
    compare(&mut Vec::new(), Some(old), Some(new), &mut out);
    out
}

fn compare(at: &mut Vec<String>, old: Option<&Value>, new: Option<&Value>, out: &mut Vec<Leaf>) {
    if old == new {
        return;
    }
    let leaf = |order, old: Option<Value>, new: Option<Value>| Leaf { at: at.clone(), old, new, order };
    match (old, new) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => members(at, a, b, out),
        (None, Some(Value::Object(b))) if !b.is_empty() => members(at, &Map::new(), b, out),
        (Some(Value::Object(a)), None) if !a.is_empty() => members(at, a, &Map::new(), out),
        (None | Some(Value::Array(_)), None | Some(Value::Array(_))) if is_roles(at) => {
            let list = |v: Option<&Value>| v.and_then(Value::as_array).cloned().unwrap_or_default();
            match (named(&list(old)), named(&list(new))) {
                (Some((names, old)), Some((others, new))) if names != others || old != new => {
                    if names != others {
                        out.push(leaf(true, Some(names.into()), Some(others.into())));
                    }
                    members(at, &old, &new, out);
                }
                _ => out.push(leaf(false, old.cloned(), new.cloned())),
            }
        }
        _ => out.push(leaf(false, old.cloned(), new.cloned())),
    }
}

fn members(at: &mut Vec<String>, old: &Map<String, Value>, new: &Map<String, Value>, out: &mut Vec<Leaf>) {
    for (name, value) in old {
        at.push(name.clone());
        compare(at, Some(value), new.get(name), out);
        at.pop();
    }
    for (name, value) in new.iter().filter(|(name, _)| !old.contains_key(*name)) {
        at.push(name.clone());
        compare(at, None, Some(value), out);
        at.pop();
    }
}

fn is_roles(at: &[String]) -> bool {
    matches!(at, [a, b] if a == "delegations" && b == "roles")
}

/// The delegations by name, and their names in order; none when two have one name, or one has none.
pub(super) fn named(roles: &[Value]) -> Option<(Vec<Value>, Map<String, Value>)> {
    let (mut names, mut by_name) = (Vec::new(), Map::new());
    for role in roles {
        let name = role.get("name")?.as_str()?;
        names.push(Value::from(name));
        if by_name.insert(name.to_owned(), role.clone()).is_some() {
            return None;
        }
    }
    Some((names, by_name))
}
