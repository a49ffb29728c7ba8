//! `bulla in-toto verify`: links against a layout, on plain files.

use std::io::{self, Write};
use std::path::PathBuf;
use std::str::FromStr;

use serde_json::{Value, json};

use crate::cli::context::{Context, block_on};
use crate::cli::error::{CliError, Exit};
use crate::cli::render::{Outcome, clean};
use crate::client::provenance::verify::{self, Run, Verifying};
use crate::intoto::verify::{Applied, Finding, Outcome as Answer, Parameters, Report, Weight};
use crate::intoto::{Key, MAX_DOCUMENT};
use crate::keys::KeyRef;

/// Verify links against a layout
///
/// Every key that is named must have signed the layout. Nothing is run, unless --run-inspections is given: then the commands that
/// the layout names are run here, each within a minute, in a new folder that holds a copy of the product and nothing else.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  bulla in-toto verify --layout root.layout --key owner.pub --links links\n  bulla in-toto verify --layout root.layout --key owner.pub --links links --product app.tar --run-inspections"
)]
pub(super) struct Args {
    /// The signed layout
    #[arg(long, value_name = "FILE")]
    layout: PathBuf,
    /// A key that must have signed the layout: a name, a PEM file or PLUGIN://KEY (repeatable)
    #[arg(long, value_name = "KEY", required = true, num_args = 1..)]
    key: Vec<KeyRef>,
    /// The folder with the links
    #[arg(long, value_name = "DIR")]
    links: PathBuf,
    /// The file that the last step must have made; a manifest of a bundle, for what bulla:unpack looks at
    #[arg(long, value_name = "FILE")]
    product: Option<PathBuf>,
    /// A value for {NAME} in the layout (repeatable)
    #[arg(long, value_name = "NAME=VALUE")]
    parameter: Vec<Parameter>,
    /// Run the commands that the layout names; with =all also those of sublayouts, which functionaries have written
    #[arg(long, value_name = "WHOSE", num_args = 0..=1, require_equals = true, default_missing_value = "owner")]
    run_inspections: Option<Whose>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Whose {
    /// Of the layout that is named
    Owner,
    /// Of its sublayouts, too
    All,
}

#[derive(Debug, Clone)]
struct Parameter(String, String);

impl FromStr for Parameter {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let (name, value) = s.split_once('=').ok_or("write it as NAME=VALUE")?;
        Ok(Self(name.to_owned(), value.to_owned()))
    }
}

pub(super) fn run(args: Args, cx: &Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    let mut parameters = Parameters::new();
    for Parameter(name, value) in args.parameter {
        if parameters.insert(name.clone(), value).is_some() {
            return Err(CliError::usage(format!("the parameter {name} is given twice"))
                .next("give each parameter once"));
        }
    }
    let keys = args.key.iter().map(|key| public(key, cx)).collect::<Result<Vec<_>, _>>()?;
    let layout = verify::read(&args.layout, MAX_DOCUMENT as u64 + 1)?;
    let links = verify::links(&args.links)?;
    let verifying = Verifying {
        layout: &layout,
        keys: &keys,
        links: &links,
        parameters: &parameters,
        product: args.product.as_deref(),
        run: match args.run_inspections {
            None => Run::Nothing,
            Some(Whose::Owner) => Run::Owner,
            Some(Whose::All) => Run::All,
        },
        now: cx.now(),
    };
    let report = block_on(verify::run(&verifying))??;
    Ok(Box::new(Verified::new(args.layout, report)))
}

/// The public half. A PEM file is read by itself, since verification knows kinds of keys that bulla does not sign with.
fn public(key: &KeyRef, cx: &Context<'_, '_>) -> Result<Key, CliError> {
    if let KeyRef::File(path) = key
        && let Ok(bytes) = verify::read(path, 1 << 16)
        && let Ok(text) = String::from_utf8(bytes)
        && text.contains("-----BEGIN PUBLIC KEY-----")
    {
        return Key::from_pem(&text).map_err(|e| {
            CliError::failed("key.unreadable", format!("{} is no key that can be used", path.display()))
                .reason(e)
                .next("name the PEM file of a public key")
        });
    }
    let public = cx.keys().look(key)?.public.ok_or_else(|| {
        CliError::usage(format!("the public key of {key} is not known without its password"))
            .next("name the .pub file")
    })?;
    Ok(Key::from(public))
}

struct Verified {
    layout: PathBuf,
    report: Report,
    answer: Answer,
    error: Option<CliError>,
}

impl Verified {
    fn new(layout: PathBuf, report: Report) -> Self {
        let answer = report.outcome();
        let (exit, code, message) = match answer {
            Answer::Fulfilled => return Self { layout, report, answer, error: None },
            Answer::NotFulfilled => (Exit::No, "in-toto.not-fulfilled", "the layout is not fulfilled"),
            Answer::Undecided => {
                (Exit::Failed, "in-toto.undecided", "whether the layout is fulfilled was not decided")
            }
        };
        let weight = if answer == Answer::NotFulfilled { Weight::No } else { Weight::Open };
        let first = report.all().find(|f| f.code.weight() == weight);
        let mut error = CliError::new(exit, code, message);
        if let Some(first) = first {
            error = error.reason(said(first));
            let next = match answer {
                Answer::Undecided if first.code.as_str() == "intoto.inspection.not-run" => {
                    "if the layout's owner may run programs here: --run-inspections; of sublayouts: --run-inspections=all"
                }
                _ if first.next.is_empty() => "see what each step says above",
                _ => &first.next,
            };
            error = error.next(next);
        }
        Self { layout, report, answer, error: Some(error) }
    }
}

fn said(finding: &Finding) -> String {
    format!("{}: {} ({})", clean(&finding.thing), clean(&finding.reason), finding.code)
}

impl Outcome for Verified {
    fn error(&self) -> Option<&CliError> {
        self.error.as_ref()
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let verdict = match self.answer {
            Answer::Fulfilled => "fulfilled",
            Answer::NotFulfilled => "not fulfilled",
            Answer::Undecided => "not decided",
        };
        writeln!(out, "{verdict}: {}", clean(&self.layout.to_string_lossy()))?;
        show(out, &self.report, 1)
    }

    fn json(&self) -> Value {
        json!({"verdict": self.answer, "layout": self.layout.to_string_lossy(), "report": self.report})
    }
}

fn show(out: &mut dyn Write, report: &Report, depth: usize) -> io::Result<()> {
    let pad = "  ".repeat(depth);
    if let Some(expires) = report.expires {
        let signed: Vec<&str> = report.signed.iter().map(|id| id.short()).collect();
        writeln!(out, "{pad}layout      signed by {}, expires {expires}", signed.join(", "))?;
    }
    findings(out, &report.findings, &pad)?;
    for step in &report.steps {
        writeln!(out, "{pad}step        {}: {} of {} keys", step.name, step.signers, step.threshold)?;
        for signed in &step.signed {
            writeln!(
                out,
                "{pad}  signed by {}   {} materials, {} products   {}",
                signed.key.short(),
                signed.materials,
                signed.products,
                signed.file
            )?;
            if let Some(sub) = &signed.sublayout {
                show(out, sub, depth + 2)?;
            }
        }
        applied(out, "materials", &step.materials, &pad)?;
        applied(out, "products ", &step.products, &pad)?;
        findings(out, &step.findings, &pad)?;
    }
    for inspection in &report.inspections {
        writeln!(out, "{pad}inspection  {}: {}", inspection.id.name, clean(&inspection.run.join(" ")))?;
        applied(out, "materials", &inspection.materials, &pad)?;
        applied(out, "products ", &inspection.products, &pad)?;
        findings(out, &inspection.findings, &pad)?;
    }
    if let Some(product) = &report.product {
        writeln!(out, "{pad}product     made by the last step as {}", clean(product.as_str()))?;
    }
    Ok(())
}

fn applied(out: &mut dyn Write, side: &str, rules: &[Applied], pad: &str) -> io::Result<()> {
    rules.iter().try_for_each(|rule| writeln!(out, "{pad}  {side}  {:<5} {}", rule.count, clean(&rule.rule)))
}

fn findings(out: &mut dyn Write, findings: &[Finding], pad: &str) -> io::Result<()> {
    findings.iter().try_for_each(|finding| {
        let word = match finding.code.weight() {
            Weight::No => "no",
            Weight::Open => "open",
            Weight::Note => "note",
        };
        writeln!(out, "{pad}  {word:<4} {}", said(finding))
    })
}
