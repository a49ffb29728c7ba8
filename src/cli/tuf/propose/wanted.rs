//! What shall be different, as flags and as a file of changes.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::client::whole::Whole;
use crate::keys::KeyRef;
use crate::sig::{KeyId, PublicKey};
use crate::time::UnixTime;
use crate::trust::Duration;
use crate::tuf::grant::{Grant, GrantError, Terms};
use crate::tuf::proposal::{ChangesError, Edit, EditError, MAX_BYTES, changes};
use crate::tuf::{Agreement, CollectionName, PathPattern, Paths, RoleName, Signers};

/// Lifetime of the files of a role that is delegated to here, seconds.
const LIFETIME: u64 = 90 * 86_400;

/// What shall be different.
#[derive(Debug, clap::Args)]
pub(super) struct EditArgs {
    /// Let a key sign a role, as in root=./carol.pub (can be repeated)
    #[arg(long, value_name = "ROLE=KEY", value_parser = role_key)]
    add_key: Vec<(RoleName, KeyRef)>,
    /// Let a key sign a role no longer: the id, or its first 8 digits or more (can be repeated)
    #[arg(long, value_name = "ROLE=ID", value_parser = pair)]
    remove_key: Vec<(RoleName, String)>,
    /// How many keys must sign a role (can be repeated)
    #[arg(long, value_name = "ROLE=N", value_parser = role_number)]
    threshold: Vec<(RoleName, u32)>,
    /// Sign root or a targets role again, valid this long, as in root=365d (can be repeated)
    #[arg(long, value_name = "ROLE=DURATION", value_parser = role_lifetime)]
    expires: Vec<(RoleName, Duration)>,
    /// Sign root or a targets role again, valid as long as before (can be repeated)
    #[arg(long, value_name = "ROLE", value_parser = role)]
    resign: Vec<RoleName>,
    /// Delegate to a role, for a pattern as in bulla tuf delegate; its keys come with --add-key (can be repeated)
    #[arg(long, value_name = "ROLE=PATTERN", value_parser = pair)]
    delegate: Vec<(RoleName, String)>,
    /// Delegate to a role no longer (can be repeated)
    #[arg(long, value_name = "ROLE", value_parser = role)]
    undelegate: Vec<RoleName>,
    /// Let a delegated role speak for this instead of what it speaks for (can be repeated)
    #[arg(long, value_name = "ROLE=PATTERN", value_parser = pair)]
    scope: Vec<(RoleName, String)>,
    /// Whether a search ends at a delegated role: yes or no (can be repeated)
    #[arg(long, value_name = "ROLE=yes|no", value_parser = role_flag)]
    terminating: Vec<(RoleName, bool)>,
    /// The order of a role's delegations, every name once, as in releases=dev,rc (can be repeated)
    #[arg(long, value_name = "ROLE=ROLE,…", value_parser = role_order)]
    order: Vec<(RoleName, Vec<RoleName>)>,
    /// Bring along the first, empty file of a delegated role, which its keys must sign (can be repeated)
    #[arg(long, value_name = "ROLE", value_parser = role)]
    start: Vec<RoleName>,
    /// Take an entry out of a targets role, by its whole path (can be repeated)
    #[arg(long, value_name = "ROLE=PATH", value_parser = pair)]
    remove_target: Vec<(RoleName, String)>,
    /// Let a targets role list a file of the whole collection, as in targets=NAME/policy.json=./policy.json (can be repeated)
    #[arg(long, value_name = "ROLE=PATH=FILE", value_parser = role_file)]
    file: Vec<(RoleName, String, PathBuf)>,
    /// Demand that N of these roles list a bundle alike before anybody who trusts the collection trusts it
    #[arg(long, value_name = "N=ROLE,…", value_parser = demand, conflicts_with = "no_demand")]
    demand: Option<Agreement>,
    /// Demand no agreement any more
    #[arg(long)]
    no_demand: bool,
    /// The changes in FILE, before those of the other flags
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,
}

/// Edits with everything read that they need.
pub(super) struct Wanted<'a> {
    args: &'a EditArgs,
    first: Vec<Edit>,
    keys: Vec<(RoleName, PublicKey)>,
    delegate: BTreeMap<RoleName, Vec<PathPattern>>,
    scope: BTreeMap<RoleName, Vec<PathPattern>>,
    files: Vec<(RoleName, String, Vec<u8>)>,
    at: UnixTime,
}

impl EditArgs {
    /// Read keys, files and patterns.
    pub(super) fn read(
        &self,
        collection: &CollectionName,
        cx: &Context<'_, '_>,
    ) -> Result<Wanted<'_>, CliError> {
        let at = cx.now();
        let first = match &self.from_file {
            Some(path) => {
                let bytes = bounded(path)?;
                changes(&bytes, collection, at).map_err(|e| unreadable(path, &e))?
            }
            None => Vec::new(),
        };
        let mut keys: Vec<(RoleName, PublicKey)> = Vec::new();
        for (role, key) in &self.add_key {
            let public = cx.keys().look(key)?.public.ok_or_else(|| {
                CliError::failed("key.public", format!("only the encrypted private key of {key} is here"))
                    .next("name its public key, the .pub file")
            })?;
            keys.push((role.clone(), public));
        }
        let by_role =
            |pairs: &[(RoleName, String)]| -> Result<BTreeMap<RoleName, Vec<PathPattern>>, GrantError> {
                let mut out: BTreeMap<RoleName, Vec<PathPattern>> = BTreeMap::new();
                for (role, text) in pairs {
                    out.entry(role.clone()).or_default().extend(collection.scope(text)?);
                }
                Ok(out)
            };
        let (delegate, scope) = (by_role(&self.delegate)?, by_role(&self.scope)?);
        let mut files = Vec::new();
        for (role, path, file) in &self.file {
            files.push((role.clone(), path.clone(), bounded(file)?));
        }
        Ok(Wanted { args: self, first, keys, delegate, scope, files, at })
    }
}

impl Wanted<'_> {
    /// The edits, in the order in which they are made: what is delegated comes before the keys and the order of it.
    pub(super) fn edits(&self, whole: &Whole) -> Result<Vec<Edit>, EditError> {
        let args = self.args;
        let mut edits = self.first.clone();
        for role in &args.undelegate {
            edits.push(Edit::Undelegate { by: above(role)?, role: role.clone() });
        }
        for (role, paths) in &self.delegate {
            let terms = Terms { at: self.at, lifetime: LIFETIME, delegates: false, vetting: None };
            let signers = Signers { keys: Vec::new(), threshold: 1 };
            let (by, role, paths) = (above(role)?, role.clone(), paths.clone());
            edits.push(Edit::grant(by, Grant { role, signers, paths, terminating: false, terms }));
        }
        for (role, paths) in &self.scope {
            let paths = Some(Paths::Patterns(paths.clone()));
            edits.push(Edit::Scope { by: above(role)?, role: role.clone(), paths, terminating: None });
        }
        for (role, ends) in &args.terminating {
            let terminating = Some(*ends);
            edits.push(Edit::Scope { by: above(role)?, role: role.clone(), paths: None, terminating });
        }
        for (role, key) in &self.keys {
            edits.push(Edit::AddKey { role: role.clone(), key: key.clone() });
        }
        for (role, id) in &args.remove_key {
            edits.push(Edit::RemoveKey { role: role.clone(), key: known_key(whole, role, id)? });
        }
        for (role, n) in &args.threshold {
            edits.push(Edit::Threshold { role: role.clone(), threshold: *n });
        }
        for (by, roles) in &args.order {
            edits.push(Edit::Order { by: by.clone(), roles: roles.clone() });
        }
        edits.extend(args.start.iter().map(|role| Edit::Start { role: role.clone() }));
        for (role, path) in &args.remove_target {
            edits.push(Edit::RemoveTarget { role: role.clone(), path: path.clone() });
        }
        for (role, path, bytes) in &self.files {
            let (role, path, bytes) = (role.clone(), path.clone(), bytes.clone().into());
            edits.push(Edit::File { role, path, bytes, custom: None });
        }
        edits.extend(args.demand.clone().map(|demand| Edit::Demand(Some(demand))));
        edits.extend(args.no_demand.then_some(Edit::Demand(None)));
        for (role, life) in &args.expires {
            edits.push(Edit::Resign { role: role.clone(), life: Some(life.secs()) });
        }
        edits.extend(args.resign.iter().map(|role| Edit::Resign { role: role.clone(), life: None }));
        Ok(edits)
    }
}

/// A file, no larger than a proposal may be.
fn bounded(path: &Path) -> Result<Vec<u8>, CliError> {
    let failed = |e: std::io::Error| CliError::io("read", path, e);
    let (mut bytes, file) = (Vec::new(), fs::File::open(path).map_err(failed)?);
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > MAX_BYTES {
        let most = format!("at most {MAX_BYTES} bytes are read");
        return Err(CliError::usage(format!("{} is too large", path.display())).reason(most));
    }
    Ok(bytes)
}

fn unreadable(path: &Path, e: &ChangesError) -> CliError {
    CliError::usage(format!("{} is no list of changes for this collection", path.display()))
        .reason(e)
        .next("its format is in docs/schemas/changes.schema.json; nothing was proposed")
}

/// Who delegates to a role: its name lies below theirs.
fn above(role: &RoleName) -> Result<RoleName, EditError> {
    let (by, _) = role.as_str().rsplit_once('/').ok_or_else(|| EditError::NoRole(role.clone()))?;
    by.parse().map_err(|_| EditError::NoRole(role.clone()))
}

/// A key of a role by its id or the beginning of it.
fn known_key(whole: &Whole, role: &RoleName, id: &str) -> Result<KeyId, EditError> {
    let keys = whole.keys(role).ok_or_else(|| EditError::NoRole(role.clone()))?;
    let mut found =
        keys.keys.keys().filter(|k| k.as_str() == id || (id.len() >= 8 && k.as_str().starts_with(id)));
    match (found.next(), found.next()) {
        (Some(key), None) => Ok(key.clone()),
        _ => {
            let key = id.to_owned().try_into().map_err(|_| EditError::NoRole(role.clone()))?;
            Err(EditError::NoKey { role: role.clone(), key })
        }
    }
}

/// A top-level role by its name, any other as `bulla tuf delegate` takes it.
fn role(text: &str) -> Result<RoleName, String> {
    match text {
        "root" | "timestamp" | "snapshot" => text.parse().map_err(|e| format!("{e}")),
        _ => crate::cli::tuf::role_name(text),
    }
}

fn split(text: &str) -> Result<(RoleName, &str), String> {
    let (name, rest) = text.split_once('=').ok_or("expected ROLE=…")?;
    Ok((role(name)?, rest))
}

fn pair(text: &str) -> Result<(RoleName, String), String> {
    split(text).map(|(role, rest)| (role, rest.to_owned()))
}

fn role_key(text: &str) -> Result<(RoleName, KeyRef), String> {
    let (role, key) = split(text)?;
    Ok((role, key.parse().map_err(|e| format!("{e}"))?))
}

fn role_number(text: &str) -> Result<(RoleName, u32), String> {
    let (role, n) = split(text)?;
    Ok((role, n.parse().map_err(|_| "expected ROLE=N, as in root=2".to_owned())?))
}

fn role_lifetime(text: &str) -> Result<(RoleName, Duration), String> {
    let (role, life) = split(text)?;
    Ok((role, life.parse().map_err(|e| format!("{e}"))?))
}

fn role_flag(text: &str) -> Result<(RoleName, bool), String> {
    match split(text)? {
        (role, "yes") => Ok((role, true)),
        (role, "no") => Ok((role, false)),
        _ => Err("expected ROLE=yes or ROLE=no".into()),
    }
}

fn roles(text: &str) -> Result<Vec<RoleName>, String> {
    text.split(',').map(role).collect()
}

fn role_order(text: &str) -> Result<(RoleName, Vec<RoleName>), String> {
    let (role, rest) = split(text)?;
    Ok((role, roles(rest)?))
}

fn role_file(text: &str) -> Result<(RoleName, String, PathBuf), String> {
    let (role, rest) = split(text)?;
    let (path, file) = rest.split_once('=').ok_or("expected ROLE=PATH=FILE")?;
    Ok((role, path.to_owned(), PathBuf::from(file)))
}

fn demand(text: &str) -> Result<Agreement, String> {
    let (min, rest) = text.split_once('=').ok_or("expected N=ROLE,…, as in 2=releases,targets/security")?;
    let min = min.parse().map_err(|_| "expected N=ROLE,…, as in 2=releases,targets/security".to_owned())?;
    Agreement::new(min, roles(rest)?).map_err(|e| e.to_string())
}
