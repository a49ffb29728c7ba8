//! `bulla verify`: is this a trusted release, here, now, and why?

use std::collections::BTreeSet;
use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::context::{Context, block_on};
use super::error::{CliError, Exit};
use super::registry::RegistryArgs;
use super::render::{Outcome, clean};
use crate::client::installed::{Done, Installed};
use crate::client::verify::{Verifier, VerifyError};
use crate::oci::Reference;
use crate::time::UnixTime;
use crate::trust::{self, AnchorReport, Check, Code, Report, Subject, TrustFile, Verdict};

/// Judge whether bundles are trusted releases, and say why
///
/// Nothing is trusted that was not configured with bulla trust (or made here by bulla init). By tag, the collection must
/// say that the tag names this digest now; by digest, that it is a release. With both, the digest decides.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  bulla verify registry.example.com/team/app:v1\n  bulla verify oci:/media/stick:v1 --as example.com/team/app"
)]
pub(super) struct Args {
    /// Bundles: host/repository:tag, host/repository@sha256:…, oci:DIR:tag, oci-archive:FILE:tag
    #[arg(value_name = "REF", required = true)]
    references: Vec<Reference>,
    /// Judge as if the bundle lay under this name (for oci: and oci-archive: references)
    #[arg(long = "as", value_name = "NAME[:TAG]")]
    named: Option<Subject>,
    #[command(flatten)]
    registry: RegistryArgs,
}

pub(super) fn run(args: Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    for reference in &args.references {
        if reference.selector().is_none() {
            return Err(VerifyError::NoSelector(reference.clone()).into());
        }
    }
    let named: Vec<&Reference> = args.references.iter().collect();
    let places = args.registry.places(cx, &named)?;
    let trust = cx.trust().load()?;
    let memory = cx.memory().to_owned();
    let verifier = Verifier {
        places: &places,
        trust: &trust,
        memory: &memory,
        now: cx.now(),
        clock_override: cx.clock_is_moved(),
        looked: &Default::default(),
    };
    let mut verified = Verified { reports: Vec::new(), error: None };
    block_on(async {
        for reference in &args.references {
            match verifier.verify(reference, args.named.as_ref()).await {
                Ok(report) => {
                    let next = next_step(&report, &trust);
                    verified.reports.push((report, next));
                }
                Err(e) => {
                    // The first one is shown; the exit code is the worst of all.
                    let e = CliError::from(e);
                    verified.error.get_or_insert(e);
                }
            }
        }
    })?;
    let trusted: Vec<Installed> =
        verified.reports.iter().filter_map(|(r, _)| installed(r, cx.now())).collect();
    cx.log_installed(&trusted);
    match verified {
        Verified { reports, error: Some(e) } if reports.is_empty() => Err(e),
        verified => Ok(Box::new(verified)),
    }
}

/// A trusted bundle, for the log.
fn installed(report: &Report, at: UnixTime) -> Option<Installed> {
    let digest = report.digest.clone().filter(|_| report.verdict() == Verdict::Trusted)?;
    let by = report.anchors.iter().find(|a| a.verdict() == Verdict::Trusted);
    let (reference, collection) = (report.reference.clone(), by.map(|a| a.collection.clone()));
    Some(Installed { at, done: Done::Verified, reference, digest, collection })
}

struct Verified {
    /// Each with what to do about it.
    reports: Vec<(Report, Option<String>)>,
    error: Option<CliError>,
}

impl Outcome for Verified {
    fn exit(&self) -> Exit {
        let exits = self.reports.iter().map(|(r, _)| match r.verdict() {
            Verdict::Trusted => Exit::Done,
            Verdict::NotTrusted => Exit::No,
            Verdict::Undecided => Exit::Failed,
        });
        exits.chain(self.error.iter().map(|e| e.exit)).max().unwrap_or(Exit::Failed)
    }

    fn error(&self) -> Option<&CliError> {
        self.error.as_ref()
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for (i, (report, next)) in self.reports.iter().enumerate() {
            if i > 0 {
                writeln!(out)?;
            }
            one(report, next.as_deref(), out)?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        json!({"bundles": self.reports.iter().map(|(r, next)| as_json(r, next.as_deref())).collect::<Vec<_>>()})
    }
}

/// What to do about an answer other than "trusted". Never: to trust more.
pub(super) fn next_step(report: &Report, trust: &TrustFile) -> Option<String> {
    let because = report.because().filter(|_| report.verdict() != Verdict::Trusted)?;
    let next = match because.code {
        Code::AnchorNone => {
            let scopes: BTreeSet<String> = trust.anchors.iter().map(|a| a.scope.to_string()).collect();
            let scopes: Vec<String> = scopes.into_iter().collect();
            let add = format!(
                "say whom you trust for it: bulla trust add {} --root FILE --collection NAME",
                report.verified_as
            );
            if scopes.is_empty() { add } else { format!("{add}; anchored are {}", scopes.join(", ")) }
        }
        Code::RefAbsent => "check the repository and the tag or digest".into(),
        Code::BundleTagUnlisted | Code::BundleDigestUnlisted => {
            "ask the publisher for a release: only bulla publish makes one".into()
        }
        Code::BundleTagMoved | Code::BundleLength | Code::BundleMediaType => {
            "do not use it; tell the publisher, or name the release by its digest".into()
        }
        Code::BundleContent | Code::BundleAmbiguous => {
            "do not use this copy; get the bundle from another place".into()
        }
        Code::BundleResolve | Code::StateUnreadable | Code::SealUnreadable => {
            "nothing was decided: check the network and the login, and verify again".into()
        }
        Code::AgreementShort | Code::AgreementOwnerShort => {
            "do not use it before enough of them list it: ask those who do not why".into()
        }
        Code::AgreementOpen | Code::AgreementOwnerOpen => {
            "nothing was decided: look at what each source says could not be read, and verify again".into()
        }
        Code::AgreementOwnerUnreadable => "a newer version of bulla is needed to decide this".into(),
        Code::ProvenanceUnsupported => "a newer version of bulla is needed to decide this".into(),
        Code::RevocationBundle => "do not use it; take another release".into(),
        Code::StateAbsent | Code::SealNone => {
            "copy it again with bulla copy, or name the state's place: bulla trust add … --state-at REPO"
                .into()
        }
        code if code.as_str().ends_with(".expired") => {
            "the publisher runs bulla renew; of a copy, make a fresh one then (bulla copy)".into()
        }
        code if code.as_str().ends_with(".rollback") => {
            "a newer state was seen here before: get a fresh copy, or ask who runs this place".into()
        }
        _ => return None,
    };
    Some(next)
}

pub(super) fn one(report: &Report, next: Option<&str>, out: &mut dyn Write) -> io::Result<()> {
    let verdict = match report.verdict() {
        Verdict::Trusted => "trusted  ",
        Verdict::NotTrusted => "not trusted  ",
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
    for anchor in &report.anchors {
        if report.anchors.len() > 1 {
            let verdict = anchor.verdict().as_str();
            writeln!(out, "  anchor {} for {}: {verdict}", clean(&anchor.anchor), anchor.collection)?;
        }
        checks(&anchor.checks, width, out)?;
        sources(&anchor.sources, width, out)?;
    }
    Ok(())
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
    all.map(|c| c.code.as_str().len()).max().unwrap_or(0)
}

pub(super) fn as_json(report: &Report, next: Option<&str>) -> Value {
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
    })
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
