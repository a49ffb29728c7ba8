//! A layout in words.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::super::form_word;
use super::{layout_of, left};
use crate::cli::context::Context;
use crate::cli::error::{CliError, Exit};
use crate::cli::render::{Outcome, clean};
use crate::client::provenance::signed;
use crate::intoto::{Envelope, Form, Key, Layout, ListedKey, Rule, Side};
use crate::keys::KeyRef;
use crate::time::UnixTime;

/// A layout, with what is known of its signatures.
struct Shown {
    file: PathBuf,
    form: Form,
    layout: Layout,
    /// Key ids as the file names them.
    named: Vec<String>,
    /// Keys that were asked for, and whether each has signed.
    checked: Vec<(String, String, bool)>,
    now: UnixTime,
    error: Option<CliError>,
}

pub(super) fn run(file: &Path, keys: &[KeyRef], cx: &Context<'_, '_>) -> Result<Box<dyn Outcome>, CliError> {
    let envelope: Envelope = signed::read(file)?;
    let layout = layout_of(file, &envelope)?;
    let mut checked = Vec::new();
    for key in keys {
        let public = cx.keys().look(key)?.public.ok_or_else(|| {
            CliError::usage(format!("the public key of {key} is not known without its password"))
                .next("name the .pub file")
        })?;
        let key_id = public.key_id().to_string();
        checked.push((key.to_string(), key_id, envelope.signed_by(&Key::from(public)).is_some()));
    }
    let missing: Vec<&str> = checked.iter().filter(|(.., has)| !has).map(|(key, ..)| key.as_str()).collect();
    let error = (!missing.is_empty()).then(|| {
        CliError::new(Exit::No, "in-toto.unsigned", "the layout is not signed by every key that was named")
            .reason(format!("no signature is that of {}", missing.join(", ")))
            .next("have them sign it: bulla in-toto layout sign; or ask who changed the file since")
    });
    let named = envelope.signatures().iter().map(|s| s.keyid().unwrap_or("(no key id)").to_owned()).collect();
    Ok(Box::new(Shown {
        file: file.to_owned(),
        form: envelope.form(),
        layout,
        named,
        checked,
        now: cx.now(),
        error,
    }))
}

impl Shown {
    /// A functionary as the layout lists it, in short.
    fn key(&self, id: &crate::sig::KeyId) -> String {
        match self.layout.keys.get(id) {
            Some(ListedKey::Usable(key)) => format!("{} ({})", id.short(), key.scheme()),
            Some(ListedKey::Unusable(why, _)) => format!("{} (does not count: {why})", id.short()),
            None => format!("{} (does not count: the layout has no such key)", id.short()),
        }
    }
}

impl Outcome for Shown {
    fn error(&self) -> Option<&CliError> {
        self.error.as_ref()
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let layout = &self.layout;
        writeln!(out, "layout    {} ({})", clean(&self.file.to_string_lossy()), form_word(self.form))?;
        writeln!(out, "expires   {} ({})", layout.expires, left(layout.expires, self.now))?;
        for line in layout.readme.lines() {
            writeln!(out, "          {}", clean(line))?;
        }
        if self.named.is_empty() {
            writeln!(out, "signed    by nobody")?;
        }
        for id in &self.named {
            let known = self.checked.iter().find(|(_, key, has)| *has && key == id);
            match known {
                Some((key, ..)) => writeln!(out, "signed    by {} ({})", clean(id), clean(key))?,
                None => writeln!(out, "signed    by {} (not checked)", clean(id))?,
            }
        }
        for (key, id, has) in &self.checked {
            if *has && !self.named.contains(id) {
                writeln!(out, "signed    by {} under another id", clean(key))?;
            } else if !has {
                writeln!(out, "NOT       signed by {}", clean(key))?;
            }
        }
        for (i, step) in layout.steps.iter().enumerate() {
            let counted = layout.functionaries(step).len();
            writeln!(out, "step {:<4} {}: {} of {counted} must sign", i + 1, step.name, step.threshold)?;
            for id in &step.pubkeys {
                writeln!(out, "            {}", clean(&self.key(id)))?;
            }
            if !step.expected_command.is_empty() {
                writeln!(
                    out,
                    "          runs {} (another command is only a note)",
                    clean(&step.expected_command.join(" "))
                )?;
            }
            rules(out, "takes", &step.expected_materials)?;
            rules(out, "gives", &step.expected_products)?;
        }
        for inspection in &layout.inspections {
            writeln!(
                out,
                "inspect   {}: runs {} where the policy allows it",
                inspection.name,
                clean(&inspection.run.join(" "))
            )?;
            rules(out, "before", &inspection.expected_materials)?;
            rules(out, "after", &inspection.expected_products)?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let rules = |rules: &[Rule]| -> Vec<Value> {
            rules.iter().map(|r| json!({"rule": r.to_words(), "says": says(r)})).collect()
        };
        let step = |step: &crate::intoto::Step| {
            json!({
                "name": step.name.as_str(), "threshold": step.threshold, "keyIds": step.pubkeys,
                "functionaries": self.layout.functionaries(step).len(), "command": step.expected_command,
                "materials": rules(&step.expected_materials), "products": rules(&step.expected_products),
            })
        };
        let inspection = |one: &crate::intoto::Inspection| {
            json!({
                "name": one.name.as_str(), "run": one.run,
                "materials": rules(&one.expected_materials), "products": rules(&one.expected_products),
            })
        };
        let checked =
            |(key, id, has): &(String, String, bool)| json!({"key": key, "keyId": id, "signed": has});
        json!({
            "file": self.file.to_string_lossy(),
            "form": form_word(self.form),
            "expires": self.layout.expires.to_string(),
            "expired": self.layout.is_expired(self.now),
            "readme": self.layout.readme,
            "signatures": self.named,
            "checked": self.checked.iter().map(checked).collect::<Vec<_>>(),
            "steps": self.layout.steps.iter().map(step).collect::<Vec<_>>(),
            "inspections": self.layout.inspections.iter().map(inspection).collect::<Vec<_>>(),
        })
    }
}

fn rules(out: &mut dyn Write, side: &str, rules: &[Rule]) -> io::Result<()> {
    let closed = rules.iter().any(|r| matches!(r, Rule::Disallow(glob) if glob.as_str() == "*"));
    for (i, rule) in rules.iter().enumerate() {
        let head = if i == 0 { side } else { "" };
        writeln!(out, "          {head:<6} {}", clean(&says(rule)))?;
    }
    match (closed, rules.is_empty()) {
        (true, _) => Ok(()),
        (false, true) => writeln!(out, "          {side:<6} anything"),
        (false, false) => writeln!(out, "                 and anything else"),
    }
}

/// A rule in words.
fn says(rule: &Rule) -> String {
    match rule {
        Rule::Create(glob) => format!("{}, new", glob.as_str()),
        Rule::Delete(glob) => format!("{}, gone afterwards", glob.as_str()),
        Rule::Modify(glob) => format!("{}, changed", glob.as_str()),
        Rule::Allow(glob) => format!("{}, whatever it holds", glob.as_str()),
        Rule::Disallow(glob) if glob.as_str() == "*" => "nothing else".to_owned(),
        Rule::Disallow(glob) => format!("nothing else that is {}", glob.as_str()),
        Rule::Require(name) => format!("{name} must be there"),
        Rule::Match(m) => {
            let at = |prefix: &Option<String>| match prefix {
                Some(prefix) => format!("{}/{}", prefix.trim_end_matches('/'), m.pattern.as_str()),
                None => m.pattern.as_str().to_owned(),
            };
            let side = match m.with {
                Side::Materials => "took",
                Side::Products => "gave",
            };
            let (here, there) = (at(&m.source), at(&m.destination));
            match here == there {
                true => format!("{here}, exactly as {} {side} it", m.from),
                false => format!("{here}, exactly as {} {side} {there}", m.from),
            }
        }
    }
}
