//! `bulla inspect`: decode a state, a seal or any manifest.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::args::Format;
use super::context::{Context, block_on};
use super::error::{CliError, Exit, absent};
use super::registry::RegistryArgs;
use super::render::{Outcome, clean, size};
use crate::client::inspect::{Artifact, Bundle, InspectError, Inspected, RoleIn, inspect};
use crate::client::places::Places as _;
use crate::oci::{Descriptor, Digest, Reference};

/// Decode a state, a seal or any manifest
///
/// A repository shows every collection state in it and the submissions that wait; a reference shows what it names. Nothing
/// is judged: what is shown is what the artifact says.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  bulla inspect registry.example.com/team/app\n  bulla inspect registry.example.com/team/app:v1\n  bulla inspect registry.example.com/team/app:bulla.3f1c09a2b47de085 --file 1.root.json"
)]
pub(super) struct Args {
    /// A bundle, state, seal or submission; or a repository or OCI layout
    #[arg(value_name = "REF|REPO")]
    reference: Reference,
    /// Print one file as it lies there, byte for byte, and nothing else (not with --format json)
    #[arg(long, value_name = "NAME")]
    file: Option<String>,
    #[command(flatten)]
    registry: RegistryArgs,
}

pub(super) fn run(
    args: Args,
    format: Format,
    cx: &mut Context<'_, '_>,
) -> Result<Box<dyn Outcome>, CliError> {
    if args.file.is_some() && format == Format::Json {
        return Err(
            CliError::usage("--file prints the file as it is, not JSON").next("leave one of them out")
        );
    }
    let places = args.registry.places(cx, &[&args.reference])?;
    let found = block_on(async {
        let store = places.open(&args.reference).await?;
        inspect(&*store, &args.reference).await
    })??;
    if let Some(name) = &args.file {
        return file(&found, name);
    }
    let problem = problems(&found);
    if let Inspected::Repository { states, .. } = &found
        && states.is_empty()
    {
        return Err(CliError::failed("ref.absent", format!("there is no state at {}", args.reference))
            .reason("no tag there is one of a state (bulla.…)")
            .next("name a bundle with its tag or digest, or the place given to bulla init --at"));
    }
    Ok(Box::new(Shown { reference: args.reference, found, problem }))
}

/// One file, raw.
fn file(found: &Inspected, name: &str) -> Result<Box<dyn Outcome>, CliError> {
    let Inspected::Artifact(artifact) = found else {
        return Err(CliError::new(Exit::Usage, "inspect.file", "only a state, seal or submission has files")
            .next("name one by its tag or digest; without --file the repository shows which there are"));
    };
    match artifact.files.iter().find(|f| f.name == name) {
        Some(file) => Ok(Box::new(Raw(file.bytes.to_vec()))),
        None => {
            let names: Vec<&str> = artifact.files.iter().map(|f| f.name.as_str()).collect();
            Err(CliError::new(Exit::Usage, "inspect.file", format!("there is no file {name} in it"))
                .reason(format!("files: {}", names.join(", "))))
        }
    }
}

fn problems(found: &Inspected) -> Option<CliError> {
    let of = |a: &Artifact| a.problems.clone();
    let all: Vec<(String, String)> = match found {
        Inspected::Repository { states, submissions, .. } => {
            states.iter().chain(submissions).flat_map(of).collect()
        }
        Inspected::Artifact(artifact) => of(artifact),
        Inspected::Bundle(_) => Vec::new(),
    };
    let lines: Vec<String> = all.iter().map(|(name, why)| format!("{name}: {why}")).collect();
    (!lines.is_empty()).then(|| {
        CliError::failed("inspect.invalid", "not everything could be decoded").reason(lines.join("; "))
    })
}

struct Raw(Vec<u8>);

struct Shown {
    reference: Reference,
    found: Inspected,
    problem: Option<CliError>,
}

impl Outcome for Raw {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(&self.0)
    }

    fn json(&self) -> Value {
        Value::Null
    }
}

impl Outcome for Shown {
    fn error(&self) -> Option<&CliError> {
        self.problem.as_ref()
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        match &self.found {
            Inspected::Repository { states, submissions, more } => {
                states.iter().try_for_each(|a| artifact_text(a, out))?;
                submissions.iter().try_for_each(|a| artifact_text(a, out))?;
                match submissions.len() + more {
                    0 => writeln!(out, "no submissions"),
                    _ if *more > 0 => writeln!(out, "and {more} more submissions"),
                    _ => Ok(()),
                }
            }
            Inspected::Artifact(artifact) => artifact_text(artifact, out),
            Inspected::Bundle(bundle) => bundle_text(&self.reference, bundle, out),
        }
    }

    fn json(&self) -> Value {
        match &self.found {
            Inspected::Repository { states, submissions, more } => json!({
                "kind": "repository",
                "reference": self.reference.to_string(),
                "states": states.iter().map(artifact_json).collect::<Vec<_>>(),
                "submissions": submissions.iter().map(artifact_json).collect::<Vec<_>>(),
                "more": more,
            }),
            Inspected::Artifact(artifact) => artifact_json(artifact),
            Inspected::Bundle(bundle) => bundle_json(&self.reference, bundle),
        }
    }
}

fn artifact_text(a: &Artifact, out: &mut dyn Write) -> io::Result<()> {
    let reference = clean(&a.reference.to_string());
    writeln!(out, "{:<10} {reference}   {}   not verified", a.word(), a.descriptor.digest)?;
    if let Some(collection) = &a.collection {
        writeln!(out, "  names    {}", clean(collection))?;
    }
    if let Some(subject) = &a.subject {
        writeln!(out, "  on       {subject}")?;
    }
    let width = a.roles.iter().map(|r| r.role.chars().count()).max().unwrap_or(0);
    a.roles.iter().try_for_each(|r| role_text(r, width, out))?;
    for f in a.files.iter().filter(|f| !f.name.ends_with(".json") || f.name.contains('/')) {
        writeln!(out, "  file     {}  {}", clean(&f.name), size(f.bytes.len() as u64))?;
    }
    a.problems.iter().try_for_each(|(name, why)| writeln!(out, "  invalid  {}: {}", clean(name), clean(why)))
}

fn role_text(r: &RoleIn, width: usize, out: &mut dyn Write) -> io::Result<()> {
    let version = r.version.map_or_else(|| "?".to_owned(), |v| v.to_string());
    let expires = clean(r.expires.as_deref().unwrap_or("?"));
    let signed: Vec<String> =
        r.signatures.iter().map(|k| clean(&k.chars().take(8).collect::<String>())).collect();
    let of = r.threshold.map(|t| format!("{t} of {}: ", r.keys.len())).unwrap_or_default();
    let mut line = format!(
        "  {:<width$}  {version:<10}  expires {expires}   {of}signed by {}",
        clean(&r.role),
        signed.join(", ")
    );
    if !r.delegates.is_empty() {
        line.push_str(&format!("   delegates {}", clean(&r.delegates.join(", "))));
    }
    writeln!(out, "{line}")?;
    for (name, target) in &r.targets {
        let about = &target["custom"]["bulla"];
        let hash = target["hashes"]["sha256"]
            .as_str()
            .or_else(|| target["hashes"]["sha512"].as_str())
            .unwrap_or("?");
        let since = about["at"].as_str().map(|at| format!("   since {at}")).unwrap_or_default();
        writeln!(out, "    {}   {}{}", clean(name), clean(hash), clean(&since))?;
    }
    Ok(())
}

fn artifact_json(a: &Artifact) -> Value {
    let files = a.files.iter().map(|f| {
        json!({"name": f.name, "size": f.bytes.len(), "digest": Digest::sha256(&f.bytes), "inline": f.inline})
    });
    let roles = a.roles.iter().map(|r| {
        let targets = r.targets.iter().map(|(name, t)| {
            json!({
                "name": name, "sha256": t["hashes"]["sha256"], "sha512": t["hashes"]["sha512"],
                "length": t["length"], "custom": t["custom"],
            })
        });
        json!({
            "role": r.role, "version": r.version, "expires": r.expires, "at": r.at, "keys": r.keys,
            "threshold": r.threshold, "signatures": r.signatures, "delegates": r.delegates,
            "targets": targets.collect::<Vec<_>>(),
        })
    });
    json!({
        "kind": a.word(),
        "reference": a.reference.to_string(),
        "digest": a.descriptor.digest,
        "mediaType": a.descriptor.media_type,
        "artifactType": a.kind.artifact_type(),
        "verified": false,
        "collection": a.collection,
        "subject": a.subject,
        "files": files.collect::<Vec<_>>(),
        "roles": roles.collect::<Vec<_>>(),
        "problems": a.problems.iter().map(|(name, why)| json!({"name": name, "reason": why})).collect::<Vec<_>>(),
    })
}

fn bundle_text(reference: &Reference, b: &Bundle, out: &mut dyn Write) -> io::Result<()> {
    let m = &b.manifest;
    writeln!(out, "bundle    {}   {}   not verified", clean(&reference.to_string()), b.descriptor.digest)?;
    let kind = m.artifact_type.as_deref().map(|t| format!(", {t}")).unwrap_or_default();
    writeln!(
        out,
        "  type     {}{}, {}",
        clean(&b.descriptor.media_type),
        clean(&kind),
        size(b.descriptor.size)
    )?;
    if let Some(subject) = &m.subject {
        writeln!(out, "  subject  {}", subject.digest)?;
    }
    for (word, list) in
        [("config", &Vec::from_iter(m.config.clone())), ("layer", &m.layers), ("manifest", &m.manifests)]
    {
        for d in list {
            let platform =
                d.platform.as_ref().map(|p| format!("  {}", clean(&p.to_string()))).unwrap_or_default();
            let part = d.annotation(CNAB_TYPE).map(|t| format!("  CNAB {}", clean(t))).unwrap_or_default();
            writeln!(
                out,
                "  {word:<8} {}  {}  {}{platform}{part}",
                d.digest,
                clean(&d.media_type),
                size(d.size)
            )?;
        }
    }
    for (name, value) in &m.annotations {
        writeln!(out, "  {}: {}", clean(name), clean(value))?;
    }
    Ok(())
}

/// The annotation that says which part of a CNAB bundle an entry is (CNAB-Reg).
const CNAB_TYPE: &str = "io.cnab.manifest.type";

fn bundle_json(reference: &Reference, b: &Bundle) -> Value {
    let m = &b.manifest;
    let one = |d: &Descriptor| json!(d);
    json!({
        "kind": "bundle",
        "reference": reference.to_string(),
        "digest": b.descriptor.digest,
        "mediaType": b.descriptor.media_type,
        "artifactType": m.artifact_type,
        "size": b.descriptor.size,
        "verified": false,
        "subject": m.subject.as_ref().map(one),
        "config": m.config.as_ref().map(one),
        "layers": m.layers.iter().map(one).collect::<Vec<_>>(),
        "manifests": m.manifests.iter().map(one).collect::<Vec<_>>(),
        "annotations": m.annotations,
    })
}

impl From<InspectError> for CliError {
    fn from(e: InspectError) -> Self {
        match e {
            InspectError::Absent(reference) => absent(&reference),
            InspectError::Manifest(e) => e.into(),
            InspectError::State(crate::client::state::StateError::Store(e)) | InspectError::Store(e) => {
                e.into()
            }
            InspectError::State(e) => Self::failed("inspect.invalid", "it cannot be decoded").reason(e),
        }
    }
}
