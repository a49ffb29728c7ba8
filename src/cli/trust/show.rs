//! Anchors, roots and what was done with them, for people and machines.

use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::{Value, json};

use super::list::{of_root, signer_json, whom};
use crate::cli::render::{Outcome, clean, columns};
use crate::client::anchors::{RootFacts, root_facts};
use crate::sig::PublicKey;
use crate::trust::{Anchor, AskedSignatures, OwnKeys, SignerAnchor, Source, TrustFile};

/// An advisory that was read.
pub(super) struct Acknowledged {
    pub(super) id: String,
    pub(super) changed: bool,
}

impl Outcome for Acknowledged {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let word = if self.changed { "noted" } else { "unchanged" };
        writeln!(out, "{word:<9} advisory {}: verify no longer warns of it here", self.id)
    }

    fn json(&self) -> Value {
        json!({"acknowledged": self.id, "changed": self.changed})
    }
}

/// Anchors that were added or removed.
pub(super) struct Anchors {
    pub(super) verb: &'static str,
    pub(super) anchors: Vec<Anchor>,
    pub(super) signers: Vec<SignerAnchor>,
    pub(super) file: TrustFile,
    pub(super) changed: bool,
}

pub(super) struct Fingerprint {
    pub(super) file: PathBuf,
    pub(super) facts: RootFacts,
}

pub(super) struct Exported {
    pub(super) file: TrustFile,
    pub(super) output: Option<PathBuf>,
}

impl Outcome for Anchors {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let verb = self.verb;
        for a in &self.anchors {
            let id = a.id.as_str();
            let members = if a.organisation { "the members of " } else { "" };
            writeln!(out, "{verb:<9} {id}  {}  speaks for {members}{}", a.scope, a.collection)?;
            writeln!(out, "          root {}  {}", a.root.fingerprint(), says(a))?;
            sources_text(a, out)?;
        }
        for a in &self.signers {
            writeln!(
                out,
                "{verb:<9} {}  {}  {}: {}",
                a.id.as_str(),
                a.scope,
                a.trusts.kind(),
                clean(&whom(a))
            )?;
            let until = a.certificate().map(|c| format!("  until {}", c.not_after())).unwrap_or_default();
            writeln!(out, "          {}{until}  rescissions: {}", a.trusts.material(), a.rescissions())?;
        }
        // What was imported brought its statements along.
        if self.anchors.is_empty() && self.verb != "removed" {
            statements_text(&self.file, out)
        } else {
            Ok(())
        }
    }

    fn json(&self) -> Value {
        let anchors = self.anchors.iter().map(anchor_json).chain(self.signers.iter().map(signer_json));
        json!({
            "anchors": anchors.collect::<Vec<_>>(),
            "statements": self.file.statements,
            "changed": self.changed,
        })
    }
}

/// What holds for which scope, a line each.
pub(super) fn statements_text(file: &TrustFile, out: &mut dyn Write) -> io::Result<()> {
    if file.statements.is_empty() {
        return Ok(());
    }
    writeln!(out, "statements")?;
    let rows = file.statements.iter().map(|s| {
        let mut row = vec![format!("  {}", s.scope)];
        row.extend(s.max_staleness.map(|d| format!("maxStaleness {d}")));
        row.extend(s.require_current_tag.then(|| "requireCurrentTag".to_owned()));
        let require = s.require.clone().unwrap_or_default();
        row.extend(require.tuf.map(|tuf| if tuf { "TUF".to_owned() } else { "no TUF".to_owned() }));
        row.extend(require.signatures.map(|asked| match asked {
            AskedSignatures::None(_) => "no signatures".to_owned(),
            AskedSignatures::Some(asked) => {
                let from: Vec<&str> = asked.from.iter().map(|id| id.as_str()).collect();
                let of = if from.is_empty() { "any anchor in scope".to_owned() } else { from.join(", ") };
                format!("{} of {of}", asked.threshold)
            }
        }));
        let waived = s.waivers().into_iter().filter(|w| w.ends_with("false") && !w.contains("tuf"));
        row.extend(waived.map(ToOwned::to_owned));
        row.extend(s.reason.as_deref().map(clean));
        row
    });
    columns(out, &rows.collect::<Vec<_>>())
}

impl Outcome for Fingerprint {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let f = &self.facts;
        writeln!(out, "{}", f.fingerprint)?;
        let collection = f.collection.as_deref().unwrap_or("no collection named");
        writeln!(out, "  {}, {}", clean(collection), facts_text(f))
    }

    fn json(&self) -> Value {
        let f = &self.facts;
        json!({
            "file": self.file.to_string_lossy(), "fingerprint": f.fingerprint, "collection": f.collection,
            "rootVersion": f.version, "threshold": f.threshold, "keys": f.keys, "expires": f.expires,
        })
    }
}

impl Outcome for Exported {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        match &self.output {
            Some(path) => writeln!(out, "wrote     {}", path.display()),
            None => out.write_all(&self.file.to_bytes()),
        }
    }

    fn json(&self) -> Value {
        json!({"trust": self.file, "file": self.output.as_ref().map(|p| p.to_string_lossy())})
    }
}

pub(super) fn anchor_json(a: &Anchor) -> Value {
    let facts = root_facts(a.root.bytes(), None).ok();
    let mut value = json!({
        "id": a.id, "kind": "tuf", "scope": a.scope, "collection": a.collection,
        "fingerprint": a.root.fingerprint(),
        "rootVersion": facts.as_ref().map(|f| f.version),
        "threshold": facts.as_ref().map(|f| f.threshold),
        "expires": facts.as_ref().map(|f| f.expires),
        "problem": root_facts(a.root.bytes(), Some(&a.collection)).err().map(|e| e.to_string()),
        "stateAt": a.state_at.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "organisation": a.organisation,
        "sources": if a.sources.is_empty() { Vec::new() } else { a.sources().iter().map(source_json).collect() },
        "min": (!a.sources.is_empty()).then(|| a.min()),
    });
    if let (Some(to), Some(more)) = (value.as_object_mut(), of_root(a).as_object()) {
        to.extend(more.clone());
    }
    value
}

fn source_json(s: &Source) -> Value {
    json!({
        "collection": s.collection, "fingerprint": s.root.fingerprint(), "role": s.role,
        "threshold": s.keys.as_ref().map(OwnKeys::threshold),
        "keys": s.keys.iter().flat_map(OwnKeys::keys).map(PublicKey::key_id).collect::<Vec<_>>(),
        "at": s.at.as_ref().map(ToString::to_string),
        "stateAt": s.state_at.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

/// Who must agree under an anchor, a line each.
pub(super) fn sources_text(a: &Anchor, out: &mut dyn Write) -> io::Result<()> {
    if a.sources.is_empty() {
        return Ok(());
    }
    writeln!(out, "          {} of these must agree:", a.min())?;
    for s in a.sources() {
        let mut line = format!("            {}  role {}", s.collection, clean(s.role.as_str()));
        if let Some(keys) = &s.keys {
            let ids: Vec<_> = keys.keys().iter().map(|k| k.key_id().short().to_owned()).collect();
            line.push_str(&format!("  by {} of the keys {}", keys.threshold(), ids.join(", ")));
        }
        if s.root != a.root {
            line.push_str(&format!("  root {}", s.root.fingerprint()));
        }
        if let Some(at) = &s.at {
            line.push_str(&format!("  only at {at}"));
        }
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn says(a: &Anchor) -> String {
    match root_facts(a.root.bytes(), Some(&a.collection)) {
        Ok(facts) => facts_text(&facts),
        Err(e) => format!("UNUSABLE: {e}"),
    }
}

pub(super) fn facts_text(f: &RootFacts) -> String {
    format!("version {}, {} of {} keys, expires {}", f.version, f.threshold, f.keys.len(), f.expires)
}
