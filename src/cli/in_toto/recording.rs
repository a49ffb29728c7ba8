//! What is recorded, and with which key: flags of `run` and `record`.

use std::path::PathBuf;
use std::sync::Arc;

use crate::cli::context::{Context, block_on, block_on_and_tidy};
use crate::cli::error::CliError;
use crate::cli::registry::KeyedRegistryArgs;
use crate::client::places::Places as _;
use crate::client::provenance::artifacts::{Recorded, Recording};
use crate::client::provenance::{Exclude, ProvenanceError, bundle};
use crate::intoto::{Artifacts, StepName};
use crate::keys::{self, KeyRef, Passwords, Signer};
use crate::oci::{Reference, Repository};

/// How files become artifacts.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Files")]
pub(super) struct FileArgs {
    /// Leave out what fits this pattern of .gitignore (repeatable); otherwise *.link*, .git, *.pyc and *~
    #[arg(long, value_name = "PATTERN", num_args = 1..)]
    exclude: Vec<String>,
    /// Record paths relative to DIR; the command still runs here
    #[arg(long, value_name = "DIR", default_value = ".")]
    base_path: PathBuf,
    /// Take this beginning off names (repeatable)
    #[arg(long, value_name = "PREFIX", num_args = 1..)]
    lstrip_paths: Vec<String>,
    /// Hash as if every line ended with a line feed alone
    #[arg(long)]
    normalize_line_endings: bool,
}

/// Who signs, and where the link is written.
#[derive(Debug, clap::Args)]
pub(super) struct LinkArgs {
    /// The step's name in the layout
    #[arg(long, value_name = "NAME")]
    pub(super) step: StepName,
    /// The key of who carries it out: a name, a file or PLUGIN://KEY
    #[arg(long, value_name = "KEY")]
    key: KeyRef,
    /// Write the link into DIR
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(super) metadata_directory: PathBuf,
}

impl FileArgs {
    pub(super) fn recording(&self) -> Result<Recording, CliError> {
        let overlap = self.lstrip_paths.iter().enumerate().find_map(|(i, a)| {
            let others = &self.lstrip_paths[i + 1..];
            others.iter().find(|b| a.starts_with(*b) || b.starts_with(a)).map(|b| (a, b))
        });
        if let Some((a, b)) = overlap {
            return Err(CliError::usage("two --lstrip-paths begin alike")
                .reason(format!("{a} and {b}: which of them is taken off would be chance"))
                .next("name prefixes of which none begins another"));
        }
        Ok(Recording {
            base: self.base_path.clone(),
            exclude: Exclude::new(&self.exclude).map_err(ProvenanceError::from)?,
            strip: self.lstrip_paths.clone(),
            normalize_line_endings: self.normalize_line_endings,
        })
    }
}

impl LinkArgs {
    /// Open the key.
    pub(super) fn signer(
        &self,
        cx: &mut Context<'_, '_>,
        passwords: &Passwords,
    ) -> Result<Arc<dyn Signer>, CliError> {
        let opened = keys::open(&self.key, &cx.keys(), passwords)?;
        opened.warnings.iter().for_each(|w| cx.note(w.code(), w));
        Ok(opened.signer.into())
    }
}

/// Bundles among the artifacts.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Bundles")]
pub(super) struct BundleArgs {
    /// Record this bundle by its digest as the product oci:NAME, of a CNAB bundle also bundle.json (repeatable)
    #[arg(long, value_name = "REF")]
    product_bundle: Vec<Reference>,
    /// The bundle's name: where it is to be found later, if not where it lies now; needed in an OCI layout
    #[arg(long = "as", value_name = "NAME", requires = "product_bundle")]
    named: Option<Repository>,
    #[command(flatten)]
    registry: KeyedRegistryArgs,
}

impl BundleArgs {
    /// Where passwords of keys come from.
    pub(super) fn passwords(&self, cx: &mut Context<'_, '_>) -> Result<Passwords, CliError> {
        self.registry.clone().registry().passwords(cx)
    }

    /// What is wrong with the command line, before anything is run.
    pub(super) fn judge(&self) -> Result<(), CliError> {
        if self.named.is_some() && self.product_bundle.len() > 1 {
            return Err(CliError::usage("--as names one bundle, and several are recorded")
                .next("record each with a step of its own, or leave --as out"));
        }
        match self.product_bundle.iter().find(|r| r.selector().is_none()) {
            Some(reference) => Err(CliError::no_selector(reference)),
            None => Ok(()),
        }
    }

    /// Record the bundles, after the command: the command may have pushed them.
    pub(super) fn record(&self, cx: &mut Context<'_, '_>, into: &mut Artifacts) -> Result<(), CliError> {
        if self.product_bundle.is_empty() {
            return Ok(());
        }
        let references: Vec<&Reference> = self.product_bundle.iter().collect();
        let places = self.registry.clone().registry().places(cx, &references)?;
        let all = block_on_and_tidy(places.hosts(), async {
            let mut all = Vec::new();
            for reference in &references {
                let store = places.open(reference).await?;
                all.push(bundle::record(&*store, reference, self.named.as_ref()).await?.1);
            }
            Ok::<_, CliError>(all)
        })??;
        all.into_iter().try_for_each(|more| bundle::add(into, more))?;
        Ok(())
    }
}

/// Record files; what was passed over is said.
pub(super) fn record(
    cx: &mut Context<'_, '_>,
    recording: &Recording,
    paths: &[String],
) -> Result<Artifacts, CliError> {
    let Recorded { artifacts, skipped } = recording.record(paths)?;
    for name in skipped {
        cx.note("in-toto.skipped", format!("{name} is no file, and was not recorded"));
    }
    Ok(artifacts)
}

/// A list with nothing in it meets most rules of a layout.
pub(super) fn note_if_empty(cx: &mut Context<'_, '_>, side: &'static str, artifacts: &Artifacts) {
    if artifacts.is_empty() {
        cx.note("in-toto.nothing", format!("the link lists no {side}"));
    }
}

/// Run what a key signs.
pub(super) fn signing<T>(work: impl Future<Output = Result<T, ProvenanceError>>) -> Result<T, CliError> {
    Ok(block_on(work)??)
}
