//! `bulla in-toto layout`: who may carry out which step, written down and signed by the owners.

mod show;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser as _;
use clap::{ArgGroup, Subcommand};
use serde_json::{Value, json};

use super::form_word;
use super::recording::signing;
use crate::cli::args::{FormatWord, PasswordArgs, document_word};
use crate::cli::context::Context;
use crate::cli::error::{CliError, Exit};
use crate::cli::render::{Outcome, clean};
use crate::cli::sign::read_file;
use crate::client::provenance::description::{Description, DescriptionError, MAX_DESCRIPTION};
use crate::client::provenance::preset::{Functionary, Preset, PresetError, Terms};
use crate::client::provenance::signed;
use crate::intoto::{Document, Envelope, IntotoError, Key, Layout};
use crate::keys::{self, KeyRef};
use crate::oci::Repository;
use crate::sig::KeyId;
use crate::time::UnixTime;
use crate::trust::Duration;

/// Write, sign and explain layouts: who may carry out which step, and what it may take and give
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a layout from a short description, or from a preset
    #[command(
        group = ArgGroup::new("what").required(true).args(["description", "preset"]),
        group = ArgGroup::new("whither").required(true).args(["output", "describe"]),
        after_long_help = "Examples:\n  bulla in-toto layout new release.toml --output release.layout --key owner\n  bulla in-toto layout new --preset build-package --by builder=builder.pub --by packager=packager.pub --output release.layout --key owner"
    )]
    New {
        /// The description, in TOML
        #[arg(value_name = "DESCRIPTION")]
        description: Option<PathBuf>,
        /// A ready-made description
        #[arg(long, value_name = "NAME", value_parser = preset_word())]
        preset: Option<Preset>,
        /// With --preset: who does that part, by a public key (repeatable; several for one part)
        #[arg(long, value_name = "PART=KEY", requires = "preset", value_parser = part::<KeyRef>)]
        by: Vec<(String, KeyRef)>,
        /// With --preset: how many of the part's keys must sign; otherwise 1
        #[arg(long, value_name = "PART=N", requires = "preset", value_parser = part::<u32>)]
        threshold: Vec<(String, u32)>,
        /// With --preset: the name of the bundle that is packaged; without it, files below package/
        #[arg(long, value_name = "NAME", requires = "preset")]
        bundle: Option<Repository>,
        /// With --preset: a file that the step must give, and the next one take (repeatable)
        #[arg(long, value_name = "STEP=FILE", requires = "preset", value_parser = part::<String>)]
        require: Vec<(String, String)>,
        /// With --preset: how long the layout counts
        #[arg(long, value_name = "SPAN", requires = "preset", default_value = "365d")]
        expires: Duration,
        /// Write the layout into FILE, which must not be there yet
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Print the preset's description, to be changed by hand
        #[arg(long, requires = "preset", conflicts_with = "key")]
        describe: bool,
        /// Sign it with an owner's key at once (repeatable)
        #[arg(long, value_name = "KEY")]
        key: Vec<KeyRef>,
        /// The layout's form, and how the result is printed: classic unless told otherwise, and text or json beside it
        #[arg(long, value_name = "FORMAT", default_value = "classic", action = clap::ArgAction::Append, value_parser = document_word(), help_heading = None)]
        format: Vec<FormatWord>,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Add an owner's signature to a layout
    ///
    /// Several owners sign one file, one after the other, each where their key is. What is signed stays byte for byte.
    #[command(after_long_help = "Example:\n  bulla in-toto layout sign release.layout --key second-owner")]
    Sign {
        /// The layout
        file: PathBuf,
        /// An owner's key (repeatable)
        #[arg(long, value_name = "KEY", required = true)]
        key: Vec<KeyRef>,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Explain a layout: who signed it, and what each step asks for
    #[command(after_long_help = "Example:\n  bulla in-toto layout show release.layout --key owner.pub")]
    Show {
        /// The layout
        file: PathBuf,
        /// An owner's public key, with which a signature is checked (repeatable)
        #[arg(long, value_name = "KEY")]
        key: Vec<KeyRef>,
    },
}

pub(super) fn run(args: Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    match args.action {
        Action::New {
            description,
            preset,
            by,
            threshold,
            bundle,
            require,
            expires,
            output,
            describe: _,
            key,
            format,
            password,
        } => {
            let form = FormatWord::document(&format)?;
            let terms = Terms {
                expires: expires.to_string(),
                bundle: bundle.map(|name| name.to_string()),
                required: require,
            };
            let (text, folder) = match (&description, preset) {
                (Some(file), _) => (read_text(file)?, file.parent().map(Path::to_owned)),
                (None, Some(preset)) => (from_preset(preset, by, threshold, terms)?, None),
                (None, None) => return Err(CliError::usage("name a description or a --preset")),
            };
            let Some(output) = output else { return Ok(Box::new(Described(text))) };
            let described = Description::parse(&text).map_err(|e| refused(description.as_deref(), e))?;
            let now = cx.now();
            let mut find = |value: &str| public_key(cx, value, folder.as_deref());
            let made = described.layout(now, &mut find);
            let (layout, concerns) = made.map_err(|e| refused(description.as_deref(), e))?;
            concerns.iter().for_each(|c| cx.note("in-toto.layout", c));
            let envelope = Envelope::draft(form, &Document::Layout(layout.clone()));
            let made = sign_with(cx, envelope, &key, password)?;
            signed::write_new(&made.envelope, &output)?;
            Ok(Box::new(Made { verb: "wrote", file: output, layout, made }))
        }
        Action::Sign { file, key, password } => {
            let envelope = signed::read(&file)?;
            let layout = layout_of(&file, &envelope)?;
            if layout.is_expired(cx.now()) {
                return Err(CliError::new(
                    Exit::No,
                    "in-toto.expired",
                    "the layout counts no more; nothing was signed",
                )
                .reason(format!("it expired at {}", layout.expires))
                .next("make it anew with a later expires: bulla in-toto layout new"));
            }
            let made = sign_with(cx, envelope, &key, password)?;
            if made.fresh() {
                signed::write(&made.envelope, &file)?;
            }
            Ok(Box::new(Made { verb: "signed", file, layout, made }))
        }
        Action::Show { file, key } => show::run(&file, &key, cx),
    }
}

/// An envelope, and what became of each owner's signature.
struct Signatures {
    envelope: Envelope,
    /// The key, and whether it had signed before.
    keys: Vec<(KeyId, bool)>,
}

impl Signatures {
    fn fresh(&self) -> bool {
        self.keys.iter().any(|(_, before)| !before)
    }
}

/// Sign with each key that has not signed yet.
fn sign_with(
    cx: &mut Context<'_, '_>,
    mut envelope: Envelope,
    keys: &[KeyRef],
    password: PasswordArgs,
) -> Result<Signatures, CliError> {
    let passwords = cx.passwords(password)?;
    let mut signers = Vec::new();
    for key in keys {
        let opened = keys::open(key, &cx.keys(), &passwords)?;
        opened.warnings.iter().for_each(|w| cx.note(w.code(), w));
        signers.push(opened.signer);
    }
    let mut done = Vec::new();
    for signer in &signers {
        let key = signer.public_key();
        let before = envelope.signed_by(&Key::from(key.clone())).is_some();
        if !before {
            envelope = signing(signed::sign(envelope, &**signer))?;
        }
        done.push((key.key_id(), before));
    }
    Ok(Signatures { envelope, keys: done })
}

fn layout_of(file: &Path, envelope: &Envelope) -> Result<Layout, CliError> {
    envelope.unverified().and_then(Document::into_layout).map_err(|e| no_layout(file, &e))
}

fn no_layout(file: &Path, e: &IntotoError) -> CliError {
    CliError::new(Exit::No, "in-toto.document", format!("{} is no layout", file.display()))
        .reason(e)
        .next("name a file that bulla in-toto layout new or the reference wrote")
}

fn refused(file: Option<&Path>, e: DescriptionError) -> CliError {
    let what = file.map_or_else(|| "the preset".to_owned(), |f| f.display().to_string());
    CliError::new(Exit::Usage, "in-toto.description", format!("{what} makes no layout; nothing was written"))
        .reason(e)
        .next("mend the description; docs/commands/in-toto.md shows the form")
}

fn read_text(file: &Path) -> Result<String, CliError> {
    let bytes = read_file(file, MAX_DESCRIPTION)?;
    String::from_utf8(bytes).map_err(|_| CliError::io("read", file, "it is not UTF-8"))
}

/// `PART=VALUE`.
fn part<T: FromStr<Err: std::fmt::Display>>(text: &str) -> Result<(String, T), String> {
    let (name, value) = text.split_once('=').ok_or("write PART=VALUE, as builder=builder.pub")?;
    Ok((name.to_owned(), value.parse().map_err(|e: T::Err| e.to_string())?))
}

fn preset_word() -> impl clap::builder::TypedValueParser<Value = Preset> {
    let names = Preset::ALL.map(Preset::as_str);
    PossibleValuesParser::new(names)
        .map(|name| Preset::ALL.into_iter().find(|p| p.as_str() == name).unwrap_or(Preset::BuildPackage))
}

fn from_preset(
    preset: Preset,
    by: Vec<(String, KeyRef)>,
    threshold: Vec<(String, u32)>,
    terms: Terms,
) -> Result<String, CliError> {
    let mut people: BTreeMap<String, Functionary> = BTreeMap::new();
    for (part, key) in by {
        let who = people.entry(part).or_insert_with(|| Functionary { keys: Vec::new(), threshold: 1 });
        who.keys.push(key.to_string());
    }
    for (part, n) in threshold {
        let who = people.get_mut(&part).ok_or_else(|| {
            CliError::usage(format!("--threshold {part}={n}: nobody is named for {part}"))
                .next(format!("add --by {part}=KEY"))
        })?;
        who.threshold = n;
    }
    preset.describe(&terms, &people).map_err(|e| {
        let wants = preset.parts().iter().map(|p| format!("--by {p}=KEY")).collect::<Vec<_>>().join(" ");
        let next = match e {
            PresetError::NoBundle => "add --bundle NAME, the repository's name".to_owned(),
            PresetError::Pattern(_) => "name one file, as --require build=out/app".to_owned(),
            _ => format!("it takes {wants}, and --require for {}", preset.steps().join(", ")),
        };
        CliError::usage(format!("the preset {} cannot be made so", preset.as_str())).reason(e).next(next)
    })
}

/// What stands behind a value of `[keys]`: PEM, the name of a key in the key folder, or a file beside the description.
fn public_key(cx: &Context<'_, '_>, value: &str, folder: Option<&Path>) -> Result<Key, String> {
    if value.contains("-----BEGIN ") {
        return Key::from_pem(value).map_err(|e| e.to_string());
    }
    let reference: KeyRef = value.parse().map_err(|e: keys::KeyError| e.to_string())?;
    let reference = match (reference, folder) {
        (KeyRef::File(path), Some(folder)) if path.is_relative() => KeyRef::File(folder.join(path)),
        (reference, _) => reference,
    };
    let entry = cx.keys().look(&reference).map_err(|e| e.to_string())?;
    let public = entry.public.ok_or("its public key is not known without a password: name the .pub file")?;
    Ok(public.into())
}

/// A layout that was written or signed.
struct Made {
    verb: &'static str,
    file: PathBuf,
    layout: Layout,
    made: Signatures,
}

impl Outcome for Made {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let verb = if self.verb == "signed" && !self.made.fresh() { "there" } else { self.verb };
        writeln!(out, "{verb:<9} {}", clean(&self.file.to_string_lossy()))?;
        let n = self.layout.steps.len();
        writeln!(
            out,
            "          {n} step{}, expires {}",
            if n == 1 { "" } else { "s" },
            self.layout.expires
        )?;
        for (key, before) in &self.made.keys {
            writeln!(out, "          {} {key}", if *before { "was signed by" } else { "signed by" })?;
        }
        match self.made.envelope.signatures() {
            [] => writeln!(out, "          nobody has signed it yet"),
            _ => Ok(()),
        }
    }

    fn json(&self) -> Value {
        let keys: Vec<Value> =
            self.made.keys.iter().map(|(id, before)| json!({"keyId": id, "before": before})).collect();
        json!({
            "file": self.file.to_string_lossy(),
            "form": form_word(self.made.envelope.form()),
            "expires": self.layout.expires.to_string(),
            "steps": self.layout.steps.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(),
            "signed": keys,
            "signatures": self.made.envelope.signatures().len(),
        })
    }
}

/// A preset's description, as text.
struct Described(String);

impl Outcome for Described {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(self.0.as_bytes())
    }

    fn json(&self) -> Value {
        json!({"description": self.0})
    }
}

/// How far off a time is.
fn left(expires: UnixTime, now: UnixTime) -> String {
    let secs = expires.secs() - now.secs();
    match secs {
        ..=0 => format!("EXPIRED {} ago", crate::cli::render::span(-secs)),
        _ => format!("in {}", crate::cli::render::span(secs)),
    }
}
