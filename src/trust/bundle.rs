//! The bundle itself: what the collection says of its tag and digest, whether it was revoked, and what else is required.

mod stolen;

use serde_json::Value;

use super::candidate::{Candidate, Court};
use super::cnab;
use super::code::Code;
use super::metadata;
use super::report::{Check, Outcome};
use super::revocation::RevocationList;
use super::verify::Question;
use crate::oci::{Descriptor, Digest, Tag};
use crate::tuf::{Bundle, Claim, CollectionName, EntryName, Found, Metadata, RoleName, Target, Targets};

/// How long after a move the digest before it still passes, in seconds.
const MOVING_SECS: i64 = 600;

/// The target paths that are asked for.
pub(super) fn paths(collection: &CollectionName, question: &Question, digest: &Digest) -> Vec<String> {
    let tag = question.rule.subject.tag.iter().map(|t| collection.tag_path(t));
    tag.chain([collection.release_path(digest)]).collect()
}

/// All checks below the metadata but what others must say alike; and the role that vouches.
pub(super) fn checks(
    question: &Question,
    subject: &Descriptor,
    chosen: &Candidate,
    court: &Court<'_>,
) -> (Vec<Check>, Option<RoleName>) {
    let (mut out, by) = entries(question, subject, chosen, court);
    revocations(court.collection, subject, chosen, court, &mut out);
    provenance(court.collection, chosen, &mut out);
    (out, by)
}

/// What the role that is asked, or one below it, lists; and which role that was.
pub(super) fn entries(
    question: &Question,
    subject: &Descriptor,
    chosen: &Candidate,
    court: &Court<'_>,
) -> (Vec<Check>, Option<RoleName>) {
    let mut out = Vec::new();
    let mut by = None;
    let digest_decides = question.digest.is_some() || question.rule.subject.tag.is_none();
    if digest_decides {
        by = release(court.collection, subject, chosen, court, &mut out);
    }
    if let Some(tag) = &question.rule.subject.tag {
        let current = question.rule.statement.as_ref().is_some_and(|s| s.require_current_tag);
        let decides = digest_decides.then_some(current);
        let named = named(court.collection, tag, subject, decides, chosen, court, &mut out);
        by = by.or(named);
    }
    (out, by)
}

/// What a collection's revocations say of a bundle that it need not list.
pub(super) fn listed_as_revoked(subject: &Descriptor, chosen: &Candidate, court: &Court<'_>) -> Vec<Check> {
    let mut out = Vec::new();
    revocations(court.collection, subject, chosen, court, &mut out);
    out
}

/// Whether a list of revocations can be read.
pub(super) fn understood(list: &[u8]) -> bool {
    RevocationList::parse(list).is_ok()
}

/// That the bundle is revoked, and nothing else: what a source may say that cannot vouch any more.
pub(super) fn revoked(subject: &Descriptor, known: &Candidate, court: &Court<'_>) -> Option<Check> {
    let mut out = Vec::new();
    revocations(court.collection, subject, known, court, &mut out);
    out.into_iter().find(|check| check.is_fail() && check.code == Code::RevocationBundle)
}

/// The bundle, what it is listed to be a part of, and its own parts: by its manifest, and (deeper down) as listed. Who
/// takes it by its digest gets them too.
fn with_relatives(
    collection: &CollectionName,
    subject: &Descriptor,
    chosen: &Candidate,
    court: &Court<'_>,
) -> Vec<Digest> {
    let mut out = vec![subject.digest.clone()];
    out.extend_from_slice(court.parts);
    // Every path that is asked for was searched when the candidate was judged, so this one is found.
    let Ok(found) = court.find(&collection.release_path(&subject.digest), chosen) else {
        return out;
    };
    let entry = found.target.and_then(|(_, target)| Bundle::read(&target).ok());
    out.extend(entry.into_iter().flat_map(|e| e.about.part_of));
    let whole = Value::String(subject.digest.to_string());
    let listed = found.loaded.values().flat_map(|role| role.role().targets());
    let parts = listed.filter_map(|(path, target)| match collection.entry(path) {
        Some(EntryName::Release(part)) => {
            target.custom["bulla"]["partOf"].as_array().filter(|of| of.contains(&whole)).map(|_| part)
        }
        _ => None,
    });
    out.extend(parts);
    out
}

/// `<c>@<digest>` must be listed.
fn release(
    collection: &CollectionName,
    subject: &Descriptor,
    chosen: &Candidate,
    court: &Court<'_>,
    out: &mut Vec<Check>,
) -> Option<RoleName> {
    let path = collection.release_path(&subject.digest);
    let Some((role, target)) = lookup(&path, chosen, court, out) else {
        let detail = format!("{} is not a release of {collection}", subject.digest);
        out.push(Check::fail(Code::BundleDigestUnlisted, detail));
        return None;
    };
    let entry = read(&target, &path, out)?;
    if entry.digest != subject.digest {
        out.push(Check::fail(Code::BundleEntry, format!("the entry {path} names {}", entry.digest)));
        return None;
    }
    let part = entry.about.claim != Some(Claim::Release);
    if part && entry.about.part_of.is_empty() {
        let detail = format!("{} is listed, but neither as a release nor as part of one", subject.digest);
        out.push(Check::fail(Code::BundleDigestUnlisted, detail));
        return None;
    }
    if !matches(&entry, subject, out) {
        return None;
    }
    let what = if part { "part of a release" } else { "released" };
    out.push(Check::pass(Code::BundleRelease, format!("{what} at {}, listed by {role}", entry.about.at)));
    inside(&entry, collection, chosen, court, out);
    Some(role)
}

/// `<c>:<tag>` must name the digest. With `digest_decides` (holding `requireCurrentTag`) a moved tag is a note or a failure of its own.
fn named(
    collection: &CollectionName,
    tag: &Tag,
    subject: &Descriptor,
    digest_decides: Option<bool>,
    chosen: &Candidate,
    court: &Court<'_>,
    out: &mut Vec<Check>,
) -> Option<RoleName> {
    let path = collection.tag_path(tag);
    let found = lookup(&path, chosen, court, out);
    let (by, entry) = match found {
        Some((by, target)) => (Some(by), Some(read(&target, &path, out)?)),
        None => (None, None),
    };
    let outdated = |detail: String, current: bool| match current {
        true => Check::fail(Code::BundleTagOutdated, detail),
        false => Check::note(Code::BundleTagOutdated, detail),
    };
    match (entry, digest_decides) {
        (Some(entry), _) if entry.digest == subject.digest => {
            if !matches(&entry, subject, out) {
                return None;
            }
            let detail = format!("{tag} names this digest since {}", entry.about.at);
            out.push(Check::pass(Code::BundleTag, detail));
            inside(&entry, collection, chosen, court, out);
            return by;
        }
        (Some(entry), Some(current)) => {
            out.push(outdated(format!("{tag} names {} since {}", entry.digest, entry.about.at), current));
        }
        (None, Some(current)) => out.push(outdated(format!("{collection} has no entry for {tag}"), current)),
        (None, None) => {
            out.push(Check::fail(Code::BundleTagUnlisted, format!("{collection} has no entry for {tag}")))
        }
        (Some(entry), None) => return moved(collection, tag, &entry, subject, chosen, court, out),
    }
    None
}

/// Of a CNAB bundle: what its entry says of `bundle.json` and of a thick archive, and whether its images are listed. Said once, whether
/// tag or digest was asked for.
fn inside(
    entry: &Bundle,
    collection: &CollectionName,
    chosen: &Candidate,
    court: &Court<'_>,
    out: &mut Vec<Check>,
) {
    let Some(whole) = court.inside else { return };
    // The search ends where a reader of the image's own digest ends, and nowhere else.
    let listed = |image: &&Descriptor| {
        let path = collection.release_path(&image.digest);
        let found = court.find(&path, chosen).ok().and_then(|found| found.target);
        let entry = found.and_then(|(_, target)| Bundle::read(&target).ok());
        entry.is_some_and(|e| {
            let counts = e.about.claim == Some(Claim::Release) || !e.about.part_of.is_empty();
            counts
                && e.digest == image.digest
                && e.length == image.size
                && e.about.media_type == image.media_type
        })
    };
    let unlisted = whole.images.iter().filter(|image| !listed(image)).count();
    for check in cnab::listed(entry, whole, unlisted) {
        if !out.contains(&check) {
            out.push(check);
        }
    }
}

/// The digest before passes for a while, if it still is a release, of this type and length.
fn moved(
    collection: &CollectionName,
    tag: &Tag,
    entry: &Bundle,
    subject: &Descriptor,
    chosen: &Candidate,
    court: &Court<'_>,
    out: &mut Vec<Check>,
) -> Option<RoleName> {
    let since = entry.about.at;
    let moving =
        entry.about.previous.as_ref() == Some(&subject.digest) && court.now <= since.plus(MOVING_SECS);
    let path = collection.release_path(&subject.digest);
    let before = if moving { lookup(&path, chosen, court, out) } else { None };
    let (by, check) = match before {
        Some((by, target)) => {
            let before = read(&target, &path, out)?;
            if before.digest != subject.digest || !matches(&before, subject, out) {
                return None;
            }
            inside(&before, collection, chosen, court, out);
            let detail = format!("{tag} moves to {} since {since}; this is the digest before", entry.digest);
            (Some(by), Check::note(Code::BundleTagMoving, detail))
        }
        None => {
            let detail = format!("{tag} must name {}, it names {}", entry.digest, subject.digest);
            (None, Check::fail(Code::BundleTagMoved, detail))
        }
    };
    out.push(check.with("expected", entry.digest.to_string()).with("found", subject.digest.to_string()));
    by
}

/// Length and media type as signed.
fn matches(entry: &Bundle, subject: &Descriptor, out: &mut Vec<Check>) -> bool {
    if entry.length != subject.size {
        let detail = format!("{} bytes are signed, {} were served", entry.length, subject.size);
        out.push(Check::fail(Code::BundleLength, detail));
        return false;
    }
    if entry.about.media_type != subject.media_type {
        let detail =
            format!("\"{}\" is signed, \"{}\" was served", entry.about.media_type, subject.media_type);
        out.push(Check::fail(Code::BundleMediaType, detail));
        return false;
    }
    true
}

fn read(target: &Target, path: &str, out: &mut Vec<Check>) -> Option<Bundle> {
    match Bundle::read(target) {
        Ok(entry) => Some(entry),
        Err(fault) => {
            out.push(Check::fail(Code::BundleEntry, format!("the entry {path}: {fault}")));
            None
        }
    }
}

/// Search for a path; the expiry of every role on the way is judged.
fn lookup(
    path: &str,
    chosen: &Candidate,
    court: &Court<'_>,
    out: &mut Vec<Check>,
) -> Option<(RoleName, Target)> {
    match court.find(path, chosen) {
        Ok(found) => {
            delegated(&found, chosen.trusted.top(), court, Code::TufDelegationExpired, out);
            found.target
        }
        Err(e) => {
            out.push(Check::failed(&e));
            None
        }
    }
}

fn delegated(found: &Found, top: &RoleName, court: &Court<'_>, expired: Code, out: &mut Vec<Check>) {
    for (role, file) in found.loaded.iter().filter(|(role, _)| *role != top) {
        let detail = format!("{role} version {}, expires {}", file.version(), file.expires());
        let check = match file.is_expired(court.now) {
            true => Check::fail(
                expired,
                format!("{role} version {} expired at {}", file.version(), file.expires()),
            ),
            false => Check::pass(Code::TufDelegation, detail),
        };
        let check = check.with("role", role.to_string()).with("expires", file.expires().to_string());
        for check in [check].into_iter().chain(ageing(role, file, court)) {
            if !out.contains(&check) {
                out.push(check);
            }
        }
    }
}

/// A role in force, of which less than a third of the life remains.
fn ageing(role: &RoleName, file: &Metadata<Targets>, court: &Court<'_>) -> Option<Check> {
    let soon = file.ages_from().is_some_and(|from| from <= court.now) && !file.is_expired(court.now);
    let note = soon.then(|| metadata::ages(Code::TufDelegationAgeing, file.expires()))?;
    let detail = format!("{role} {}", note.detail);
    Some(Check { detail, ..note }.with("role", role.to_string()))
}

/// When targets delegates the role, a list that is missing, expired or unreadable is never a pass.
fn revocations(
    collection: &CollectionName,
    subject: &Descriptor,
    chosen: &Candidate,
    court: &Court<'_>,
    out: &mut Vec<Check>,
) {
    let role = RoleName::revocations();
    let Some(delegation) = chosen.trusted.targets().role().delegation(&role) else { return };
    let path = collection.revocations_path();
    let missing = |what: String| Check::fail(Code::RevocationMissing, what);
    let file = match chosen.trusted.load(delegation, &chosen.files) {
        Ok(Some(file)) => file,
        Ok(None) => {
            return out.push(missing(format!("{role} is delegated, but the snapshot does not list it")));
        }
        Err(e) => return out.push(Check::failed(&e)),
    };
    if file.is_expired(court.now) {
        let detail = format!("{role} version {} expired at {}", file.version(), file.expires());
        out.push(Check::fail(Code::RevocationExpired, detail).with("expired", file.expires().to_string()));
    }
    out.extend(ageing(&role, &file, court));
    let Some(target) = file.role().targets().get(&path) else {
        return out.push(missing(format!("{role} does not list {path}")));
    };
    let Some(bytes) = chosen.files.target(&path) else {
        return out.push(missing(format!("the file {path} is not there")));
    };
    if let Err(fault) = target.check(bytes) {
        return out.push(missing(format!("the file {path}: {fault}")));
    }
    let list = match RevocationList::parse(bytes) {
        Ok(list) => list,
        Err(why) => return out.push(Check::fail(Code::RevocationUnreadable, why)),
    };
    let digests = with_relatives(collection, subject, chosen, court);
    match digests.iter().find_map(|d| list.revokes(d).map(|entry| (d, entry))) {
        Some((digest, entry)) => {
            let relative = if *digest == subject.digest { "" } else { ", part or whole of this bundle," };
            let detail = format!("{digest}{relative} was revoked {}", entry.said());
            out.push(entry.told_by(Check::fail(Code::RevocationBundle, detail)));
        }
        None => {
            let detail = format!("{role} version {}, no entry for this bundle", file.version());
            out.push(Check::pass(Code::Revocation, detail).with("version", file.version().get()));
        }
    }
    out.extend(stolen::keys(collection, subject, &list, chosen, court));
    for advisory in list.advisories(&digests) {
        let by = advisory.by.as_deref().unwrap_or("unknown");
        let why = advisory.reason.as_deref().unwrap_or("no reason given");
        let (outcome, word) = match court.acknowledged.contains(&advisory.id) {
            true => (Outcome::Pass, "acknowledged here"),
            false => (Outcome::Note, "not acknowledged yet"),
        };
        let detail = format!("{why} (advisory {} of {} by {by}, {word})", advisory.id, advisory.at);
        let check = Check::new(Code::RevocationAdvisory, outcome, detail).with("id", advisory.id.as_str());
        out.push(check.with("at", advisory.at.to_string()).with("by", advisory.by.clone()));
    }
}

/// The collection's list of revocations, where it can be relied on.
pub(super) fn list(chosen: &Candidate, court: &Court<'_>) -> Result<RevocationList, String> {
    listed(chosen, court, true)
}

/// What a list takes back that was seen before, expired or not.
pub(super) fn said(known: &Candidate, court: &Court<'_>) -> Option<RevocationList> {
    listed(known, court, false).ok()
}

fn listed(chosen: &Candidate, court: &Court<'_>, fresh: bool) -> Result<RevocationList, String> {
    let role = RoleName::revocations();
    let delegation = chosen.trusted.targets().role().delegation(&role).ok_or("it has none")?;
    let file = chosen.trusted.load(delegation, &chosen.files).map_err(|e| e.to_string())?;
    let file = file.ok_or_else(|| format!("the snapshot does not list {role}"))?;
    if fresh && file.is_expired(court.now) {
        return Err(format!("{role} version {} expired at {}", file.version(), file.expires()));
    }
    let path = court.collection.revocations_path();
    let target = file.role().targets().get(&path).ok_or_else(|| format!("{role} does not list {path}"))?;
    let bytes = chosen.files.target(&path).ok_or_else(|| format!("the file {path} is not there"))?;
    target.check(bytes).map_err(|fault| fault.to_string())?;
    RevocationList::parse_of_signatures(bytes)
}

/// Where top-level targets lists a layout that is not retired, provenance is required, which this version cannot check.
fn provenance(collection: &CollectionName, chosen: &Candidate, out: &mut Vec<Check>) {
    let prefix = collection.intoto_prefix();
    let retired = |t: &Target| t.custom["bulla"]["retired"] == Value::Bool(true);
    let layouts = chosen.trusted.targets().role().targets().iter();
    let found =
        layouts.filter(|(path, t)| path.starts_with(&prefix) && path.ends_with(".layout") && !retired(t));
    if let Some((path, _)) = found.into_iter().next() {
        let detail =
            format!("top-level targets lists the layout {path}; this version does not check provenance");
        out.push(Check::fail(Code::ProvenanceUnsupported, detail));
    }
}
