//! `bulla publish --also`: signatures of other tools in the run that publishes.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::ValueEnum;
use serde_json::{Value, json};

use super::outcome::row_error;
use super::pens::{Hand, chain};
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::registry::RegistryArgs;
use crate::client::publish::{Published, Status};
use crate::client::sign::{Form, Hung, Pen, Subject, Unfit, sign, subjects};
use crate::keys::{self, KeyRef};
use crate::oci::{Reference, Selector};
use crate::store::Manage;
use crate::trust::Duration;

/// Signatures of other tools.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Signatures of other tools")]
pub(in crate::cli) struct AlsoArgs {
    /// Sign the bundles in this form too, so that cosign or notation verifies them (repeatable)
    #[arg(long, value_name = "FORM", requires = "also_key")]
    also: Vec<AlsoForm>,
    /// The key of --also: a name, a file (cosign's cosign.key too) or PLUGIN://KEY
    #[arg(long, value_name = "KEY", requires = "also")]
    also_key: Option<KeyRef>,
    /// The certificate chain (PEM) of --also notation, leaf first, root included
    #[arg(long, value_name = "FILE", requires = "also")]
    also_cert: Option<PathBuf>,
    /// The signatures of --also notation count for that long, as in 90d
    #[arg(long, value_name = "SPAN", requires = "also")]
    also_expires: Option<Duration>,
    /// Of an index sign every manifest in it, too
    #[arg(long, requires = "also")]
    also_recursive: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AlsoForm {
    /// A Sigstore bundle, as cosign 3 reads it
    Sigstore,
    /// A JWS of the Notary Project
    Notation,
    /// A COSE envelope of the Notary Project
    NotationCose,
}

/// Who signs beside publishing, in which forms: judged.
pub(in crate::cli) struct Also {
    hands: Vec<(Form, Hand)>,
    lifetime: Option<i64>,
    recursive: bool,
}

/// One signature.
pub(in crate::cli) struct AlsoSigned {
    form: Form,
    reference: Reference,
    end: Result<Hung, CliError>,
}

impl AlsoArgs {
    /// Open the key, read the chain, and judge both for every form, before anything is published.
    pub(in crate::cli) fn take(
        &self,
        cx: &mut Context<'_, '_>,
        registry: &RegistryArgs,
    ) -> Result<Also, CliError> {
        let lifetime = self.also_expires.map(Duration::secs);
        let recursive = self.also_recursive;
        let Some(key) = &self.also_key else { return Ok(Also { hands: Vec::new(), lifetime, recursive }) };
        let mut forms: Vec<Form> = Vec::new();
        for also in &self.also {
            let form = match also {
                AlsoForm::Sigstore => Form::Sigstore,
                AlsoForm::Notation => Form::Notation,
                AlsoForm::NotationCose => Form::NotationCose,
            };
            if !forms.contains(&form) {
                forms.push(form);
            }
        }
        if let (Some(_), Some(form)) =
            (lifetime, forms.first().filter(|_| !forms.iter().any(|f| f.needs_chain())))
        {
            return Err(CliError::usage("--also-expires goes with --also notation")
                .reason(format!("a signature of the form {form} does not expire"))
                .next("leave it out"));
        }
        let wants = forms.iter().find(|form| form.needs_chain());
        let chain = match (&self.also_cert, wants, forms.first()) {
            (None, Some(form), _) => {
                let usage = CliError::from(Unfit::NoChain(*form));
                return Err(usage.next(
                    "pass --also-cert FILE with the signer's certificate chain, leaf first, root included",
                ));
            }
            (Some(_), None, Some(form)) => {
                return Err(CliError::from(Unfit::NoPlaceForChain(*form))
                    .next("leave --also-cert out, or add --also notation"));
            }
            (Some(file), ..) => Some(chain(file)?),
            (None, ..) => None,
        };
        let opened = keys::open(key, &cx.keys(), &registry.passwords(cx)?)?;
        opened.warnings.iter().for_each(|w| cx.note(w.code(), w));
        let signer = Arc::from(opened.signer);
        let hands: Vec<(Form, Hand)> = forms
            .into_iter()
            .map(|form| (form, Hand::of(Arc::clone(&signer), chain.clone().filter(|_| form.needs_chain()))))
            .collect();
        let also = Also { hands, lifetime, recursive };
        also.pens(cx)?;
        also.hands.iter().for_each(|(form, hand)| hand.note(cx, *form));
        Ok(also)
    }
}

impl Also {
    /// What signs, in each form.
    pub(in crate::cli) fn pens(&self, cx: &Context<'_, '_>) -> Result<Vec<Pen<'_>>, CliError> {
        let lifetime = |form: &Form| self.lifetime.filter(|_| form.needs_chain());
        self.hands.iter().map(|(form, hand)| hand.pen(*form, lifetime(form), Vec::new(), cx.now())).collect()
    }

    /// Whether what an index names is signed with it.
    pub(in crate::cli) fn recursive(&self) -> bool {
        self.recursive
    }
}

/// Sign what was published, with `recursive` and of an index also what it names. What was refused is not: nobody vouches for it.
pub(in crate::cli) async fn sign_published(
    store: &dyn Manage,
    pens: &[Pen<'_>],
    recursive: bool,
    published: &Published,
) -> Vec<AlsoSigned> {
    let (mut all, mut artifacts): (Vec<AlsoSigned>, Vec<Subject>) = (Vec::new(), Vec::new());
    for b in published.bundles.iter().filter(|b| b.status != Status::Refused && !pens.is_empty()) {
        if !recursive {
            artifacts.push(Subject { reference: b.reference.clone(), artifact: b.bundle.bare() });
            continue;
        }
        match subjects(store, &b.reference, &Selector::Digest(b.bundle.digest.clone()), true).await {
            Ok(found) => artifacts.extend(found),
            Err(e) => all.extend(pens.iter().map(|pen| AlsoSigned {
                form: pen.form(),
                reference: b.reference.clone(),
                end: Err(row_error(e.clone())),
            })),
        }
    }
    for pen in pens {
        let ends = sign(store, pen, &artifacts, false, None).await;
        all.extend(artifacts.iter().zip(ends).map(|(subject, end)| AlsoSigned {
            form: pen.form(),
            reference: subject.reference.clone(),
            end: end.map_err(CliError::from),
        }));
    }
    all
}

impl AlsoSigned {
    /// What is to be said of those that failed.
    pub(in crate::cli) fn error(all: &[Self]) -> Option<CliError> {
        let (one, first) = all.iter().find_map(|one| Some((one, one.end.as_ref().err()?)))?;
        let why = first
            .reason
            .as_ref()
            .map_or_else(|| first.message.clone(), |r| format!("{}: {r}", first.message));
        Some(
            CliError::failed(
                "publish.also",
                format!("it is published, but not signed in the form {}", one.form),
            )
            .reason(format!("{}: {why}", one.reference))
            .next("the same command adds what is missing, and so does bulla sign"),
        )
    }

    pub(in crate::cli) fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        match &self.end {
            Ok(hung) => {
                let word = if hung.was_there { "there" } else { "signed" };
                writeln!(out, "{word:<9} {}  {}  {}", self.reference, self.form, hung.carrier)
            }
            Err(e) => writeln!(out, "FAILED    {}  {}  {}", self.reference, self.form, e.code),
        }
    }

    pub(in crate::cli) fn json(&self) -> Value {
        let (status, carrier, error) = match &self.end {
            Ok(hung) => (if hung.was_there { "there" } else { "signed" }, Some(&hung.carrier), None),
            Err(e) => ("failed", None, Some(e)),
        };
        json!({
            "form": self.form.as_str(), "reference": self.reference.to_string(), "status": status, "digest": carrier,
            "error": error.map(|e| json!({"code": e.code, "message": e.message, "reason": e.reason, "next": e.next})),
        })
    }
}
