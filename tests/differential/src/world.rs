//! Random repositories, good as they come: keys, roots, a tree of delegations, targets. `serve` signs and pins them, with changes
//! at every stage.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use bulla::oci::Digest;
use bulla::sig::canonical::canonical;
use bulla::sig::{PublicKey, Scheme};
use bulla::tuf::FileName;
use serde_json::{Map, Value, json};

/// xorshift64*: the same states on every machine.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        let mut rng = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..8 {
            rng.next();
        }
        rng
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    /// Below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// True in `n` of 100 cases.
    pub fn percent(&mut self, n: u64) -> bool {
        self.next() % 100 < n
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// The time of all states, in Unix seconds.
pub const NOW: i64 = 1_800_000_000;
pub const DAY: i64 = 86_400;
/// What is searched for.
pub const PATHS: [&str; 6] = ["a/x", "b/y", "x-1", "plain", "a/b/c", "nobody"];
const PATTERNS: [&str; 8] = ["*", "a/*", "b/*", "*/*", "x-*", "a/?", "a/b/*", "plain"];
/// Keys there are.
pub const KEYS: usize = 12;

/// What [`World::features`] looks for.
pub const FEATURES: [&str; 6] = [
    "path_hash_prefixes",
    "terminating",
    "a threshold above 1",
    "deeper than one level",
    "deeper than two levels",
    "a role of two delegators",
];

/// A signed part and the keys that sign it.
#[derive(Debug, Clone)]
pub struct Part {
    pub signed: Value,
    pub by: Vec<usize>,
}

/// A repository before it is signed.
#[derive(Debug, Clone)]
pub struct World {
    pub roots: Vec<Part>,
    pub roles: BTreeMap<String, Part>,
    pub snapshot: Part,
    pub timestamp: Part,
    /// Roles that the snapshot keeps quiet about.
    pub unlisted: Vec<String>,
    /// Lengths and hashes in pins.
    pub pinned: bool,
}

/// A change of a JSON value.
pub type Edit = Box<dyn Fn(&mut Value)>;
/// Other bytes in the place of some, or none.
pub type Swap = Box<dyn Fn(Vec<u8>) -> Option<Vec<u8>>>;

/// Changes on the way: to the signed part, to the envelope, to the bytes that are served (after they were pinned).
#[derive(Default)]
pub struct Changes {
    pub signed: BTreeMap<String, Vec<Edit>>,
    pub envelope: BTreeMap<String, Vec<Edit>>,
    pub bytes: BTreeMap<String, Vec<Swap>>,
}

/// Files by name.
pub type Served = BTreeMap<String, Vec<u8>>;

pub fn key(i: usize) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[i as u8 + 1; 32]).unwrap()
}

pub fn public(i: usize) -> PublicKey {
    PublicKey::from_raw(Scheme::Ed25519, key(i).public_key().as_ref()).unwrap()
}

pub fn id(i: usize) -> String {
    public(i).key_id().to_string()
}

pub fn time(at: i64) -> String {
    bulla::time::UnixTime::from_secs(at).to_string()
}

fn head(kind: &str, version: u64, rng: &mut Rng) -> Value {
    let expires = time(NOW + DAY * (1 + rng.below(60) as i64));
    json!({"_type": kind, "spec_version": "1.0.34", "version": version, "expires": expires})
}

/// Some distinct keys and a threshold that they can meet.
fn some_keys(rng: &mut Rng) -> (Vec<usize>, usize) {
    let n = 1 + rng.below(3);
    let from = rng.below(KEYS);
    let keys: Vec<usize> = (0..n).map(|i| (from + i * 5) % KEYS).collect();
    (keys, 1 + rng.below(n))
}

pub fn keys_object(keys: impl IntoIterator<Item = usize>) -> Value {
    keys.into_iter().map(|i| (id(i), public(i).to_tuf())).collect::<Map<String, Value>>().into()
}

pub fn role(keys: &[usize], threshold: usize) -> Value {
    json!({"keyids": keys.iter().map(|i| id(*i)).collect::<Vec<_>>(), "threshold": threshold})
}

impl World {
    pub fn random(rng: &mut Rng) -> Self {
        let sets: BTreeMap<&str, (Vec<usize>, usize)> =
            ["root", "timestamp", "snapshot", "targets"].into_iter().map(|r| (r, some_keys(rng))).collect();
        let mut world = Self {
            roots: Vec::new(),
            roles: BTreeMap::new(),
            snapshot: Part {
                signed: head("snapshot", 1 + rng.next() % 4, rng),
                by: sets["snapshot"].0.clone(),
            },
            timestamp: Part {
                signed: head("timestamp", 1 + rng.next() % 4, rng),
                by: sets["timestamp"].0.clone(),
            },
            unlisted: Vec::new(),
            pinned: rng.percent(60),
        };
        let consistent = rng.percent(85);
        world.add_root(&sets, consistent, rng);
        world.add_targets("targets", sets["targets"].0.clone(), rng);
        for i in 0..rng.below(7) {
            let parents: Vec<String> = world.roles.keys().cloned().collect();
            let parent = rng.pick(&parents).clone();
            let fresh = ["A", "B", "C", "role/D", "E", "f"][i % 6].to_owned();
            let name = if rng.percent(25) { rng.pick(&parents).clone() } else { fresh };
            if name != "targets" {
                world.delegate(&parent, &name, rng);
            }
        }
        world
    }

    /// One role A under targets that lists "a/x"; each role has a key of its own.
    pub fn plain() -> Self {
        let rng = &mut Rng::new(1);
        let one = |i: usize| (vec![i], 1);
        let sets = BTreeMap::from([
            ("root", one(0)),
            ("timestamp", one(1)),
            ("snapshot", one(2)),
            ("targets", one(3)),
        ]);
        let part = |kind: &str, by: usize| Part {
            signed: json!({"_type": kind, "spec_version": "1.0.34", "version": 2, "expires": time(NOW + DAY)}),
            by: vec![by],
        };
        let mut world = Self {
            roots: Vec::new(),
            roles: BTreeMap::new(),
            snapshot: part("snapshot", 2),
            timestamp: part("timestamp", 1),
            unlisted: Vec::new(),
            pinned: true,
        };
        world.add_root(&sets, true, rng);
        let mut delegation = role(&[4], 1);
        delegation["name"] = json!("A");
        delegation["terminating"] = json!(false);
        delegation["paths"] = json!(["a/*"]);
        let (mut top, mut a) = (part("targets", 3), part("targets", 4));
        top.signed["targets"] = json!({});
        top.signed["delegations"] = json!({"keys": keys_object([4]), "roles": [delegation]});
        a.signed["targets"] = json!({"a/x": {"length": 1, "hashes": {"sha256": "11".repeat(32)}}});
        world.roles.insert("targets".into(), top);
        world.roles.insert("A".into(), a);
        world
    }

    /// The next root; what is not in `sets` keeps its keys.
    fn add_root(&mut self, sets: &BTreeMap<&str, (Vec<usize>, usize)>, consistent: bool, rng: &mut Rng) {
        let version = self.roots.len() as u64 + 1;
        let mut signed = head("root", version, rng);
        let (mut roles, mut by) = (Map::new(), sets["root"].0.clone());
        for (name, (keys, threshold)) in sets {
            roles.insert((*name).to_owned(), role(keys, *threshold));
        }
        if let Some(last) = self.roots.last() {
            by.extend(&last.by);
        }
        by.sort_unstable();
        by.dedup();
        signed["consistent_snapshot"] = json!(consistent);
        signed["keys"] = keys_object(sets.values().flat_map(|(keys, _)| keys.clone()));
        signed["roles"] = Value::Object(roles);
        self.roots.push(Part { signed, by });
    }

    /// A further root: other keys for some roles, whose files they sign from now on.
    pub fn rotate(&mut self, rng: &mut Rng) {
        let last = self.roots.last().unwrap().clone();
        let mut next = last.signed.clone();
        next["version"] = json!(self.roots.len() + 1);
        next["expires"] = json!(time(NOW + DAY * (1 + rng.below(60) as i64)));
        let name = *rng.pick(&["root", "timestamp", "snapshot", "targets"]);
        let (keys, threshold) = some_keys(rng);
        let old = next["roles"][name].clone();
        next["roles"][name] = role(&keys, threshold);
        for i in &keys {
            next["keys"][id(*i)] = public(*i).to_tuf();
        }
        let mut by = last.by.clone();
        match name {
            "root" => by.extend(&keys),
            "timestamp" => self.timestamp.by.clone_from(&keys),
            "snapshot" => self.snapshot.by.clone_from(&keys),
            _ => self.roles.get_mut("targets").unwrap().by.clone_from(&keys),
        }
        if rng.percent(15) {
            // Joined instead of replaced.
            let mut ids = old["keyids"].as_array().unwrap().clone();
            ids.extend(
                next["roles"][name]["keyids"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter(|k| !ids.contains(k))
                    .cloned()
                    .collect::<Vec<_>>(),
            );
            next["roles"][name]["keyids"] = Value::Array(ids);
        }
        by.sort_unstable();
        by.dedup();
        self.roots.push(Part { signed: next, by });
    }

    fn add_targets(&mut self, name: &str, by: Vec<usize>, rng: &mut Rng) {
        let mut signed = head("targets", 1 + rng.next() % 4, rng);
        let mut targets = Map::new();
        for path in PATHS.iter().take(5).filter(|_| rng.percent(if name == "targets" { 10 } else { 45 })) {
            let content = format!("{name} {path}");
            let hash = Digest::sha256(content.as_bytes());
            targets.insert(
                (*path).to_owned(),
                json!({"length": content.len(), "hashes": {"sha256": hash.hex()}}),
            );
        }
        signed["targets"] = Value::Object(targets);
        self.roles.insert(name.to_owned(), Part { signed, by });
    }

    fn delegate(&mut self, parent: &str, name: &str, rng: &mut Rng) {
        let (keys, threshold) = some_keys(rng);
        if !self.roles.contains_key(name) {
            self.add_targets(name, keys.clone(), rng);
        } else if rng.percent(70) {
            let by = &mut self.roles.get_mut(name).unwrap().by;
            by.extend(&keys);
            by.sort_unstable();
            by.dedup();
        }
        let mut entry = role(&keys, threshold);
        entry["name"] = json!(name);
        entry["terminating"] = json!(rng.percent(25));
        if rng.percent(80) {
            entry["paths"] = json!([rng.pick(&PATTERNS), rng.pick(&PATTERNS)]);
        } else {
            let prefixes: Vec<String> =
                (0..1 + rng.below(8)).map(|_| format!("{:x}", rng.below(16))).collect();
            entry["path_hash_prefixes"] = json!(prefixes);
        }
        let delegator = &mut self.roles.get_mut(parent).unwrap().signed;
        if delegator.get("delegations").is_none() {
            delegator["delegations"] = json!({"keys": {}, "roles": []});
        }
        let delegations = &mut delegator["delegations"];
        if delegations["roles"].as_array().unwrap().iter().any(|r| r["name"] == entry["name"]) {
            return;
        }
        for i in keys {
            delegations["keys"][id(i)] = public(i).to_tuf();
        }
        delegations["roles"].as_array_mut().unwrap().push(entry);
        if rng.percent(4) {
            self.unlisted.push(name.to_owned());
        }
    }

    /// What of the delegations of this repository makes clients differ.
    pub fn features(&self) -> BTreeSet<&'static str> {
        let mut out = BTreeSet::new();
        let mut delegators: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (by, part) in &self.roles {
            for entry in part.signed["delegations"]["roles"].as_array().into_iter().flatten() {
                delegators.entry(entry["name"].as_str().unwrap()).or_default().insert(by);
                let named = [
                    ("path_hash_prefixes", entry["path_hash_prefixes"].is_array()),
                    ("terminating", entry["terminating"] == true),
                    ("a threshold above 1", entry["threshold"].as_u64() > Some(1)),
                    ("deeper than one level", by != "targets"),
                    ("deeper than two levels", by != "targets" && !self.is_child_of_top(by)),
                ];
                out.extend(named.into_iter().filter(|(_, has)| *has).map(|(name, _)| name));
            }
        }
        if delegators.values().any(|by| by.len() > 1) {
            out.insert("a role of two delegators");
        }
        out
    }

    fn is_child_of_top(&self, name: &str) -> bool {
        let top = self.roles["targets"].signed["delegations"]["roles"].as_array();
        top.into_iter().flatten().any(|r| r["name"] == name)
    }

    /// What the same repository looks like later: higher versions, changed targets, perhaps new roots.
    pub fn later(&self, rng: &mut Rng) -> Self {
        let mut next = self.clone();
        for _ in 0..rng.below(3) {
            next.rotate(rng);
        }
        // Every file: what a client keeps is then a floor and never spares a download, where the two clients differ (bulla keeps
        // delegated roles and targets under a new snapshot, sigstore-tuf asks again).
        for part in next.roles.values_mut().chain([&mut next.snapshot, &mut next.timestamp]) {
            part.signed["version"] = json!(part.signed["version"].as_u64().unwrap() + 1 + rng.next() % 2);
        }
        next
    }

    /// Sign, pin and serve.
    pub fn serve(&self, changes: &Changes) -> Served {
        let mut served = Served::new();
        let mut out = |name: &str, as_names: Vec<String>, pinned: Vec<u8>| {
            let mut bytes = Some(pinned);
            for change in changes.bytes.get(name).into_iter().flatten() {
                bytes = bytes.and_then(change);
            }
            for as_name in as_names {
                if let Some(bytes) = &bytes {
                    served.insert(as_name, bytes.clone());
                }
            }
        };
        for (i, root) in self.roots.iter().enumerate() {
            let name = format!("{}.root.json", i + 1);
            let (_, bytes) = changes.signed(&name, root);
            out(&name, vec![name.clone()], bytes);
        }
        let mut meta = Map::new();
        let mut roles = Vec::new();
        for (name, part) in &self.roles {
            let (signed, bytes) = changes.signed(name, part);
            if !self.unlisted.contains(name) {
                meta.insert(format!("{name}.json"), self.pin(&signed, &bytes));
            }
            roles.push((name.clone(), signed, bytes));
        }
        let mut snapshot = self.snapshot.clone();
        snapshot.signed["meta"] = Value::Object(meta);
        let (snapshot_signed, snapshot_bytes) = changes.signed("snapshot", &snapshot);
        let mut timestamp = self.timestamp.clone();
        timestamp.signed["meta"] = json!({"snapshot.json": self.pin(&snapshot_signed, &snapshot_bytes)});
        let (timestamp_signed, timestamp_bytes) = changes.signed("timestamp", &timestamp);
        for (name, signed, bytes) in roles {
            let encoded = FileName::unversioned(name.parse().unwrap()).to_string();
            let encoded = encoded.strip_suffix(".json").unwrap();
            let pinned = &snapshot_signed["meta"][format!("{name}.json")]["version"];
            out(&name, names(encoded, &[pinned, &signed["version"]]), bytes);
        }
        let pinned = &timestamp_signed["meta"]["snapshot.json"]["version"];
        out("snapshot", names("snapshot", &[pinned, &snapshot_signed["version"]]), snapshot_bytes);
        out("timestamp", vec!["timestamp.json".to_owned()], timestamp_bytes);
        served
    }

    fn pin(&self, signed: &Value, bytes: &[u8]) -> Value {
        let mut pin = json!({"version": signed["version"]});
        if self.pinned {
            pin["length"] = json!(bytes.len());
            pin["hashes"] = json!({"sha256": Digest::sha256(bytes).hex()});
        }
        pin
    }
}

/// `role.json`, and `N.role.json` for each version that somebody may look for.
fn names(encoded: &str, versions: &[&Value]) -> Vec<String> {
    let mut names = vec![format!("{encoded}.json")];
    names.extend(versions.iter().filter_map(|v| v.as_u64()).map(|v| format!("{v}.{encoded}.json")));
    names
}

impl Changes {
    /// The signed part with its changes, and the file as it is pinned.
    fn signed(&self, name: &str, part: &Part) -> (Value, Vec<u8>) {
        let mut signed = part.signed.clone();
        for change in self.signed.get(name).into_iter().flatten() {
            change(&mut signed);
        }
        let message = canonical(&signed);
        let signatures: Vec<Value> = part
            .by
            .iter()
            .map(|i| json!({"keyid": id(*i), "sig": hex::encode(key(*i).sign(&message).as_ref())}))
            .collect();
        let mut file = json!({"signed": signed, "signatures": signatures});
        for change in self.envelope.get(name).into_iter().flatten() {
            change(&mut file);
        }
        (signed, serde_json::to_vec(&file).unwrap())
    }
}
