//! `bulla verify`: is this a trusted release, here, now, and why?

mod files;
mod list;
mod next;
mod render;

use std::io::{self, Write};
use std::path::PathBuf;

use futures::stream::{self, StreamExt};
use serde_json::{Value, json};

use super::context::{Context, block_on};
use super::error::{CliError, Exit};
use super::registry::RegistryArgs;
use super::render::{Outcome, columns};
use crate::client::installed::{Done, Installed};
use crate::client::verify::{Asked, Looked, Verifier, VerifyError};
use crate::oci::Reference;
use crate::time::UnixTime;
use crate::trust::cnab::CnabFiles;
use crate::trust::{PredicateType, Report, Subject, Verdict};

pub(super) use files::hash_of;
pub(super) use next::next_step;
pub(super) use render::{as_json, one};

/// References that are verified side by side.
const WIDTH: usize = 16;
/// Up to so many references each report is shown whole; of more those that are not trusted.
const SHOWN: usize = 10;

/// Judge whether bundles are trusted releases, and say why
///
/// Nothing is trusted that was not configured with bulla trust (or made here by bulla init). By tag, a TUF anchor must say
/// that the tag names this digest now; by digest, that it is a release. With both, the digest decides. Signatures of cosign
/// and notation count where the scope asks for them; they speak of digests alone.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  bulla verify registry.example.com/team/app:v1\n  bulla verify oci:/media/stick:v1 --as example.com/team/app\n  bulla verify --from-file images.txt"
)]
pub(super) struct Args {
    /// Bundles: host/repository:tag, host/repository@sha256:…, oci:DIR:tag, oci-archive:FILE:tag
    #[arg(value_name = "REF", required_unless_present = "from_file")]
    references: Vec<Reference>,
    /// Verify what LIST names too, a reference a line; - is standard input
    #[arg(long, value_name = "LIST")]
    from_file: Option<PathBuf>,
    /// Judge as if the bundle lay under this name (for oci: and oci-archive: references)
    #[arg(long = "as", value_name = "NAME[:TAG]")]
    named: Option<Subject>,
    /// Also require an attestation of this type by a signer whom the scope trusts (repeatable): a short name as of bulla attest, or a URI
    #[arg(long, value_name = "TYPE")]
    attestation: Vec<PredicateType>,
    /// This thin CNAB bundle file must be the bundle's bundle.json
    #[arg(long, value_name = "FILE")]
    bundle_json: Option<PathBuf>,
    /// This thick CNAB archive must be the one that the publisher signed with the bundle
    #[arg(long, value_name = "FILE")]
    thick: Option<PathBuf>,
    /// This relocation map must place every image of the CNAB bundle, by its digest, in REF's repository
    #[arg(long, value_name = "FILE")]
    relocation_mapping: Option<PathBuf>,
    #[command(flatten)]
    registry: RegistryArgs,
}

pub(super) fn run(args: Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    let mut references = args.references;
    if let Some(path) = &args.from_file {
        references.extend(list::read(path, cx)?);
    }
    for reference in &references {
        if reference.selector().is_none() {
            return Err(VerifyError::NoSelector(reference.clone()).into());
        }
    }
    let files =
        files::read(args.bundle_json.as_deref(), args.thick.as_deref(), args.relocation_mapping.as_deref())?;
    if references.len() > 1 && files != CnabFiles::default() {
        return Err(CliError::usage("files of a CNAB bundle go with one reference")
            .next("verify the bundles one by one, each with its files"));
    }
    let asked = Asked { files, attestations: args.attestation };
    let named: Vec<&Reference> = references.iter().collect();
    let places = args.registry.places(cx, &named)?;
    let trust = cx.trust().load()?;
    let memory = cx.memory().to_owned();
    let verifier = Verifier {
        places: &places,
        trust: &trust,
        memory: &memory,
        now: cx.now(),
        clock_override: cx.clock_is_moved(),
        looked: &if references.len() > 1 { Looked::once() } else { Looked::default() },
    };
    let rows: Vec<Row> = block_on(async {
        let rows = stream::iter(&references).map(|reference| async {
            let end = verifier.verify_with(reference, args.named.as_ref(), &asked).await;
            let end = end.map_err(CliError::from).map(|report| {
                let next = next_step(&report, &trust);
                (Box::new(report), next)
            });
            Row { reference: reference.to_string(), end }
        });
        rows.buffered(WIDTH).collect().await
    })?;
    let reports = rows.iter().filter_map(|row| row.end.as_ref().ok());
    let trusted: Vec<Installed> = reports.filter_map(|(report, _)| installed(report, cx.now())).collect();
    cx.log_installed(&trusted);
    if rows.iter().all(|row| row.end.is_err())
        && let Some(Row { end: Err(e), .. }) = rows.first()
        && rows.len() == 1
    {
        return Err(e.clone());
    }
    Ok(Box::new(Verified::of(rows)))
}

/// A trusted bundle, for the log.
fn installed(report: &Report, at: UnixTime) -> Option<Installed> {
    let digest = report.digest.clone().filter(|_| report.verdict() == Verdict::Trusted)?;
    let by = report.anchors.iter().find(|a| a.verdict() == Verdict::Trusted);
    let (reference, collection) = (report.reference.clone(), by.map(|a| a.collection.clone()));
    Some(Installed { at, done: Done::Verified, reference, digest, collection })
}

/// One reference.
struct Row {
    reference: String,
    /// The report, and what to do about it.
    end: Result<(Box<Report>, Option<String>), CliError>,
}

struct Verified {
    rows: Vec<Row>,
    error: Option<CliError>,
}

impl Row {
    fn exit(&self) -> Exit {
        match &self.end {
            Err(e) => e.exit,
            Ok((report, _)) => match report.verdict() {
                Verdict::Trusted => Exit::Done,
                Verdict::NotTrusted | Verdict::NotChecked => Exit::No,
                Verdict::Undecided => Exit::Failed,
            },
        }
    }

    fn cells(&self) -> Vec<String> {
        match &self.end {
            Err(e) => vec![self.reference.clone(), "failed".into(), e.code.into()],
            Ok((report, _)) => {
                let digest = report.digest.as_ref().map(ToString::to_string).unwrap_or_default();
                let because = report.because().map(|check| check.code.as_str().to_owned());
                vec![self.reference.clone(), report.verdict().as_str().into(), because.unwrap_or(digest)]
            }
        }
    }

    fn json(&self) -> Value {
        match &self.end {
            Ok((report, next)) => as_json(report, next.as_deref()),
            Err(e) => json!({
                "reference": self.reference,
                "verdict": "failed",
                "error": {"code": e.code, "message": e.message, "reason": e.reason, "next": e.next},
            }),
        }
    }
}

impl Verified {
    fn of(rows: Vec<Row>) -> Self {
        // The first one is shown; the exit code is the worst of all.
        let error = rows.iter().find_map(|row| row.end.as_ref().err().cloned());
        Self { rows, error }
    }
}

impl Outcome for Verified {
    fn exit(&self) -> Exit {
        self.rows.iter().map(Row::exit).max().unwrap_or(Exit::Failed)
    }

    fn error(&self) -> Option<&CliError> {
        self.error.as_ref()
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let many = self.rows.len() > SHOWN;
        let reports = self.rows.iter().filter_map(|row| row.end.as_ref().ok());
        let shown = reports.filter(|(report, _)| !many || report.verdict() != Verdict::Trusted);
        for (i, (report, next)) in shown.enumerate() {
            if i > 0 {
                writeln!(out)?;
            }
            one(report, next.as_deref(), out)?;
        }
        if self.rows.len() > 1 {
            writeln!(out)?;
            columns(out, &self.rows.iter().map(Row::cells).collect::<Vec<_>>())?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        json!({"bundles": self.rows.iter().map(Row::json).collect::<Vec<_>>()})
    }
}
