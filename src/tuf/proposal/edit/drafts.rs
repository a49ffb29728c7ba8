//! Edited values as drafts, and the drafts that follow from them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::EditError;
use super::apply::{Drafts, RoleWork, Work};
use super::keys::{apart, check_threshold};
use crate::oci::Digest;
use crate::time::UnixTime;
use crate::tuf::lineage::{self, Change, RoleFile, View, genesis};
use crate::tuf::proposal::base::{Base, ways, within};
use crate::tuf::{AGREEMENT, Draft, Limits, Metadata, RoleName, Root, Targets, TufError, Unverified};

/// Lifetime of a role that has no file yet, seconds.
const FIRST_LIFE: i64 = 90 * 86_400;

impl Work<'_> {
    pub(super) fn finish(mut self) -> Result<Drafts, EditError> {
        let mut drafts = BTreeMap::new();
        if let Some(root) = self.root_draft()? {
            drafts.insert(RoleName::root(), root);
        }
        for role in self.roles.keys() {
            if let Some(draft) = self.role_draft(role)? {
                drafts.insert(role.clone(), draft);
            }
        }
        self.again(&mut drafts)?;
        if drafts.is_empty() {
            return Err(EditError::NothingChanges);
        }
        self.files.retain(|path, bytes| {
            drafts.values().any(|d| {
                d.signed()["targets"][path.as_str()]["hashes"]["sha256"] == Digest::sha256(bytes).hex()
            })
        });
        Ok((drafts, self.files))
    }

    fn root_draft(&self) -> Result<Option<Draft>, EditError> {
        let (Some(mut signed), Some(published)) = (self.root.clone(), self.base.root()) else {
            return Ok(None);
        };
        // Asked for and not changed: it is signed again.
        let life = self.life(&RoleName::root(), Some(published));
        signed["version"] = json!(published.version().next());
        signed["expires"] = json!(self.at.plus(life));
        stamp(&mut signed, self.base, self.at);
        let (root, limits) = (RoleName::root(), Limits::default());
        let draft = Draft::from_signed(signed);
        let bytes = draft.assemble(&BTreeMap::new());
        let parsed = Unverified::<Root>::parse(&root, &bytes, &limits)?;
        let claimed = parsed.claimed();
        for role in [RoleName::root(), RoleName::timestamp(), RoleName::snapshot(), RoleName::targets()] {
            check_threshold(&role, claimed.keys(&role))?;
        }
        let root_too = published.extra().is_none_or(|x| x.shared_root_key.is_none());
        apart(claimed, Some(published.role()), root_too)?;
        Ok(Some(draft))
    }

    /// The next version of a targets role, or its first; none when nothing of it changes.
    fn role_draft(&self, role: &RoleName) -> Result<Option<Draft>, EditError> {
        let Some(work) = self.roles.get(role) else { return Ok(None) };
        let mut changes = work.changes.clone();
        changes.extend(work.delegations.clone().map(Change::Delegate));
        let Some(file) = self.base.role(role) else {
            return self.first_draft(role, work, &changes).map(Some);
        };
        let view = view(role, file)?;
        let demanded = self.demand.is_some() && *role == RoleName::targets();
        let asked = work.again || demanded;
        if !asked && !changes.iter().any(|c| lineage::is_needed(&view, c)) {
            return Ok(None);
        }
        self.next(role, file, &view, &changes, self.life(role, Some(&**file))).map(Some)
    }

    /// The first file of a role descends from what every first one does (docs/adr/0010), so that of two made at once none is lost.
    fn first_draft(&self, role: &RoleName, work: &RoleWork, changes: &[Change]) -> Result<Draft, EditError> {
        let ours = self.roles.values().filter_map(|w| w.delegations.as_ref());
        let listed = ours.flat_map(|d| d["roles"].as_array().into_iter().flatten());
        let delegated = listed.filter(|d| d["name"] == role.as_str()).count() > 0;
        if !delegated && self.base.delegations_to(role).next().is_none() {
            return Err(EditError::NoRole(role.clone()));
        }
        if !work.start && changes.is_empty() {
            return Err(EditError::NoRole(role.clone()));
        }
        let start = genesis(&self.base.collection().to_string(), role)?;
        let life = self.life::<Targets>(role, None);
        self.next(role, &start, &view(role, &start)?, changes, life)
    }

    fn next(
        &self,
        role: &RoleName,
        file: &Metadata<Targets>,
        view: &View,
        changes: &[Change],
        life: i64,
    ) -> Result<Draft, EditError> {
        let expires = self.at.plus(life);
        let collection = self.base.collection().to_string();
        let draft = lineage::next(view, None, changes, &collection, self.at, expires);
        // Members of `x-bulla` that this version does not know.
        let mut signed = draft.signed().clone();
        let known = ["collection", "at", "ancestors", "withdrawn", "delegationsSet", "delegated"];
        for (name, value) in file.signed()["x-bulla"].as_object().into_iter().flatten() {
            if !known.contains(&name.as_str()) && signed["x-bulla"].get(name).is_none() {
                signed["x-bulla"][name] = value.clone();
            }
        }
        if let Some(demand) = self.demand.as_ref().filter(|_| *role == RoleName::targets()) {
            match (demand, signed.as_object_mut()) {
                (Some(demand), Some(signed)) => drop(signed.insert(AGREEMENT.into(), demand.to_json())),
                (None, Some(signed)) => drop(signed.remove(AGREEMENT)),
                (_, None) => {}
            }
        }
        Ok(Draft::from_signed(signed))
    }

    /// How long the next file of a role is valid: as asked for, as the terms of its delegation say, or as long as the one before.
    fn life<R>(&self, role: &RoleName, before: Option<&Metadata<R>>) -> i64 {
        let asked = self.lives.get(role).copied().or_else(|| self.lifetime(role));
        let before = before.and_then(|file| file.extra().map(|x| file.expires().secs() - x.at.secs()));
        asked.or(before).filter(|life| *life > 0).unwrap_or(FIRST_LIFE)
    }

    /// The longest life of a role's files, by whoever delegates to it.
    fn lifetime(&self, role: &RoleName) -> Option<i64> {
        let edited = self.roles.values().filter_map(|w| w.delegations.as_ref());
        let edited = edited.flat_map(|d| d["roles"].as_array().into_iter().flatten());
        let edited =
            edited.filter(|d| d["name"] == role.as_str()).find_map(|d| d["x-bulla"]["lifetime"].as_i64());
        let published = || self.base.delegations_to(role).find_map(|(_, d)| d.terms.as_ref());
        edited.or_else(|| published().and_then(|t| i64::try_from(t.lifetime).ok()))
    }

    /// Draft again every role whose published file would not verify under its new keys; and check the keys of all.
    fn again(&self, drafts: &mut BTreeMap<RoleName, Draft>) -> Result<(), EditError> {
        let limits = Limits::default();
        let unsigned = BTreeMap::new();
        let root = match drafts.get(&RoleName::root()) {
            Some(draft) => {
                let bytes = draft.assemble(&unsigned);
                Some(Unverified::<Root>::parse(&RoleName::root(), &bytes, &limits)?.claimed().clone())
            }
            None => self.base.root().map(|r| r.role().clone()),
        };
        let Some(root) = root else { return Ok(()) };
        let mut drafted: BTreeMap<RoleName, Targets> = BTreeMap::new();
        for (role, draft) in drafts.iter().filter(|(role, _)| **role != RoleName::root()) {
            let parsed = Unverified::<Targets>::parse(role, &draft.assemble(&unsigned), &limits)?;
            drafted.insert(role.clone(), parsed.claimed().clone());
        }
        let content =
            |role: &RoleName| drafted.get(role).or_else(|| self.base.role(role).map(|file| file.role()));
        let ways = ways(root.targets_keys(), content)?;
        for (role, ways) in &ways {
            for way in ways {
                check_threshold(role, Some(&way.keys))?;
                if let Some(content) = content(role) {
                    within(role, way.paths.as_ref(), content)?;
                }
            }
            let Some(file) = self.base.role(role).filter(|_| !drafts.contains_key(role)) else { continue };
            if ways.iter().any(|way| !file.count(&way.keys).is_met()) {
                drafts.insert(
                    role.clone(),
                    self.next(role, file, &view(role, file)?, &[], self.life(role, Some(&**file)))?,
                );
            }
        }
        Ok(())
    }
}

fn view(role: &RoleName, file: &Metadata<Targets>) -> Result<View, TufError> {
    RoleFile::of(file).map(|f| View::of(&f)).map_err(|fault| TufError::new(role, fault))
}

fn stamp(signed: &mut Value, base: &Base, at: UnixTime) {
    if !signed["x-bulla"].is_object() {
        signed["x-bulla"] = json!({});
    }
    signed["x-bulla"]["collection"] = json!(base.collection().to_string());
    signed["x-bulla"]["at"] = json!(at);
}
