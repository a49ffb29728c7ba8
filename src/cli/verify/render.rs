//! A report as text and as JSON.

use std::collections::BTreeSet;
use std::io::{self, Write};

use serde_json::{Map, Value, json};

use crate::cli::render::clean;
use crate::trust::cnab::{CnabReport, Image};
use crate::trust::signatures::SignatureReport;
use crate::trust::{self, AnchorReport, Check, Needs, Report, Requirement, Verdict};

pub(in crate::cli) fn one(report: &Report, next: Option<&str>, out: &mut dyn Write) -> io::Result<()> {
    let verdict = match report.verdict() {
        Verdict::Trusted => "trusted  ",
        Verdict::NotTrusted => "not trusted  ",
        Verdict::NotChecked => "not checked  ",
        Verdict::Undecided => "could not decide  ",
    };
    writeln!(out, "{verdict} {}", clean(&report.reference))?;
    let digest = report.digest.as_ref().map(|d| format!("{d}   ")).unwrap_or_default();
    writeln!(out, "          {digest}{}", whose(report))?;
    if report.verdict() != Verdict::Trusted
        && let Some(check) = report.because()
    {
        writeln!(out, "  because {}: {}", check.code, clean(&check.detail))?;
    }
    if let Some(next) = next {
        writeln!(out, "  next    {}", clean(next))?;
    }
    let width = longest_code(report);
    checks(&report.checks, width, out)?;
    if let Some(cnab) = &report.cnab {
        checks(&cnab.checks, width, out)?;
    }
    for anchor in &report.anchors {
        if report.anchors.len() > 1 {
            let verdict = anchor.verdict().as_str();
            writeln!(out, "  anchor {} for {}: {verdict}", clean(&anchor.anchor), anchor.collection)?;
        }
        checks(&anchor.checks, width, out)?;
        sources(&anchor.sources, width, out)?;
    }
    if let Some(signatures) = &report.signatures {
        checks(&signatures.checks, width, out)?;
        for line in &signatures.lines {
            checks(std::slice::from_ref(&line.check), width, out)?;
        }
    }
    if let Some(attestations) = &report.attestations {
        checks(&attestations.checks, width, out)?;
        for line in &attestations.lines {
            checks(std::slice::from_ref(&line.check), width, out)?;
        }
    }
    let requirements = report.requirements();
    if requirements.len() > 1 || requirements.iter().any(|r| r.verdict.is_none()) {
        for requirement in &requirements {
            writeln!(out, "  {}", clean(&summary(requirement)))?;
        }
    }
    Ok(())
}

/// One requirement in a line.
fn summary(requirement: &Requirement<'_>) -> String {
    let needs = match &requirement.needs {
        Needs::Tuf => "a TUF anchor".to_owned(),
        Needs::Signatures(line, _) => {
            let scope = line.stated_for.as_ref().map(|s| format!(" for {s}")).unwrap_or_default();
            let plural = if line.threshold.get() == 1 { "signer" } else { "signers" };
            format!("{} {plural} of {} anchors{scope}, by {}", line.threshold, line.from.len(), line.by)
        }
        Needs::Attestations(line, _) => {
            let (of, by) = (&line.predicate_type, &line.signers);
            format!("{of} from {} of {} anchors, by {}", by.threshold, by.from.len(), by.by)
        }
    };
    let word = match requirement.verdict {
        None => "not reached",
        Some(Verdict::Trusted) => "met",
        Some(Verdict::NotTrusted) => "not met",
        Some(Verdict::NotChecked) => "not checked",
        Some(Verdict::Undecided) => "undecided",
    };
    let because = requirement.because.map(|check| format!(" ({})", check.code)).unwrap_or_default();
    format!("required    {needs}: {word}{because}")
}

/// Those that must agree, each with its own checks.
fn sources(reports: &[AnchorReport], width: usize, out: &mut dyn Write) -> io::Result<()> {
    for report in reports {
        let by = report.by.as_ref().filter(|by| **by != report.role);
        let by = by.map(|by| format!(", listed by {by}")).unwrap_or_default();
        writeln!(out, "  source {}: {}{}", clean(&report.name()), report.verdict().as_str(), clean(&by))?;
        checks(&report.checks, width, out)?;
        sources(&report.sources, width, out)?;
    }
    Ok(())
}

/// Under which name it was judged, and for which collection where that is another.
fn whose(report: &Report) -> String {
    let word = if report.verdict() == Verdict::Trusted { "verified as" } else { "judged as" };
    let others: BTreeSet<String> = report.anchors.iter().map(|a| a.collection.to_string()).collect();
    let others: Vec<String> = others.into_iter().filter(|c| *c != report.verified_as).collect();
    let of = if others.is_empty() { String::new() } else { format!("   collection {}", others.join(", ")) };
    format!("{word} {}{of}", clean(&report.verified_as))
}

fn checks(checks: &[Check], width: usize, out: &mut dyn Write) -> io::Result<()> {
    for check in checks {
        let word = check.outcome.as_str();
        let why = match &check.outcome {
            trust::Outcome::Waived(reason) => format!(" (waived: {})", clean(reason)),
            _ => String::new(),
        };
        let line = format!("  {word:<11} {:<width$}  {}{why}", check.code.as_str(), clean(&check.detail));
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn longest_code(report: &Report) -> usize {
    let all = report.checks.iter().chain(report.anchors.iter().flat_map(AnchorReport::all_checks));
    let all = all.chain(report.cnab.iter().flat_map(|c| &c.checks));
    let signed = report.signatures.iter().chain(&report.attestations);
    let all = all.chain(signed.flat_map(SignatureReport::all_checks));
    all.map(|c| c.code.as_str().len()).max().unwrap_or(0)
}

pub(in crate::cli) fn as_json(report: &Report, next: Option<&str>) -> Value {
    json!({
        "reference": report.reference,
        "digest": report.digest,
        "mediaType": report.media_type,
        "size": report.size,
        "verifiedAs": report.verified_as,
        "tag": report.tag,
        "verdict": report.verdict().as_str(),
        "because": report.because().filter(|_| report.verdict() != Verdict::Trusted).map(check_json),
        "next": next,
        "checks": report.checks.iter().map(check_json).collect::<Vec<_>>(),
        "anchors": report.anchors.iter().map(anchor_json).collect::<Vec<_>>(),
        "requirements": report.requirements().iter().map(requirement_json).collect::<Vec<_>>(),
        "cnab": report.cnab.as_ref().map(cnab_json),
        "attestations": report.attestations.iter().flat_map(|s| &s.checks).map(check_json).collect::<Vec<_>>(),
        "signatures": report.signatures.iter().flat_map(|s| &s.checks).map(check_json).collect::<Vec<_>>(),
    })
}

fn cnab_json(cnab: &CnabReport) -> Value {
    let image =
        |(name, image): &(String, Image)| json!({"name": name, "image": image.image, "digest": image.digest});
    json!({
        "name": cnab.name.as_ref().map(|(name, _)| name),
        "version": cnab.name.as_ref().map(|(_, version)| version),
        "bundleJson": cnab.bundle_json,
        "images": cnab.images.iter().map(image).collect::<Vec<_>>(),
        "checks": cnab.checks.iter().map(check_json).collect::<Vec<_>>(),
    })
}

fn requirement_json(requirement: &Requirement<'_>) -> Value {
    let verdict = requirement.verdict.map_or("not-reached", Verdict::as_str);
    let because = requirement.because.map(check_json);
    match &requirement.needs {
        Needs::Tuf => json!({"kind": "tuf", "verdict": verdict, "because": because}),
        Needs::Signatures(line, report) => json!({
            "kind": "signatures",
            "threshold": line.threshold,
            "from": line.from,
            "by": line.by.to_string(),
            "statedFor": line.stated_for,
            "verdict": verdict,
            "because": because,
            "signers": report.map(|r| r.signers.clone()).unwrap_or_default(),
            "check": report.map(|r| check_json(&r.check)),
        }),
        Needs::Attestations(line, report) => json!({
            "kind": "attestations",
            "type": line.predicate_type,
            "match": line.fields,
            "threshold": line.signers.threshold,
            "from": line.signers.from,
            "by": line.signers.by.to_string(),
            "statedFor": line.signers.stated_for,
            "verdict": verdict,
            "because": because,
            "signers": report.map(|r| r.signers.clone()).unwrap_or_default(),
            "check": report.map(|r| check_json(&r.check)),
        }),
    }
}

fn anchor_json(a: &AnchorReport) -> Value {
    json!({
        "id": a.anchor,
        "collection": a.collection,
        "role": a.role,
        "ownKeys": a.own_keys,
        "at": a.at,
        "by": a.by,
        "verdict": a.verdict().as_str(),
        "evidence": a.evidence.map(trust::Evidence::as_str),
        "asOf": a.as_of,
        "checks": a.checks.iter().map(check_json).collect::<Vec<_>>(),
        "sources": a.sources.iter().map(anchor_json).collect::<Vec<_>>(),
    })
}

fn check_json(check: &Check) -> Value {
    let mut out = Map::new();
    out.insert("code".into(), check.code.as_str().into());
    out.insert("outcome".into(), check.outcome.as_str().into());
    out.insert("detail".into(), check.detail.as_str().into());
    if let trust::Outcome::Waived(reason) = &check.outcome {
        out.insert("reason".into(), reason.as_str().into());
    }
    out.insert("data".into(), Value::Object(check.data.clone()));
    Value::Object(out)
}
