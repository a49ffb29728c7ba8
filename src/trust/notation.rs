//! notation's trust store and trust policy (notaryproject/specifications `specs/trust-store-trust-policy.md`, version 1.0), converted
//! with the same verdicts, or refused with the reason. Where notation is laxer than its specification, the specification counts.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use serde::Deserialize;

use super::addition::Addition;
use super::policy::{AskedSignatures, Checked};
use super::{
    Require, RequireSignatures, Rescissions, Scope, SignerAnchor, SignerError, Statement, SubjectPattern,
    SubjectPatternError, Trusts,
};
use crate::sig::json;
use crate::sig::x509::Certificate;

/// Largest policy, bytes (notation reads 4 MiB).
pub const MAX_POLICY: u64 = 4 * 1024 * 1024;
/// Most statements, scopes of one, stores of one, identities of one.
const MAX_ENTRIES: usize = 256;

/// `trustpolicy.json`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NotationPolicy {
    version: String,
    trust_policies: Vec<PolicyStatement>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PolicyStatement {
    name: String,
    registry_scopes: Vec<String>,
    signature_verification: Level,
    #[serde(default)]
    trust_stores: Vec<String>,
    #[serde(default)]
    trusted_identities: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Level {
    level: String,
    #[serde(default, rename = "override")]
    overrides: BTreeMap<String, String>,
    verify_timestamp: Option<String>,
}

/// The certificates of a trust store, by its name (`x509/ca/NAME`).
pub type NotationStores = BTreeMap<String, Vec<Certificate>>;

/// Why a policy is not converted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotationError {
    /// Malformed, or with members that it does not have.
    #[error("{0}")]
    Malformed(String),
    /// Another version.
    #[error("version \"{0}\" is not 1.0")]
    Version(String),
    /// A rule of the specification is broken.
    #[error("statement \"{statement}\": {why}")]
    Rule {
        /// Which statement.
        statement: String,
        /// What is broken.
        why: String,
    },
    /// What the statement says has no equal here.
    #[error("statement \"{statement}\" has no equal here: {why}")]
    NoEqual {
        /// Which statement.
        statement: String,
        /// What has none.
        why: String,
    },
    /// A trust store that is not there, or empty.
    #[error("statement \"{statement}\": the trust store {store} holds no certificate")]
    Store {
        /// Which statement.
        statement: String,
        /// Which store.
        store: String,
    },
    /// A certificate in a store that notation refuses.
    #[error("trust store {store}: {subject} is neither a CA's nor self-signed")]
    Certificate {
        /// Which store.
        store: String,
        /// Whose certificate.
        subject: String,
    },
}

/// What a level leaves of each check: `true` where a failure fails.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Enforced {
    authenticity: bool,
    authentic_timestamp: bool,
    expiry: bool,
    revocation: bool,
}

impl NotationPolicy {
    /// Read a policy, and check the rules of its specification.
    ///
    /// # Errors
    /// Malformed, another version, a rule broken.
    pub fn parse(bytes: &[u8]) -> Result<Self, NotationError> {
        let malformed = |e: &dyn std::fmt::Display| NotationError::Malformed(e.to_string());
        json::parse(bytes).map_err(|e| malformed(&e))?;
        let policy: Self = serde_json::from_slice(bytes).map_err(|e| malformed(&e))?;
        if policy.version != "1.0" {
            return Err(NotationError::Version(policy.version.chars().take(40).collect()));
        }
        policy.check()?;
        Ok(policy)
    }

    /// The names of the trust stores that it needs, as `x509/ca/NAME`.
    pub fn stores(&self) -> BTreeSet<String> {
        let all = self.trust_policies.iter().flat_map(|p| &p.trust_stores);
        all.filter_map(|s| s.split_once(':')).map(|(kind, name)| format!("x509/{kind}/{name}")).collect()
    }

    /// The anchors and statements that give the same verdicts; `file` is what the report will call the policy.
    ///
    /// # Errors
    /// Something in it has no equal, or a store holds what notation would refuse.
    pub fn convert(&self, stores: &NotationStores, file: &str) -> Result<Addition, NotationError> {
        let mut out = Addition::default();
        for statement in &self.trust_policies {
            let enforced = statement.enforced()?;
            for scope in statement.scopes()? {
                let converted = match enforced {
                    None => statement.skipped(scope, file),
                    Some(enforced) => statement.converted(scope, enforced, stores, file, &mut out)?,
                };
                out.statements.push(converted);
            }
        }
        if out.signers.iter().any(|a| a.rescissions == Rescissions::Servers) {
            out.notes.push(
                "notation asks the OCSP and CRL servers that certificates name; bulla asks none, and a chain that names one is \
                 not decided while rescissions are checked"
                    .to_owned(),
            );
        }
        Ok(out)
    }

    fn check(&self) -> Result<(), NotationError> {
        let mut names = BTreeSet::new();
        let mut scopes = BTreeSet::new();
        if self.trust_policies.is_empty() || self.trust_policies.len() > MAX_ENTRIES {
            return Err(NotationError::Malformed(format!("not 1 to {MAX_ENTRIES} trustPolicies")));
        }
        for s in &self.trust_policies {
            if s.name.is_empty() || !names.insert(&s.name) {
                return Err(s.rule("its name is empty, or another's"));
            }
            if s.registry_scopes.is_empty() || s.registry_scopes.len() > MAX_ENTRIES {
                return Err(s.rule("it has no registryScopes, or too many"));
            }
            if s.registry_scopes.len() > 1 && s.registry_scopes.iter().any(|s| s == "*") {
                return Err(s.rule("\"*\" stands beside other scopes"));
            }
            if let Some(scope) = s.registry_scopes.iter().find(|scope| !scopes.insert(*scope)) {
                return Err(s.rule(&format!("the scope {scope} stands twice")));
            }
            let skips = s.signature_verification.level == "skip";
            let none = s.trust_stores.is_empty() && s.trusted_identities.is_empty();
            let both = !s.trust_stores.is_empty() && !s.trusted_identities.is_empty();
            if (skips && !none) || (!skips && !both) {
                return Err(s.rule("trustStores and trustedIdentities: both, or with level skip neither"));
            }
            if s.trust_stores.len() > MAX_ENTRIES || s.trusted_identities.len() > MAX_ENTRIES {
                return Err(s.rule("too many trustStores or trustedIdentities"));
            }
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
            for store in &s.trust_stores {
                let (kind, name) = store.split_once(':').unwrap_or(("", store));
                let sort = matches!(kind, "ca" | "signingAuthority" | "tsa");
                if !sort || name.is_empty() || matches!(name, "." | "..") || !name.bytes().all(plain) {
                    return Err(s.rule(&format!("\"{}\" is no trust store", cut(store))));
                }
            }
            s.identities()?;
        }
        Ok(())
    }
}

impl PolicyStatement {
    fn rule(&self, why: &str) -> NotationError {
        NotationError::Rule { statement: cut(&self.name), why: why.to_owned() }
    }

    fn no_equal(&self, why: impl Into<String>) -> NotationError {
        NotationError::NoEqual { statement: cut(&self.name), why: why.into() }
    }

    /// `*` and repositories; notation has no others.
    fn scopes(&self) -> Result<Vec<Scope>, NotationError> {
        let scope = |text: &String| match text.parse::<Scope>() {
            Ok(scope @ (Scope::Any | Scope::Repository(_))) if scope.to_string() == *text => Ok(scope),
            Ok(_) => Err(self.rule(&format!("\"{}\" is neither \"*\" nor one repository", cut(text)))),
            Err(e) => Err(self.no_equal(format!("the scope \"{}\": {e}", cut(text)))),
        };
        self.registry_scopes.iter().map(scope).collect()
    }

    /// The subjects that count; none where all do.
    fn identities(&self) -> Result<Vec<SubjectPattern>, NotationError> {
        let mut out: Vec<SubjectPattern> = Vec::new();
        if self.trusted_identities == ["*"] {
            return Ok(out);
        }
        for identity in &self.trusted_identities {
            let (kind, name) = identity.split_once(':').unwrap_or(("", identity));
            match kind {
                "x509.subject" => {}
                "" => return Err(self.rule(&format!("\"{}\" is no identity beside others", cut(identity)))),
                _ => return Err(self.no_equal(format!("the identity \"{}\" is for a plugin", cut(identity)))),
            }
            let pattern: SubjectPattern =
                name.trim_start().parse().map_err(|e: SubjectPatternError| self.rule(&e.to_string()))?;
            let has = |kind: &str| pattern.attributes().iter().any(|(k, _)| k == kind);
            if !(has("C") && has("ST") && has("O")) {
                return Err(self.rule(&format!("the identity \"{}\" lacks C, ST or O", cut(identity))));
            }
            if out.iter().any(|o| o.holds(&pattern) || pattern.holds(o)) {
                return Err(self.rule("one of its identities covers another"));
            }
            out.push(pattern);
        }
        Ok(out)
    }

    /// What its level and overrides enforce; nothing with `skip`.
    fn enforced(&self) -> Result<Option<Enforced>, NotationError> {
        let v = &self.signature_verification;
        let level = |authenticity, rest| {
            let (authentic_timestamp, expiry, revocation) = (rest, rest, rest);
            Some(Enforced { authenticity, authentic_timestamp, expiry, revocation })
        };
        let Some(mut enforced) = (match v.level.as_str() {
            "strict" => level(true, true),
            "permissive" => level(true, false),
            "audit" => level(false, false),
            "skip" if v.overrides.is_empty() => return Ok(None),
            other => return Err(self.rule(&format!("the level \"{}\", or an override of skip", cut(other)))),
        }) else {
            return Ok(None);
        };
        for (check, action) in &v.overrides {
            let enforce = match (check.as_str(), action.as_str()) {
                (_, "enforce") => true,
                (_, "log") | ("revocation", "skip") => false,
                _ => return Err(self.rule(&format!("the override {}: {}", cut(check), cut(action)))),
            };
            match check.as_str() {
                "authenticity" => enforced.authenticity = enforce,
                "authenticTimestamp" => enforced.authentic_timestamp = enforce,
                "expiry" => enforced.expiry = enforce,
                "revocation" => enforced.revocation = enforce,
                _ => return Err(self.rule(&format!("the override {}: {}", cut(check), cut(action)))),
            }
        }
        if !enforced.authenticity {
            return Err(
                self.no_equal("it lets the signature of anybody pass (level audit, or authenticity: log)")
            );
        }
        if !matches!(v.verify_timestamp.as_deref(), None | Some("always" | "afterCertExpiry")) {
            return Err(self.rule("verifyTimestamp is neither always nor afterCertExpiry"));
        }
        for (prefix, why) in [
            ("tsa:", "it goes by time stamps (a tsa: store), which are not verified here"),
            ("signingAuthority:", "it trusts signing authorities, whose signatures are not told apart here"),
        ] {
            if self.trust_stores.iter().any(|s| s.starts_with(prefix)) {
                return Err(self.no_equal(why));
            }
        }
        Ok(Some(enforced))
    }

    fn skipped(&self, scope: Scope, file: &str) -> Statement {
        Statement {
            checks: Checked { signature: Some(false), ..Checked::default() },
            reason: Some(format!("{file}, \"{}\": level skip", cut(&self.name))),
            imported_from: Some(file.to_owned()),
            ..Statement::of(scope)
        }
    }

    fn converted(
        &self,
        scope: Scope,
        enforced: Enforced,
        stores: &NotationStores,
        file: &str,
        out: &mut Addition,
    ) -> Result<Statement, NotationError> {
        let subjects = self.identities()?;
        let rescissions = if enforced.revocation { Rescissions::Servers } else { Rescissions::Nowhere };
        let mut from = Vec::new();
        for store in &self.trust_stores {
            let path = format!("x509/{}", store.replacen(':', "/", 1));
            let certificates = stores.get(&path).filter(|all| !all.is_empty());
            let absent = || NotationError::Store { statement: cut(&self.name), store: path.clone() };
            for certificate in certificates.ok_or_else(absent)? {
                if !certificate.is_ca() && certificate.issuer() != certificate.subject() {
                    let subject = certificate.subject().to_string();
                    return Err(NotationError::Certificate { store: path.clone(), subject });
                }
                // Of a signer's own certificate it is known by now whether it has an identity that counts.
                let fits = subjects.is_empty() || subjects.iter().any(|s| s.matches(certificate));
                if !certificate.is_ca() && !fits {
                    continue;
                }
                let trusts = Trusts::of(certificate.clone(), subjects.clone());
                let anchor = SignerAnchor::new(scope.clone(), trusts, rescissions.clone());
                let anchor = anchor.map_err(|e: SignerError| self.no_equal(e.to_string()))?;
                if !from.contains(&anchor.id) {
                    from.push(anchor.id.clone());
                }
                out.trust(anchor);
            }
        }
        if from.is_empty() {
            return Err(
                self.no_equal("none of the certificates in its trust stores has an identity that it trusts")
            );
        }
        let off = |enforced: bool| (!enforced).then_some(false);
        let checks = Checked {
            signature: None,
            expiry: off(enforced.expiry),
            certificate_expiry: off(enforced.authentic_timestamp),
            rescinded: off(enforced.revocation),
        };
        let level = &self.signature_verification.level;
        let reason = format!("{file}, \"{}\": level {level}", cut(&self.name));
        let overridden = if self.signature_verification.overrides.is_empty() { "" } else { ", overridden" };
        Ok(Statement {
            require: Some(Require {
                tuf: None,
                attestations: None,
                signatures: Some(AskedSignatures::Some(RequireSignatures {
                    threshold: NonZeroU32::MIN,
                    from,
                })),
            }),
            checks,
            reason: (checks != Checked::default()).then(|| format!("{reason}{overridden}")),
            imported_from: Some(file.to_owned()),
            ..Statement::of(scope)
        })
    }
}

fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests;
