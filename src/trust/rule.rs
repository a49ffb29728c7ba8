//! All that the trust files say of one subject: whom they trust for it, what they demand, what they leave out. Whoever judges goes
//! by this alone.

use std::num::NonZeroU32;

use super::level::{Level, Origin};
use super::listing::Listing;
use super::policy::{AskedSignatures, RequireSignatures};
use super::predicate::{Field, PredicateType};
use super::{Anchor, AnchorId, Scope, SignerAnchor, Statement, Subject, TrustFile};
use crate::oci::Digest;

const LOCKED: Level = Level::System { locked: true };

/// What holds for one subject. Anchors add up: a narrower one takes nothing from a wider one; of statements the most specific one
/// counts, and whatever a locked system file demands is demanded besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What is asked about.
    pub subject: Subject,
    /// The TUF anchors that are asked.
    pub tuf: Vec<Anchor>,
    /// The anchors of signatures in whose scope it is: all of them.
    pub signers: Vec<SignerAnchor>,
    /// The statement that counts for it; where a locked system file has one too, the stricter of the two in each respect.
    pub statement: Option<Statement>,
    /// What it needs.
    pub required: Required,
    /// What is checked of its signatures.
    pub checks: Checks,
    /// Every denial that could concern it, by [`Listing::concerns`].
    pub deny: Vec<Listing>,
    /// The same of the allow lists.
    pub allow: Vec<Listing>,
}

/// What a subject needs. Every line of it must be met.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Required {
    /// Whether one of the TUF anchors must vouch for it.
    pub tuf: bool,
    /// Who turned that off although a TUF anchor is in scope.
    pub tuf_waived: Option<By>,
    /// Signatures: each line must be met, by itself.
    pub signatures: Vec<Signatures>,
    /// Attestations, likewise.
    pub attestations: Vec<Attestations>,
}

/// So many signers of these, each of whom says this in one attestation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attestations {
    /// The type of the predicate.
    pub predicate_type: PredicateType,
    /// What must hold of it.
    pub fields: Vec<Field>,
    /// How many, and whose count.
    pub signers: Signatures,
}

/// So many signers of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signatures {
    /// How many different ones; an anchor counts once, however many signatures it vouches for.
    pub threshold: NonZeroU32,
    /// The anchors that count: in scope, and named where the statement names any. Where these are fewer than the threshold, it
    /// cannot be met.
    pub from: Vec<AnchorId>,
    /// The file that demands it.
    pub by: Origin,
    /// The scope of the statement that does; of none where it follows from there being anchors alone.
    pub stated_for: Option<Scope>,
}

/// What is checked of signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checks {
    /// Whether they are checked at all. Where they are not, the answer is "not checked, by FILE" and never "trusted".
    pub signature: Waivable,
    /// Whether a signature fails that has expired by its own word.
    pub expiry: Waivable,
    /// Whether one fails whose certificates are not valid now.
    pub certificate_expiry: Waivable,
    /// Whether a withdrawn signature, certificate or key fails.
    pub rescinded: Waivable,
    /// Whether it must be known that a signature was not withdrawn: one of which no source says so leaves the answer open.
    pub rescinded_known: bool,
}

/// Whether a check stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waivable {
    /// It decides.
    Kept,
    /// It does not, and the report says so.
    Waived {
        /// Who says so.
        by: By,
    },
}

/// Which statement says something, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct By {
    /// The file that said so: of what was imported the one that it was imported from.
    pub file: String,
    /// The file of anchors and statements that it is in.
    pub origin: Origin,
    /// The scope of the statement.
    pub scope: Scope,
    /// The reason that it gives.
    pub reason: String,
}

impl Required {
    /// Whose signatures are asked for, of the bundle and under attestations.
    pub fn signers(&self) -> impl Iterator<Item = &Signatures> {
        self.signatures.iter().chain(self.attestations.iter().map(|a| &a.signers))
    }
}

impl Rule {
    /// The first denial of this digest.
    pub fn denied(&self, digest: &Digest) -> Option<&Listing> {
        self.deny.iter().find(|l| l.is_of(digest))
    }

    /// An entry of an allow list for this digest; one that stands in for signatures goes first. It never stands in for TUF, nor for
    /// the absence of a revocation.
    pub fn allowed(&self, digest: &Digest) -> Option<&Listing> {
        let all = || self.allow.iter().filter(|l| l.is_of(digest));
        all().find(|l| l.unsigned).or_else(|| all().next())
    }

    /// Demand what another rule demands besides.
    fn also_demand(&mut self, other: Self) {
        if other.required.tuf {
            (self.required.tuf, self.required.tuf_waived) = (true, None);
            // Where a locked file demands it of the tag, only its own anchors answer.
            self.tuf.retain(|a| other.tuf.contains(a));
        }
        let stated = other.required.signatures.into_iter().filter(|line| line.stated_for.is_some());
        for mut line in stated.filter(|line| !self.required.signatures.contains(line)).collect::<Vec<_>>() {
            line.from.retain(|id| self.signer(id).is_some());
            self.required.signatures.push(line);
        }
        // Waived is what both waive.
        for (check, theirs) in [
            (&mut self.checks.signature, other.checks.signature),
            (&mut self.checks.expiry, other.checks.expiry),
            (&mut self.checks.certificate_expiry, other.checks.certificate_expiry),
            (&mut self.checks.rescinded, other.checks.rescinded),
        ] {
            if theirs.is_kept() {
                *check = theirs;
            }
        }
        if let (Some(own), Some(theirs)) = (&mut self.statement, &other.statement) {
            own.max_staleness =
                own.max_staleness.zip(theirs.max_staleness).map(|(own, theirs)| own.min(theirs));
        }
        for mut line in other.required.attestations {
            line.signers.from.retain(|id| self.signer(id).is_some());
            if !self.required.attestations.contains(&line) {
                self.required.attestations.push(line);
            }
        }
        self.checks.rescinded_known |= other.checks.rescinded_known && self.checks.rescinded.is_kept();
        if let Some(statement) = other.statement.filter(|s| s.require_current_tag) {
            let own = self.statement.get_or_insert_with(|| Statement {
                origin: statement.origin.clone(),
                ..Statement::of(statement.scope.clone())
            });
            own.require_current_tag = true;
        }
    }

    /// Ask for an attestation of this type besides, by any anchor of signatures in scope.
    pub fn also_attested(&mut self, predicate_type: PredicateType, by: Origin) {
        let from = self.signers.iter().map(|a| a.id.clone()).collect();
        let signers = Signatures { threshold: NonZeroU32::MIN, from, by, stated_for: None };
        self.required.attestations.push(Attestations { predicate_type, fields: Vec::new(), signers });
    }

    /// The anchor of signatures with this id.
    pub fn signer(&self, id: &AnchorId) -> Option<&SignerAnchor> {
        self.signers.iter().find(|a| a.id == *id)
    }
}

impl Waivable {
    /// Whether it decides.
    pub fn is_kept(&self) -> bool {
        *self == Self::Kept
    }

    /// Who turned it off.
    pub fn waived_by(&self) -> Option<&By> {
        match self {
            Self::Kept => None,
            Self::Waived { by } => Some(by),
        }
    }
}

impl Default for Checks {
    fn default() -> Self {
        let kept = || Waivable::Kept;
        let (signature, expiry, certificate_expiry, rescinded) = (kept(), kept(), kept(), kept());
        Self { signature, expiry, certificate_expiry, rescinded, rescinded_known: false }
    }
}

impl TrustFile {
    /// What the files say of `subject`, of which a tag was asked for, or nothing but the repository.
    pub fn rule(&self, subject: &Subject) -> Rule {
        match &self.system {
            Some(system) if system.locked && system.speaks_of(subject) => {
                let mut rule = system.rule_of(&[&**system], subject);
                self.add_to(&mut rule, subject);
                rule
            }
            Some(system) => self.rule_of(&[self, &**system], subject),
            None => self.rule_of(&[self], subject),
        }
    }

    /// The same where a digest was asked for. The tag beside it was chosen by whoever wrote the reference, and need not name the
    /// digest: what is said of it can refuse and demand more, and brings neither an anchor nor a waiver nor an entry of an allow list.
    pub fn rule_by_digest(&self, subject: &Subject) -> Rule {
        let untagged = Subject { tag: None, ..subject.clone() };
        let mut rule = self.rule(&untagged);
        rule.subject = subject.clone();
        let files = std::iter::once(self).chain(self.system.as_deref());
        rule.deny = listed(files.flat_map(|f| &f.deny), subject);
        if subject.tag.is_some() {
            rule.also_demand(self.rule(subject));
        }
        rule
    }

    /// Whether an anchor or statement of this file covers it.
    pub(super) fn speaks_of(&self, subject: &Subject) -> bool {
        self.anchors.iter().any(|a| a.scope.covers(subject))
            || self.signers.iter().any(|a| a.scope.covers(subject))
            || self.statements.iter().any(|s| s.scope.covers(subject))
    }

    /// Whether a statement of this file demands TUF there.
    pub(super) fn states_tuf(&self, subject: &Subject) -> bool {
        let statements = by_specificity(&[self], subject);
        member(&statements, |s| s.require.as_ref()?.tuf.as_ref()).is_some_and(|(_, tuf)| *tuf)
    }

    /// By these files alone, the first of them before the others where both have a statement for the same scope.
    fn rule_of(&self, files: &[&Self], subject: &Subject) -> Rule {
        let tuf: Vec<Anchor> = self.covering(subject).cloned().collect();
        let signers: Vec<SignerAnchor> = files.iter().flat_map(|f| f.signers_for(subject)).cloned().collect();
        let statements = by_specificity(files, subject);
        let origin = files.iter().find(|f| f.speaks_of(subject)).map(|f| f.origin.clone());
        let required = required(&tuf, &signers, &statements, origin.unwrap_or_default());
        Rule {
            subject: subject.clone(),
            checks: checks(statements.first().copied()),
            deny: listed(files.iter().flat_map(|f| &f.deny), subject),
            allow: listed(files.iter().flat_map(|f| &f.allow), subject),
            tuf,
            signers,
            statement: statements.first().map(|s| (*s).clone()),
            required,
        }
    }

    /// Add what the user's file says to a rule of a locked system file: it can only become stricter.
    fn add_to(&self, rule: &mut Rule, subject: &Subject) {
        // What a locked file asks of its own anchors, the user's do not answer.
        if !rule.required.tuf && rule.tuf.is_empty() {
            rule.tuf = self.own_covering(subject).cloned().collect();
            rule.required.tuf = !rule.tuf.is_empty();
        }
        rule.signers.extend(self.signers_for(subject).cloned());
        rule.deny.extend(listed(self.deny.iter(), subject));
        let statements = by_specificity(&[self], subject);
        let Some(own) = statements.first() else { return };
        if self.states_tuf(subject) {
            (rule.required.tuf, rule.required.tuf_waived) = (true, None);
        }
        if let Some((by, AskedSignatures::Some(asked))) = stated_signatures(&statements) {
            rule.required.signatures.push(line(&rule.signers, by, asked));
        }
        let attestations = stated_attestations(&rule.signers, &statements);
        rule.required.attestations.extend(attestations);
        for (check, kept) in [
            (&mut rule.checks.signature, own.checks.signature),
            (&mut rule.checks.expiry, own.checks.expiry),
            (&mut rule.checks.certificate_expiry, own.checks.certificate_expiry),
            (&mut rule.checks.rescinded, own.checks.rescinded),
        ] {
            if kept == Some(true) {
                *check = Waivable::Kept;
            }
        }
        rule.checks.rescinded_known |= own.checks.rescinded == Some(true);
        rule.statement = Some(match rule.statement.take() {
            None => Statement { max_staleness: None, ..(*own).clone() },
            Some(system) => Statement {
                // The user's alone could grant some, and lowers what the system's grants.
                max_staleness: system.max_staleness.map(|s| own.max_staleness.map_or(s, |o| o.min(s))),
                require_current_tag: system.require_current_tag || own.require_current_tag,
                ..system
            },
        });
    }

    fn signers_for<'a>(&'a self, subject: &'a Subject) -> impl Iterator<Item = &'a SignerAnchor> {
        self.signers.iter().filter(|a| a.scope.covers(subject))
    }
}

/// The statements that cover it, the most specific first; of two for one scope that of the first file.
fn by_specificity<'a>(files: &[&'a TrustFile], subject: &Subject) -> Vec<&'a Statement> {
    let all = files.iter().flat_map(|f| &f.statements);
    let mut all: Vec<&Statement> = all.filter(|s| s.scope.covers(subject)).collect();
    all.sort_by_key(|s| std::cmp::Reverse(s.scope.specificity()));
    all
}

/// A member, from the most specific statement that has it.
fn member<'a, T>(
    statements: &[&'a Statement],
    of: impl Fn(&'a Statement) -> Option<&'a T>,
) -> Option<(&'a Statement, &'a T)> {
    statements.iter().find_map(|s| of(s).map(|member| (*s, member)))
}

fn stated_signatures<'a>(statements: &[&'a Statement]) -> Option<(&'a Statement, &'a AskedSignatures)> {
    member(statements, |s| s.require.as_ref()?.signatures.as_ref())
}

fn listed<'a>(all: impl Iterator<Item = &'a Listing>, subject: &Subject) -> Vec<Listing> {
    all.filter(|l| l.concerns(subject)).cloned().collect()
}

/// What is needed: what the statements say, and where none says anything, what the anchors in scope stand for.
fn required(tuf: &[Anchor], signers: &[SignerAnchor], statements: &[&Statement], origin: Origin) -> Required {
    let stated = member(statements, |s| s.require.as_ref()?.tuf.as_ref());
    let needs_tuf = stated.map_or(!tuf.is_empty(), |(_, tuf)| *tuf);
    let waives = stated.filter(|(_, needed)| !**needed && !tuf.is_empty());
    let mut signatures = Vec::new();
    match stated_signatures(statements) {
        Some((by, AskedSignatures::Some(asked))) => signatures.push(line(signers, by, asked)),
        _ if needs_tuf => {}
        _ => signatures.push(Signatures {
            threshold: NonZeroU32::MIN,
            from: signers.iter().map(|a| a.id.clone()).collect(),
            by: stated.map_or(origin, |(by, _)| by.origin.clone()),
            stated_for: None,
        }),
    }
    let attestations = stated_attestations(signers, statements);
    Required { tuf: needs_tuf, tuf_waived: waives.map(|(by, _)| By::of(by)), signatures, attestations }
}

/// The attestations that the most specific statement asks for that speaks of any.
fn stated_attestations(signers: &[SignerAnchor], statements: &[&Statement]) -> Vec<Attestations> {
    let stated = member(statements, |s| s.require.as_ref()?.attestations.as_ref());
    let asked = stated.into_iter().flat_map(|(by, all)| all.iter().map(move |asked| (by, asked)));
    asked
        .map(|(by, asked)| Attestations {
            predicate_type: asked.predicate_type.clone(),
            fields: asked.fields.clone(),
            signers: line(
                signers,
                by,
                &RequireSignatures { threshold: asked.threshold, from: asked.from.clone() },
            ),
        })
        .collect()
}

/// What a statement itself asks for, with those in scope who count.
fn line(signers: &[SignerAnchor], by: &Statement, asked: &RequireSignatures) -> Signatures {
    // What a locked file asks of its own anchors, the user's do not answer.
    let theirs = |a: &SignerAnchor| by.origin.level != LOCKED || a.origin.level == LOCKED;
    let counts = |a: &&SignerAnchor| theirs(a) && (asked.from.is_empty() || asked.from.contains(&a.id));
    Signatures {
        threshold: asked.threshold,
        from: signers.iter().filter(counts).map(|a| a.id.clone()).collect(),
        by: by.origin.clone(),
        stated_for: Some(by.scope.clone()),
    }
}

fn checks(statement: Option<&Statement>) -> Checks {
    let check = |stands: fn(&Statement) -> Option<bool>| match statement {
        Some(s) if stands(s) == Some(false) => Waivable::Waived { by: By::of(s) },
        _ => Waivable::Kept,
    };
    Checks {
        signature: check(|s| s.checks.signature),
        expiry: check(|s| s.checks.expiry),
        certificate_expiry: check(|s| s.checks.certificate_expiry),
        rescinded: check(|s| s.checks.rescinded),
        rescinded_known: statement.is_some_and(|s| s.checks.rescinded == Some(true)),
    }
}

impl By {
    fn of(statement: &Statement) -> Self {
        Self {
            file: statement.imported_from.clone().unwrap_or_else(|| statement.origin.file.clone()),
            origin: statement.origin.clone(),
            scope: statement.scope.clone(),
            reason: statement.reason.clone().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests;
