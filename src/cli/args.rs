//! The command tree: what can be typed. Each command's own flags are in its file.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};

use super::error::CliError;
use super::{
    attach, audit, completion, copy, in_toto, init, inspect, key, login, logout, man, publish, renew, revoke,
    sign, status, tree, trust, tuf, verify,
};
use crate::client::sign::Form;
use crate::intoto::Form as DocumentForm;

/// Sign OCI bundles so that trust travels with them
///
/// TUF metadata, in-toto links and signatures hang on a bundle as OCI artifacts; a copy in another registry or in
/// an OCI layout on a stick still verifies.
#[derive(Debug, Parser)]
#[command(
    name = "bulla",
    version,
    term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(disable_help_subcommand = true)]
#[command(
    after_help = "Exit codes: 0 done, trusted; 1 no; 2 wrong command line; 3 could not decide or not done; 4 a fault in bulla"
)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Flags of every command.
#[derive(Debug, Clone, Args)]
pub(super) struct Global {
    /// Keep configuration, keys, memory and trust in DIR (also BULLA_HOME)
    #[arg(long, value_name = "DIR", global = true, help_heading = "Everywhere")]
    pub(super) home: Option<PathBuf>,
    /// How the result is printed
    #[arg(
        long,
        value_name = "FORMAT",
        global = true,
        default_value = "text",
        action = clap::ArgAction::Set,
        value_parser = output_word(),
        help_heading = "Everywhere"
    )]
    pub(super) format: Vec<FormatWord>,
}

/// How a result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// For people.
    Text,
    /// One JSON document.
    Json,
}

/// A word of `--format`: how a result is printed, and with `bulla sign` and `bulla in-toto` in which form is signed. One type,
/// because one flag has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum FormatWord {
    /// A Sigstore bundle, as cosign 3 reads it
    Sigstore,
    /// A JWS of the Notary Project
    Notation,
    /// A COSE envelope of the Notary Project
    NotationCose,
    /// The .sig tag of cosign 2, to which the signature is added
    CosignTag,
    /// A classic in-toto document: the canonical form of its JSON is signed
    Classic,
    /// A DSSE envelope of in-toto
    Dsse,
    /// For people
    Text,
    /// One JSON document, on failure too
    Json,
}

impl FormatWord {
    /// How the result is printed, where a word says so.
    pub(super) fn output(words: &[Self]) -> Option<Format> {
        let said = |word: &Self| match word {
            Self::Text => Some(Format::Text),
            Self::Json => Some(Format::Json),
            _ => None,
        };
        words.iter().find_map(said)
    }

    /// The form of signature; a Sigstore bundle where no word says one.
    ///
    /// # Errors
    /// Two words of one kind.
    pub(super) fn form(words: &[Self]) -> Result<Form, CliError> {
        let form = |word: &Self| match word {
            Self::Sigstore => Some(Form::Sigstore),
            Self::Notation => Some(Form::Notation),
            Self::NotationCose => Some(Form::NotationCose),
            Self::CosignTag => Some(Form::CosignTag),
            _ => None,
        };
        Ok(Self::one(words, form)?.unwrap_or(Form::Sigstore))
    }

    /// The form of a link or a layout; classic where no word says one.
    ///
    /// # Errors
    /// Two words of one kind.
    pub(super) fn document(words: &[Self]) -> Result<DocumentForm, CliError> {
        let form = |word: &Self| match word {
            Self::Classic => Some(DocumentForm::Classic),
            Self::Dsse => Some(DocumentForm::Dsse),
            _ => None,
        };
        Ok(Self::one(words, form)?.unwrap_or(DocumentForm::Classic))
    }

    fn one<F: Copy>(words: &[Self], form: impl Fn(&Self) -> Option<F>) -> Result<Option<F>, CliError> {
        let forms: Vec<F> = words.iter().filter_map(form).collect();
        match forms[..] {
            _ if words.len() > forms.len() + 1 => {
                Err(CliError::usage("--format names two ways to print the result"))
            }
            [] => Ok(None),
            [form] => Ok(Some(form)),
            _ => {
                Err(CliError::usage("--format names two forms of signature").next("sign once for each form"))
            }
        }
    }
}

/// The words that every command takes.
fn output_word() -> impl TypedValueParser<Value = FormatWord> {
    words_of(&[FormatWord::Text, FormatWord::Json])
}

/// The words of `bulla sign`.
pub(super) fn sign_word() -> impl TypedValueParser<Value = FormatWord> {
    use FormatWord::{CosignTag, Json, Notation, NotationCose, Sigstore, Text};
    words_of(&[Sigstore, Notation, NotationCose, CosignTag, Text, Json])
}

/// The words of commands that write links and layouts.
pub(super) fn document_word() -> impl TypedValueParser<Value = FormatWord> {
    words_of(&[FormatWord::Classic, FormatWord::Dsse, FormatWord::Text, FormatWord::Json])
}

fn words_of(words: &[FormatWord]) -> impl TypedValueParser<Value = FormatWord> + use<> {
    let possible = words.iter().filter_map(FormatWord::to_possible_value);
    PossibleValuesParser::new(possible).try_map(|word| FormatWord::from_str(&word, false))
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Init(init::Args),
    Publish(publish::Args),
    Renew(renew::Args),
    Revoke(revoke::Args),
    Sign(sign::Args),
    Attest(sign::AttestArgs),
    Attach(attach::Args),
    Verify(verify::Args),
    Status(status::Args),
    Copy(copy::Args),
    Audit(audit::Args),
    Tree(tree::Args),
    Inspect(inspect::Args),
    Trust(trust::Args),
    Tuf(tuf::Args),
    InToto(in_toto::Args),
    Key(key::Args),
    Login(login::Args),
    Logout(logout::Args),
    Completion(completion::Args),
    Man(man::Args),
}

/// Where a key's password comes from.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct PasswordArgs {
    /// Read the password from standard input, up to the first line end (else BULLA_PASSWORD, else a prompt)
    #[arg(long)]
    pub(super) password_stdin: bool,
}
