//! What is wrong with the files of a deployer, or not what it seems: what cannot be met, is never reached, changes nothing or has
//! expired. Every scope that is named is asked about once.

use std::collections::BTreeSet;

use super::policy::AskedSignatures;
use super::{AnchorId, Listing, Rule, Scope, Statement, Subject, TrustFile, Trusts};
use crate::time::UnixTime;
use crate::tuf::{Limits, RootWalk};

/// Most scopes that are asked about.
const MAX_SCOPES: usize = 2_000;
/// Most comparisons of a scope with an entry for finding the statements that change nothing.
const MAX_COMPARED: usize = 20_000_000;

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its kind, stable.
    pub code: &'static str,
    /// An anchor's id, a scope or a digest.
    pub about: String,
    /// In words.
    pub detail: String,
    /// Whether it keeps every bundle from being trusted, or contradicts itself.
    pub fatal: bool,
}

impl Finding {
    fn note(code: &'static str, about: impl ToString, detail: impl Into<String>) -> Self {
        Self { code, about: about.to_string(), detail: detail.into(), fatal: false }
    }

    fn fatal(code: &'static str, about: impl ToString, detail: impl Into<String>) -> Self {
        Self { fatal: true, ..Self::note(code, about, detail) }
    }
}

impl TrustFile {
    /// All that is found in this file and the system's above it.
    pub fn findings(&self, now: UnixTime) -> Vec<Finding> {
        let mut out = Vec::new();
        let scopes = self.scopes();
        if scopes.len() > MAX_SCOPES {
            let detail = format!("{} scopes; the first {MAX_SCOPES} were asked about", scopes.len());
            out.push(Finding::note("trust.cut", "*", detail));
        }
        let rules: Vec<(&Scope, Rule)> =
            scopes.iter().take(MAX_SCOPES).filter_map(|s| Some((s, self.rule(&s.example()?)))).collect();
        for (scope, rule) in &rules {
            unmet(scope, rule, &mut out);
        }
        let whole = scopes.len() <= MAX_SCOPES;
        self.anchors_found(&rules, whole, now, &mut out);
        let statements = self.all_statements().count();
        let entries = statements + self.files().map(|f| f.anchors.len() + f.signers.len()).sum::<usize>();
        // Each statement is left out, and every scope asked about again.
        let few = statements.saturating_mul(scopes.len()).saturating_mul(entries) <= MAX_COMPARED;
        if whole && !few {
            let detail = format!("{statements} statements: whether one changes nothing was not looked at");
            out.push(Finding::note("trust.cut", "*", detail));
        }
        for statement in self.all_statements() {
            self.statement_found(statement, whole && few, &mut out);
        }
        self.lists_found(&mut out);
        out
    }

    /// What of a rule's requirements cannot be met, whoever signs.
    pub fn unmet_by(rule: &Rule) -> Vec<Finding> {
        let mut out = Vec::new();
        let here = Scope::Repository(rule.subject.repository.clone());
        unmet(&here, rule, &mut out);
        out.iter_mut().for_each(|f| f.about = rule.subject.to_string());
        out
    }

    fn files(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(self.system.as_deref())
    }

    fn all_statements(&self) -> impl Iterator<Item = &Statement> {
        self.files().flat_map(|f| &f.statements)
    }

    /// Every scope that is named, each once.
    fn scopes(&self) -> Vec<Scope> {
        let mut seen = BTreeSet::new();
        let files = self.files();
        let all = files.flat_map(|f| {
            let anchors = f.anchors.iter().map(|a| &a.scope).chain(f.signers.iter().map(|a| &a.scope));
            anchors.chain(f.statements.iter().map(|s| &s.scope))
        });
        all.filter(|scope| seen.insert(scope.to_string())).cloned().collect()
    }

    fn anchors_found(&self, rules: &[(&Scope, Rule)], whole: bool, now: UnixTime, out: &mut Vec<Finding>) {
        let used: BTreeSet<&AnchorId> =
            rules.iter().flat_map(|(_, r)| r.required.signers()).flat_map(|line| &line.from).collect();
        for anchor in self.files().flat_map(|f| &f.signers) {
            let id = anchor.id.as_str();
            if let Some(certificate) = anchor.certificate() {
                let (from, until) = (certificate.not_before(), certificate.not_after());
                if now > until {
                    out.push(Finding::note(
                        "trust.anchor-expired",
                        id,
                        format!("its certificate was valid until {until}"),
                    ));
                } else if now < from {
                    out.push(Finding::note(
                        "trust.anchor-expired",
                        id,
                        format!("its certificate is valid from {from} on"),
                    ));
                }
            }
            if let Trusts::Keyless { trusted_root, .. } = &anchor.trusts
                && let Some(until) = trusted_root.expires().filter(|until| now > *until)
            {
                let detail = format!(
                    "the last authority or log of its trusted root counted until {until}: what was signed later does not count"
                );
                out.push(Finding::note("trust.anchor-expired", id, detail));
            }
            if whole && !used.contains(&anchor.id) {
                let detail = "no requirement in its scope counts it: a statement names others, or TUF alone is required";
                out.push(Finding::note("trust.anchor-unused", id, detail));
            }
        }
        for anchor in self.all_anchors() {
            let id = anchor.id.as_str();
            let Some(subject) = anchor.scope.example() else { continue };
            if !self.covering(&subject).any(|a| a.id == anchor.id) {
                let detail =
                    format!("it is never asked for {}: a locked system file has its own", anchor.scope);
                out.push(Finding::note("trust.anchor-unreachable", id, detail));
            }
            let walk = RootWalk::start(anchor.root.bytes(), None, &Limits::default());
            let expires = walk.ok().map(|walk| walk.finish().last().expires());
            if let Some(expires) = expires.filter(|expires| now >= *expires) {
                let detail =
                    format!("its root expired {expires}; it serves as long as newer roots follow from it");
                out.push(Finding::note("trust.anchor-expired", id, detail));
            }
        }
    }

    fn statement_found(&self, statement: &Statement, whole: bool, out: &mut Vec<Finding>) {
        let scope = &statement.scope;
        let Some(subject) = scope.example() else { return };
        let rule = self.rule(&subject);
        if rule.tuf.is_empty() && rule.signers.is_empty() {
            out.push(Finding::note("trust.statement-unused", scope, "no anchor covers its scope"));
        }
        let asked = statement.require.as_ref().and_then(|r| r.signatures.as_ref());
        if let Some(AskedSignatures::Some(asked)) = asked {
            if statement.checks.signature == Some(false) {
                let detail = "it demands signatures, and turns their check off";
                out.push(Finding::fatal("trust.contradiction", scope, detail));
            }
            for id in &asked.from {
                let named = self.files().flat_map(|f| &f.signers).find(|a| a.id == *id);
                match named {
                    None => {
                        let detail = format!("it names the anchor {}, and there is none", id.as_str());
                        out.push(Finding::fatal("trust.contradiction", scope, detail));
                    }
                    Some(anchor) if !anchor.scope.meets(scope) => {
                        let detail =
                            format!("it names the anchor {}, whose scope is {}", id.as_str(), anchor.scope);
                        out.push(Finding::fatal("trust.contradiction", scope, detail));
                    }
                    Some(_) => {}
                }
            }
        }
        if statement.max_staleness.is_some()
            && rule.tuf.is_empty()
            && !matches!(scope, Scope::Prefix(_) | Scope::Registry(_))
        {
            out.push(Finding::note(
                "trust.statement-unused",
                scope,
                "maxStaleness is about TUF, and no TUF anchor covers it",
            ));
        }
        if whole && self.changes_nothing(statement) {
            let detail =
                match self.system.as_ref().is_some_and(|s| s.locked && statement.origin == self.origin) {
                    true => "it changes nothing: a locked system file decides there",
                    false => "it changes nothing: what it says holds without it",
                };
            out.push(Finding::note("trust.statement-unreachable", scope, detail));
        }
    }

    /// Whether every scope that it meets is judged the same without it.
    fn changes_nothing(&self, statement: &Statement) -> bool {
        let mut without = self.clone();
        let drop = |file: &mut Self| {
            if file.origin == statement.origin {
                file.statements.retain(|s| s.scope != statement.scope);
            }
        };
        drop(&mut without);
        if let Some(system) = without.system.as_deref_mut() {
            drop(system);
        }
        let says = |file: &Self, subject: &Subject| {
            let rule = file.rule(subject);
            let lines: Vec<_> =
                rule.required.signatures.iter().map(|l| (l.threshold, l.from.clone())).collect();
            let c = &rule.checks;
            let kept = [&c.signature, &c.expiry, &c.certificate_expiry, &c.rescinded].map(|c| c.is_kept());
            let statement = rule.statement.map(|s| (s.max_staleness, s.require_current_tag));
            (
                rule.required.tuf,
                lines,
                rule.required.attestations,
                kept,
                c.rescinded_known,
                statement.unwrap_or_default(),
            )
        };
        let met: Vec<Subject> =
            self.scopes().iter().filter(|s| s.meets(&statement.scope)).filter_map(Scope::example).collect();
        met.iter().all(|subject| says(self, subject) == says(&without, subject))
    }

    fn lists_found(&self, out: &mut Vec<Finding>) {
        let about = |l: &Listing| l.digest.as_ref().map_or_else(|| l.scope.to_string(), ToString::to_string);
        let denied: Vec<&Listing> = self.files().flat_map(|f| &f.deny).collect();
        for listing in self.files().flat_map(|f| &f.allow) {
            if denied.iter().any(|d| d.digest == listing.digest && d.scope.meets(&listing.scope)) {
                out.push(Finding::fatal(
                    "trust.contradiction",
                    about(listing),
                    "it is allowed and denied: it is denied",
                ));
            } else if !listing.unsigned {
                let detail = "listed without \"unsigned\": it needs what everything needs there";
                out.push(Finding::note("trust.listing-unused", about(listing), detail));
            }
        }
    }
}

fn unmet(scope: &Scope, rule: &Rule, out: &mut Vec<Finding>) {
    if rule.required.tuf && rule.tuf.is_empty() {
        let detail = match rule.statement.as_ref().map(|s| &s.scope) {
            Some(by) if by != scope => {
                format!("the statement for \"{by}\" demands TUF, and no TUF anchor counts here")
            }
            _ => "TUF is demanded, and no TUF anchor counts here".to_owned(),
        };
        // Below a wider scope there may be anchors for single repositories.
        let wide = !matches!(scope, Scope::Repository(_) | Scope::Tag(..));
        out.push(Finding { fatal: !wide, ..Finding::note("trust.unmet", scope, detail) });
    }
    let blind = |signer: &&super::SignerAnchor| *signer.rescissions() == super::Rescissions::Nowhere;
    for signer in rule.signers.iter().filter(|_| rule.checks.rescinded_known).filter(blind) {
        let counts = rule.required.signatures.iter().any(|line| line.from.contains(&signer.id));
        if counts {
            let detail = format!(
                "that nothing was taken back must be known (\"rescinded\": true), and the anchor {} has no rescissions: \
                 none of its signatures can decide",
                signer.id.as_str()
            );
            out.push(Finding::note("trust.unmet", scope, detail));
        }
    }
    let attestations = rule.required.attestations.iter().map(|a| &a.signers);
    for line in rule.required.signatures.iter().chain(attestations) {
        if line.from.len() < line.threshold.get() as usize {
            let detail = format!(
                "{} signers are demanded by {}, and {} of the anchors that cover it count",
                line.threshold,
                line.by,
                line.from.len()
            );
            let wide = !matches!(scope, Scope::Repository(_) | Scope::Tag(..));
            out.push(Finding { fatal: !wide, ..Finding::note("trust.unmet", scope, detail) });
        }
    }
}

#[cfg(test)]
mod tests;
