//! Organisations: a collection whose top-level targets lists the roots of other collections, each with the names that it may
//! speak for (docs/formats.md "Organisations"). One anchor with one root serves for all of them.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::candidate::Candidate;
use super::code::Code;
use super::report::Check;
use super::source::Source;
use super::{PinnedRoot, Scope, Subject};
use crate::oci::{Reference, Repository};
use crate::time::UnixTime;
use crate::tuf::{CollectionName, Fault, Limits, RoleName, RootWalk, Target, Targets};

/// Most places of a member's state: what an organisation says makes its users ask them.
pub const MAX_MEMBER_PLACES: usize = 8;

/// One member, as the organisation lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The collection.
    pub name: CollectionName,
    /// For which name it may speak, as the organisation calls it. A list may say more, and is refused then.
    pub scope: Vec<Scope>,
    /// Further places of its state, untrusted.
    pub state_at: Vec<Reference>,
    /// When it was entered.
    pub at: Option<UnixTime>,
}

/// `custom.bulla` of a member's entry.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct About {
    member: CollectionName,
    scope: Vec<Scope>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "super::anchor::references")]
    state_at: Vec<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<UnixTime>,
}

impl Member {
    /// A member that speaks for its own name, or for `scope`.
    pub fn new(name: CollectionName, scope: Vec<Scope>, state_at: Vec<Reference>, at: UnixTime) -> Self {
        let own = || vec![Scope::Repository(name.as_repository().clone())];
        let scope = if scope.is_empty() { own() } else { scope };
        Self { name, scope, state_at, at: Some(at) }
    }

    /// The target under which an organisation lists the root of `name`.
    pub fn path(organisation: &CollectionName, name: &CollectionName) -> String {
        format!("{}{name}/root.json", prefix(organisation))
    }

    /// `custom` of its entry.
    pub fn custom(&self) -> Value {
        let (member, scope, state_at) = (self.name.clone(), self.scope.clone(), self.state_at.clone());
        json!({"bulla": About { member, scope, state_at, at: self.at }})
    }

    /// Every member of an organisation by the path of its entry, and what is wrong with those that cannot be read.
    pub fn all<'a>(
        organisation: &'a CollectionName,
        targets: &'a Targets,
    ) -> impl Iterator<Item = (&'a str, &'a Target, Result<Self, Fault>)> {
        let prefix = prefix(organisation);
        let entries = targets.targets().iter().filter(move |(path, _)| path.starts_with(&prefix));
        entries.map(move |(path, target)| (path.as_str(), target, Self::read(organisation, path, target)))
    }

    fn read(organisation: &CollectionName, path: &str, target: &Target) -> Result<Self, Fault> {
        let about = About::deserialize(&target.custom["bulla"])
            .map_err(|e| Fault::Format(format!("custom.bulla of {path}: {e}")))?;
        if Self::path(organisation, &about.member) != path {
            return Err(Fault::Format(format!("the entry {path} is for {}", about.member)));
        }
        let member = Self { name: about.member, scope: about.scope, state_at: about.state_at, at: about.at };
        if let Some(why) = member.bad_places() {
            return Err(Fault::Format(format!("{path}: {why}")));
        }
        Ok(member)
    }

    /// Why its places are none to be asked on somebody else's word: only so many repositories, and nothing on the asker's disk.
    pub fn bad_places(&self) -> Option<String> {
        let foreign = |place: &&Reference| place.is_local() || place.selector().is_some();
        match self.state_at.iter().find(foreign) {
            Some(place) => Some(format!("{place} is no repository")),
            None if self.state_at.len() > MAX_MEMBER_PLACES => {
                Some(format!("{} places, at most {MAX_MEMBER_PLACES}", self.state_at.len()))
            }
            None => None,
        }
    }

    /// The scopes that it may not be given: those outside the organisation's names, which has not got them to give; and more than one
    /// name, by a pattern or by several scopes, for a collection's entries do not tell its repositories apart.
    pub fn oversteps(&self, organisation: &CollectionName) -> Vec<&Scope> {
        let several = self.scope.len() > 1;
        self.scope.iter().filter(|scope| several || !is_below(scope, organisation)).collect()
    }
}

fn prefix(organisation: &CollectionName) -> String {
    format!("{organisation}/members/")
}

/// Whether a scope is one repository below the organisation's name.
fn is_below(scope: &Scope, organisation: &CollectionName) -> bool {
    let own = organisation.to_string();
    match scope {
        Scope::Repository(repository) => {
            repository.to_string().strip_prefix(&own).is_some_and(|rest| rest.starts_with('/'))
        }
        Scope::Any | Scope::Registry(_) | Scope::Prefix(_) | Scope::Tag(..) => false,
    }
}

/// What a repository below an anchor's prefix is called in the organisation: the rest of the name, part by part.
pub(super) fn mapped(
    prefix: &str,
    organisation: &CollectionName,
    repository: &Repository,
) -> Option<Repository> {
    format!("{organisation}/{}", repository.below(prefix)?).parse().ok()
}

/// The member that speaks for a name, with its root; and the checks that say why, or why there is none.
pub(super) fn member_for(
    name: &Repository,
    organisation: &CollectionName,
    chosen: &Candidate,
) -> (Vec<Check>, Option<Source>) {
    let mut checks = Vec::new();
    let subject = Subject { repository: name.clone(), tag: None };
    let mut found = Vec::new();
    for (path, target, member) in Member::all(organisation, chosen.trusted.targets().role()) {
        let member = match member {
            Ok(member) => member,
            // It could be the one that is meant.
            Err(fault) => {
                checks.push(Check::fail(Code::OrganisationEntry, fault.to_string()));
                continue;
            }
        };
        let covering = member.scope.iter().filter(|scope| scope.covers(&subject));
        if let Some(scope) = covering.max_by_key(|s| s.specificity()).cloned() {
            found.push((scope.specificity(), path, target, member, scope));
        } else if let Some(check) = overstepping(&member, organisation) {
            checks.push(Check::note(check.code, check.detail));
        }
    }
    let Some(best) = found.iter().map(|f| f.0).max() else {
        if checks.iter().any(Check::is_fail) {
            // What is not understood could be the one.
            return (checks, None);
        }
        let detail = format!("{organisation} lists no collection for {name}");
        checks.push(Check::fail(Code::OrganisationNone, detail));
        return (checks, None);
    };
    found.retain(|f| f.0 == best);
    let [(_, path, target, member, scope)] = &found[..] else {
        let names: Vec<String> = found.iter().map(|f| f.3.name.to_string()).collect();
        let detail = format!("{organisation} lists {} for {name}", names.join(" and "));
        checks.push(Check::fail(Code::OrganisationAmbiguous, detail));
        return (checks, None);
    };
    if let Some(check) = overstepping(member, organisation) {
        checks.push(check);
        return (checks, None);
    }
    match root_of(path, target, &member.name, chosen) {
        Ok(root) => {
            let root = PinnedRoot::from(root);
            let version = chosen.trusted.targets().version();
            let detail = format!(
                "{organisation} (targets version {version}) lists {} for {scope}, root {}",
                member.name,
                root.fingerprint()
            );
            checks.push(Check::pass(Code::OrganisationMember, detail));
            let source = Source {
                collection: member.name.clone(),
                root,
                role: RoleName::targets(),
                keys: None,
                at: None,
                state_at: member.state_at.clone(),
                own_place_last: false,
            };
            (checks, Some(source))
        }
        Err(why) => {
            checks.push(Check::fail(Code::OrganisationRoot, why));
            (checks, None)
        }
    }
}

fn overstepping(member: &Member, organisation: &CollectionName) -> Option<Check> {
    let scopes: Vec<String> = member.oversteps(organisation).iter().map(ToString::to_string).collect();
    let detail = || {
        let scopes = scopes.join(", ");
        format!(
            "{organisation} lets {} speak for {scopes}: not for one name below {organisation}",
            member.name
        )
    };
    (!scopes.is_empty()).then(|| Check::fail(Code::OrganisationOverstep, detail()))
}

/// The root that the entry pins; it must be there, and be one.
fn root_of(path: &str, target: &Target, name: &CollectionName, chosen: &Candidate) -> Result<Bytes, String> {
    let bytes = chosen.files.target(path).ok_or_else(|| format!("the file {path} is not there"))?;
    target.check(bytes).map_err(|fault| format!("the file {path}: {fault}"))?;
    let limits = Limits::default();
    RootWalk::start(bytes, Some(&name.to_string()), &limits).map_err(|e| format!("the file {path}: {e}"))?;
    Ok(bytes.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_mapped_part_by_part() {
        let organisation: CollectionName = "ex.com/org".parse().unwrap();
        let map = |prefix: &str, name: &str| mapped(prefix, &organisation, &name.parse().unwrap());
        let to = |name: &str| Some(name.parse::<Repository>().unwrap());
        assert_eq!(map("mirror.example/org", "mirror.example/org/app"), to("ex.com/org/app"));
        assert_eq!(map("mirror.example/org", "mirror.example/org/a/b"), to("ex.com/org/a/b"));
        assert_eq!(map("mirror.example/x/y", "mirror.example/x/y/a"), to("ex.com/org/a"));
        assert_eq!(map("mirror.example/org", "mirror.example/organisation/app"), None);
        assert_eq!(map("mirror.example/org", "mirror.example/org"), None);
    }

    #[test]
    fn only_single_names_below_the_organisation_are_its_to_give() {
        let organisation: CollectionName = "ex.com/org".parse().unwrap();
        for (scope, below) in [
            ("ex.com/org/app", true),
            ("ex.com/org/*", false),
            ("ex.com/org/team/*", false),
            ("ex.com/org", false),
            ("ex.com/organisation/app", false),
            ("ex.com/*", false),
            ("ex.com", false),
            ("*", false),
            ("other.example/org/app", false),
            ("ex.com/org/app:v1", false),
        ] {
            let member = Member::new(
                "ex.com/org/app".parse().unwrap(),
                vec![scope.parse().unwrap()],
                vec![],
                UnixTime::from_secs(0),
            );
            assert_eq!(member.oversteps(&organisation).is_empty(), below, "{scope}");
        }
    }
}
