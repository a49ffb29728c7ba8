//! `trust check`: what the files say of one reference, and what is wrong with them.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::list::{signer_json, whom};
use crate::cli::context::Context;
use crate::cli::error::{CliError, Exit};
use crate::cli::render::{Outcome, clean, columns};
use crate::oci::{Reference, RegistryRef, Selector};
use crate::trust::{Anchor, By, Finding, Listing, Rule, Signatures, Subject, TrustFile, Waivable};

/// What was found.
pub(super) struct Checked {
    rule: Option<Rule>,
    findings: Vec<Finding>,
    error: Option<CliError>,
}

pub(super) fn run(
    reference: Option<Reference>,
    named: Option<Subject>,
    cx: &Context<'_, '_>,
) -> Result<Box<dyn Outcome>, CliError> {
    let file = cx.trust().load()?;
    let rule = match reference {
        None => None,
        Some(reference) => {
            let by_digest = reference.selector().is_some_and(|s| s.digest().is_some());
            let subject = subject(&reference, named)?;
            Some(if by_digest { file.rule_by_digest(&subject) } else { file.rule(&subject) })
        }
    };
    let mut findings = file.findings(cx.now());
    if let Some(rule) = &rule {
        let ids: Vec<&str> = rule
            .tuf
            .iter()
            .map(|a| a.id.as_str())
            .chain(rule.signers.iter().map(|a| a.id.as_str()))
            .collect();
        let scope = rule.statement.as_ref().map(|s| s.scope.to_string());
        findings.retain(|f| {
            let about = ids.contains(&f.about.as_str()) || Some(&f.about) == scope.as_ref();
            about && f.code != "trust.unmet"
        });
        findings.extend(TrustFile::unmet_by(rule));
    }
    let fatal = findings.iter().filter(|f| f.fatal).count();
    let error = (fatal > 0).then(|| {
        let error = CliError::new(
            Exit::No,
            "trust.check",
            format!("{fatal} of these contradict each other or cannot be met"),
        );
        error.next("mend the statements and anchors that are named")
    });
    Ok(Box::new(Checked { rule, findings, error }))
}

fn subject(reference: &Reference, named: Option<Subject>) -> Result<Subject, CliError> {
    match (reference, named) {
        (Reference::Registry(_), Some(_)) => {
            Err(CliError::usage("--as is for oci: and oci-archive: references only"))
        }
        (Reference::Registry(RegistryRef { repository, selector }), None) => {
            let tag = selector.as_ref().and_then(Selector::tag).cloned();
            Ok(Subject { repository: repository.clone(), tag })
        }
        (_, Some(named)) => {
            let tag = reference.selector().and_then(Selector::tag).cloned();
            Ok(Subject { tag: named.tag.clone().or(tag), ..named })
        }
        (_, None) => Err(CliError::usage(format!("{reference} has no name")).next("pass --as NAME[:TAG]")),
    }
}

impl Outcome for Checked {
    fn error(&self) -> Option<&CliError> {
        self.error.as_ref()
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        if let Some(rule) = &self.rule {
            rule_text(rule, out)?;
        }
        let rows = self.findings.iter().map(|f| {
            let word = if f.fatal { "WRONG" } else { "found" };
            vec![word.to_owned(), f.code.to_owned(), clean(&f.about), clean(&f.detail)]
        });
        let rows: Vec<_> = rows.collect();
        match rows.is_empty() {
            true => writeln!(out, "found     nothing wrong"),
            false => columns(out, &rows),
        }
    }

    fn json(&self) -> Value {
        let findings = self
            .findings
            .iter()
            .map(|f| json!({"code": f.code, "about": f.about, "detail": f.detail, "fatal": f.fatal}));
        json!({"rule": self.rule.as_ref().map(rule_json), "findings": findings.collect::<Vec<_>>()})
    }
}

fn rule_text(rule: &Rule, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", rule.subject)?;
    let mut rows = Vec::new();
    for a in &rule.tuf {
        rows.push(vec![
            "anchor  ".to_owned(),
            a.id.as_str().to_owned(),
            "tuf".to_owned(),
            a.scope.to_string(),
            a.collection.to_string(),
        ]);
    }
    for a in &rule.signers {
        let id = a.id.as_str().to_owned();
        rows.push(vec![
            "anchor  ".to_owned(),
            id,
            a.trusts.kind().to_owned(),
            a.scope.to_string(),
            clean(&whom(a)),
        ]);
    }
    if rows.is_empty() {
        writeln!(out, "anchor    none: it is not trusted")?;
    }
    columns(out, &rows)?;
    match &rule.statement {
        None => writeln!(out, "statement none")?,
        Some(s) => writeln!(out, "statement \"{}\" in {}", s.scope, clean(&s.origin.to_string()))?,
    }
    match (rule.required.tuf, &rule.required.tuf_waived) {
        (true, _) => writeln!(out, "needs     TUF: one of the tuf anchors vouches for it")?,
        (false, Some(by)) => writeln!(out, "waived    TUF, by {}", by_text(by))?,
        (false, None) => {}
    }
    for line in &rule.required.signatures {
        let ids: Vec<&str> = line.from.iter().map(|id| id.as_str()).collect();
        let ids = if ids.is_empty() { "nobody: it cannot be met".to_owned() } else { ids.join(", ") };
        let plural = if line.threshold.get() == 1 { "signer" } else { "signers" };
        writeln!(out, "needs     {} {plural} of {ids}  ({})", line.threshold, line_by(line))?;
    }
    for (name, check) in checks(rule) {
        if let Some(by) = check.waived_by() {
            let word = if name == "signature" { "NOT CHECKED: signatures, by" } else { "waived by" };
            let name = if name == "signature" { String::new() } else { format!("{name} ") };
            writeln!(out, "check     {name}{word} {}", by_text(by))?;
        }
    }
    for (word, list) in [("denied", &rule.deny), ("allowed", &rule.allow)] {
        for l in list {
            writeln!(
                out,
                "{word:<9} {}{}: {}",
                listed(l),
                if l.unsigned { " unsigned" } else { "" },
                clean(&l.reason)
            )?;
        }
    }
    Ok(())
}

fn checks(rule: &Rule) -> [(&'static str, &Waivable); 4] {
    let c = &rule.checks;
    [
        ("signature", &c.signature),
        ("expiry", &c.expiry),
        ("certificateExpiry", &c.certificate_expiry),
        ("rescinded", &c.rescinded),
    ]
}

fn listed(l: &Listing) -> String {
    l.digest.as_ref().map_or_else(|| l.scope.to_string(), |d| format!("{d} in {}", l.scope))
}

fn line_by(line: &Signatures) -> String {
    match &line.stated_for {
        Some(scope) => format!("statement \"{scope}\" in {}", clean(&line.by.to_string())),
        None => "there are anchors and no TUF".to_owned(),
    }
}

fn by_text(by: &By) -> String {
    format!("{}: {}", clean(&by.file), clean(&by.reason))
}

fn rule_json(rule: &Rule) -> Value {
    let check = |c: &Waivable| match c.waived_by() {
        None => json!({"kept": true}),
        Some(by) => json!({"kept": false, "by": by_json(by)}),
    };
    let checks: serde_json::Map<String, Value> =
        checks(rule).into_iter().map(|(name, c)| (name.to_owned(), check(c))).collect();
    let tuf = |a: &Anchor| json!({"id": a.id, "kind": "tuf", "scope": a.scope, "collection": a.collection});
    let anchors: Vec<Value> = rule.tuf.iter().map(tuf).chain(rule.signers.iter().map(signer_json)).collect();
    let signatures = rule.required.signatures.iter().map(|l| {
        json!({"threshold": l.threshold, "from": l.from, "by": l.by.file, "statedFor": l.stated_for, "possible": l.from.len() >= l.threshold.get() as usize})
    });
    json!({
        "subject": rule.subject.to_string(), "anchors": anchors, "statement": rule.statement,
        "required": {
            "tuf": rule.required.tuf, "tufWaived": rule.required.tuf_waived.as_ref().map(by_json),
            "signatures": signatures.collect::<Vec<_>>(),
        },
        "rescindedKnown": rule.checks.rescinded_known, "checks": checks, "deny": rule.deny, "allow": rule.allow,
    })
}

fn by_json(by: &By) -> Value {
    json!({"file": by.file, "in": by.origin.file, "scope": by.scope, "reason": by.reason})
}
