//! What a draft says of its own descent, against what follows from the published file: who joins it with others goes by that, so
//! a wrong word there is no routine.

use serde_json::Value;

use super::{Item, ItemKind};
use crate::time::UnixTime;
use crate::tuf::lineage::{Change, RoleFile, View, genesis, next};
use crate::tuf::{CollectionName, Extra, Metadata, RoleName, Targets, Version, plain};

/// The same of the first file of a role: it descends from what every first one does, or, in a collection in the making, from nothing.
pub(super) fn strange_first(collection: &CollectionName, role: &RoleName, draft: &Value) -> Vec<Item> {
    let about = &draft["x-bulla"];
    let founding = draft["version"] == 1;
    let claims = |name: &str| about.get(name).is_some_and(|v| *v != Value::Null);
    let set = about.get("delegationsSet").is_none_or(|v| *v == 1);
    if founding && set && !["ancestors", "withdrawn", "delegated"].into_iter().any(claims) {
        return Vec::new();
    }
    genesis(&collection.to_string(), role).map_or_else(|_| Vec::new(), |start| strange(&start, draft))
}

/// What of a draft's `x-bulla` does not follow from the published file and the draft's own entries.
pub(super) fn strange(old: &Metadata<Targets>, draft: &Value) -> Vec<Item> {
    let Ok(file) = RoleFile::of(old) else { return Vec::new() };
    let at = UnixTime::from_secs(0);
    let version = |v: &Value| v["version"].as_u64().and_then(Version::new);
    let (before, drafted) = (old.version(), version(draft));
    let follows = before.next();
    // A version that is skipped is told below; what else follows from it is judged by the draft's own.
    let highest = drafted.filter(|v| *v > follows).and_then(|v| Version::new(v.get() - 1));
    let delegations = draft.get("delegations").filter(|d| old.signed().get("delegations") != Some(*d));
    let changes: Vec<Change> = delegations.cloned().map(Change::Delegate).into_iter().collect();
    let expected = next(&View::of(&file), highest, &changes, "", at, at).signed()["x-bulla"].clone();
    let mut out = Vec::new();
    let mut say = |member: &str, old: Option<&Value>, new: Option<&Value>, text: String| {
        let at = vec![vec!["x-bulla".to_owned(), member.to_owned()]];
        let (kind, subject) = (ItemKind::Other, format!("x-bulla.{member}"));
        out.push(Item { kind, subject, at, old: old.cloned(), new: new.cloned(), text: plain(&text) });
    };
    let (should, is) = (expected.get("ancestors"), draft["x-bulla"].get("ancestors"));
    if should != is {
        let text = "it names other ancestors than the published file and that one's: what it names counts as already in";
        say("ancestors", should, is, text.into());
    }
    if drafted != Some(follows) {
        let text = format!("its version does not follow the published one, {before}: the next is {follows}");
        say("version", None, draft.get("version"), text);
    }
    for (member, text) in [
        (
            "delegationsSet",
            "it says of another version that it set the delegations: by that they are joined with other changes",
        ),
        (
            "delegated",
            "it says of other changes, or other roles, that their delegation changed: by that it is joined with other changes",
        ),
    ] {
        let (should, is) = (expected.get(member), draft["x-bulla"].get(member));
        if should != is {
            say(member, should, is, text.into());
        }
    }
    let gone = |v: &Value, path: &str| -> Vec<String> {
        let ids = v.get("withdrawn").and_then(|w| w.get(path)).and_then(Value::as_object);
        ids.into_iter().flatten().map(|(id, _)| id.clone()).collect()
    };
    let withdrawn = draft["x-bulla"].get("withdrawn").and_then(Value::as_object);
    for path in withdrawn.into_iter().flatten().map(|(path, _)| path) {
        let (before, after) = (gone(&expected, path), gone(&draft["x-bulla"], path));
        let new = after.iter().any(|id| !before.contains(id));
        let removed = old.role().targets().contains_key(path) && draft["targets"].get(path).is_none();
        let overridden = draft["targets"].get(path).and_then(|t| t["custom"]["bulla"]["over"].as_array());
        let known = |id: &String| overridden.is_some_and(|o| o.iter().any(|i| i == id));
        let hidden = draft["targets"].get(path).is_some() && after.iter().any(|id| !known(id));
        if (new && !removed) || hidden {
            let ids = withdrawn.and_then(|w| w.get(path));
            say("withdrawn", None, ids, format!("it withdraws {path} without taking the entry out"));
        }
    }
    let published = expected.get("withdrawn").and_then(Value::as_object);
    for (path, ids) in published.into_iter().flatten() {
        if gone(&expected, path).iter().any(|id| !gone(&draft["x-bulla"], path).contains(id)) {
            say("withdrawn", Some(ids), None, format!("it forgets that {path} was withdrawn"));
        }
    }
    let at = |v: Option<&Value>| v.and_then(Value::as_str).and_then(|s| s.parse::<UnixTime>().ok());
    let (before, now) = (old.extra().map(|x: &Extra| x.at), at(draft["x-bulla"].get("at")));
    if before.zip(now).is_none_or(|(before, now)| now < before) {
        say(
            "at",
            None,
            draft["x-bulla"].get("at"),
            "it says that it was made before the file that it replaces".into(),
        );
    }
    out
}
