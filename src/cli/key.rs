//! `bulla key`: keys as files.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::args::PasswordArgs;
use super::context::Context;
use super::error::CliError;
use super::render::{Outcome, columns};
use crate::keys::{self, KeyEntry, KeyError, KeyName, KeyRef, KmsRef, Listed, MemorySigner};
use crate::sig::{PublicKey, Scheme};

/// Generate, list, show, import and export keys
///
/// Keys are PEM files in the key folder: NAME.pem (private, encrypted unless asked otherwise) and NAME.pub. No network.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a key
    #[command(after_long_help = "Example:\n  bulla key generate app-online --type ed25519")]
    Generate {
        /// Name of the new key: 1 to 64 of a-z A-Z 0-9 . _ -
        name: KeyName,
        /// Kind of key
        #[arg(long = "type", value_name = "TYPE", default_value = "ed25519")]
        kind: Kind,
        #[command(flatten)]
        password: PasswordArgs,
        /// Write the private key without a password
        #[arg(long, conflicts_with = "password_stdin")]
        dangerously_unencrypted: bool,
    },
    /// List the keys of the key folder
    List,
    /// Show a public key and its id
    #[command(after_long_help = "Example:\n  bulla key show app-online\n  bulla key show ./elsewhere.pem")]
    Show {
        /// Name of a key in the key folder, or path of a PEM file (contains a slash or ends in .pem, .pub or .key)
        key: KeyRef,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Keep a key that openssl or cosign made, or a name for a key in a KMS
    #[command(
        after_long_help = "Examples:\n  bulla key import release.pem app-releases\n  bulla key import hashivault://app-online app-online"
    )]
    Import {
        /// PEM file: PRIVATE KEY, ENCRYPTED PRIVATE KEY, ENCRYPTED SIGSTORE PRIVATE KEY or PUBLIC KEY; or PLUGIN://KEY
        #[arg(value_name = "FILE")]
        from: PathBuf,
        /// Name of the key here; the file's name without its ending if not given (of a key in a KMS it must be)
        name: Option<KeyName>,
        #[command(flatten)]
        password: PasswordArgs,
        /// Keep the private key without a password
        #[arg(long)]
        dangerously_unencrypted: bool,
    },
    /// Write a key as another program's key file
    ///
    /// FILE and, with the ending .pub, the public key. An encrypted key keeps its password.
    #[command(after_long_help = "Example:\n  bulla key export release cosign.key")]
    Export {
        /// Name of a key in the key folder, or path of a key file
        key: KeyRef,
        /// The file to write, as cosign.key; it must not be there yet
        file: PathBuf,
        /// Whose form it has
        #[arg(long, value_name = "FORM", default_value = "cosign")]
        form: FileForm,
        #[command(flatten)]
        password: PasswordArgs,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FileForm {
    /// cosign's key file: ENCRYPTED SIGSTORE PRIVATE KEY
    Cosign,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// Ed25519 (RFC 8032)
    Ed25519,
    /// ECDSA on P-256 with SHA-256
    EcdsaP256,
    /// ECDSA on P-384 with SHA-384
    EcdsaP384,
    /// RSA-PSS of 3072 bits with SHA-256
    #[value(name = "rsa-3072")]
    Rsa3072,
}

pub(super) fn run(args: Args, cx: &mut Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    let folder = cx.keys();
    match args.action {
        Action::Generate { name, kind, password, dangerously_unencrypted } => {
            folder.free(&name)?;
            let password = if dangerously_unencrypted {
                None
            } else {
                let chosen = cx.passwords(password)?.choosing(name.as_str());
                Some(chosen.map_err(|e| CliError::password(name.as_str(), &e))?)
            };
            let key = MemorySigner::generate(kind.scheme())?;
            Ok(Box::new(One { verb: "generated", entry: folder.keep(&name, &key, password.as_ref())? }))
        }
        Action::List => Ok(Box::new(List(folder.list()?))),
        Action::Show { key, password } => {
            let mut entry = folder.look(&key)?;
            if entry.public.is_none() {
                let opened = keys::open(&key, &folder, &cx.passwords(password)?)?;
                opened.warnings.iter().for_each(|w| cx.note(w.code(), w));
                entry.public = Some(opened.signer.public_key().clone());
            }
            Ok(Box::new(Show(entry)))
        }
        Action::Export { key, file, form: FileForm::Cosign, password } => {
            if file.extension().is_some_and(|e| e == "pub") {
                return Err(CliError::usage(format!("{} is the name of a public key", file.display())).next(
                    "name the private key's file, as cosign.key: the public key is written beside it",
                ));
            }
            let entry = folder.export_cosign(&key, &file, &cx.passwords(password)?)?;
            Ok(Box::new(One { verb: "exported", entry }))
        }
        Action::Import { from: file, name, password, dangerously_unencrypted } => {
            if let Some(kms) = file.to_str().filter(|s| s.contains("://")).map(str::parse::<KmsRef>) {
                let kms = kms?;
                let name = name.ok_or_else(|| {
                    CliError::usage(format!("{kms} needs a name here"))
                        .next(format!("bulla key import {kms} NAME"))
                })?;
                return Ok(Box::new(One { verb: "imported", entry: folder.keep_kms(&name, &kms)? }));
            }
            let name = match name {
                Some(name) => name,
                None => name_from(&file)?,
            };
            let passwords = cx.passwords(password)?;
            let entry = folder.import(&file, &name, &passwords, dangerously_unencrypted)?;
            Ok(Box::new(One { verb: "imported", entry }))
        }
    }
}

impl Kind {
    fn scheme(self) -> Scheme {
        match self {
            Self::Ed25519 => Scheme::Ed25519,
            Self::EcdsaP256 => Scheme::EcdsaP256,
            Self::EcdsaP384 => Scheme::EcdsaP384,
            Self::Rsa3072 => Scheme::RsaPss,
        }
    }
}

fn name_from(file: &std::path::Path) -> Result<KeyName, CliError> {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let named: Result<KeyName, KeyError> = stem.parse();
    named.map_err(|e| CliError::from(e).next("give the name: bulla key import FILE NAME"))
}

/// A key that was made or imported.
struct One {
    verb: &'static str,
    entry: KeyEntry,
}

/// All keys.
struct List(Vec<Listed>);

/// One key with its public half.
struct Show(KeyEntry);

impl Outcome for One {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut row = vec![self.verb.to_owned()];
        row.extend(cells(&self.entry));
        columns(out, &[row])?;
        writeln!(out, "          {}", self.entry.file.display())
    }

    fn json(&self) -> Value {
        json!({"keys": [as_json(&self.entry)]})
    }
}

impl Outcome for List {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let row = |l: &Listed| match &l.entry {
            Ok(entry) => cells(entry),
            Err(e) => vec![l.name.to_string(), "UNREADABLE".to_owned(), e.to_string()],
        };
        columns(out, &self.0.iter().map(row).collect::<Vec<_>>())
    }

    fn json(&self) -> Value {
        let one = |l: &Listed| match &l.entry {
            Ok(entry) => as_json(entry),
            Err(e) => json!({"name": l.name.as_str(), "error": e.to_string()}),
        };
        json!({"keys": self.0.iter().map(one).collect::<Vec<_>>()})
    }
}

impl Outcome for Show {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        columns(out, &[cells(&self.0)])?;
        match &self.0.public {
            Some(public) => out.write_all(public.to_pem().as_bytes()),
            None => Ok(()),
        }
    }

    fn json(&self) -> Value {
        json!({"keys": [as_json(&self.0)]})
    }
}

fn cells(entry: &KeyEntry) -> Vec<String> {
    let (kind, id) = match &entry.public {
        Some(public) => (type_of(public), public.key_id().to_string()),
        None => ("?".to_owned(), "id unknown without the password (bulla key show)".to_owned()),
    };
    let protection = match (&entry.kms, entry.private, entry.encrypted) {
        (Some(kms), ..) => kms.to_string(),
        (None, false, _) => "public key only".to_owned(),
        (None, true, true) => "encrypted".to_owned(),
        (None, true, false) => "NOT ENCRYPTED".to_owned(),
    };
    vec![entry.name.clone(), kind, id, protection]
}

fn as_json(entry: &KeyEntry) -> Value {
    let public = entry.public.as_ref();
    json!({
        "name": entry.name,
        "type": public.map(type_of),
        "keyId": public.map(PublicKey::key_id),
        "encrypted": entry.encrypted,
        "private": entry.private,
        "file": entry.file.to_string_lossy(),
        "kms": entry.kms.as_ref().map(ToString::to_string),
        "publicKey": public.map(PublicKey::to_pem),
    })
}

/// The word that `--type` takes; an imported RSA key may have another size.
fn type_of(key: &PublicKey) -> String {
    match key.scheme() {
        Scheme::Ed25519 => "ed25519".to_owned(),
        Scheme::EcdsaP256 => "ecdsa-p256".to_owned(),
        Scheme::EcdsaP384 => "ecdsa-p384".to_owned(),
        Scheme::RsaPss => format!("rsa-{}", key.modulus_bits().unwrap_or_default()),
    }
}
