//! Anchors, roots and what was done with them, for people and machines.

use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::cli::render::{Outcome, clean, columns};
use crate::client::anchors::{RootFacts, root_facts};
use crate::sig::PublicKey;
use crate::trust::{Anchor, OwnKeys, Source, TrustFile};

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

/// Anchors that were listed, added or removed.
pub(super) struct Anchors {
    pub(super) verb: Option<&'static str>,
    pub(super) anchors: Vec<Anchor>,
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
        match self.verb {
            Some(verb) => self.anchors.iter().try_for_each(|a| {
                let id = a.id.as_str();
                let members = if a.organisation { "the members of " } else { "" };
                writeln!(out, "{verb:<9} {id}  {}  speaks for {members}{}", a.scope, a.collection)?;
                writeln!(out, "          root {}  {}", a.root.fingerprint(), says(a))?;
                sources_text(a, out)
            }),
            None => list(&self.anchors, &self.file, out),
        }
    }

    fn json(&self) -> Value {
        json!({
            "anchors": self.anchors.iter().map(anchor_json).collect::<Vec<_>>(),
            "statements": self.file.statements,
            "changed": self.changed,
        })
    }
}

fn list(anchors: &[Anchor], file: &TrustFile, out: &mut dyn Write) -> io::Result<()> {
    let mut rows = vec![["ID", "SCOPE", "COLLECTION", "ROOT", "STATE AT"].map(str::to_owned).to_vec()];
    rows.extend(anchors.iter().map(|a| {
        let at: Vec<String> = a.state_at.iter().map(ToString::to_string).collect();
        let at = if at.is_empty() { "-".to_owned() } else { at.join(" ") };
        vec![
            a.id.as_str().to_owned(),
            a.scope.to_string(),
            if a.organisation { format!("members of {}", a.collection) } else { a.collection.to_string() },
            a.root.fingerprint().to_string(),
            at,
        ]
    }));
    columns(out, &rows)?;
    for a in anchors.iter().filter(|a| !a.sources.is_empty()) {
        writeln!(out, "{}", a.id.as_str())?;
        sources_text(a, out)?;
    }
    for a in anchors {
        if let Err(e) = root_facts(a.root.bytes(), Some(&a.collection)) {
            writeln!(out, "unusable  {}: {}", a.id.as_str(), clean(&e.to_string()))?;
        }
    }
    if !file.statements.is_empty() {
        writeln!(out, "statements")?;
        let rows = file.statements.iter().map(|s| {
            let mut row = vec![format!("  {}", s.scope)];
            row.extend(s.max_staleness.map(|d| format!("maxStaleness {d}")));
            row.extend(s.require_current_tag.then(|| "requireCurrentTag".to_owned()));
            row.extend(s.reason.clone());
            row
        });
        columns(out, &rows.collect::<Vec<_>>())?;
    }
    Ok(())
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

fn anchor_json(a: &Anchor) -> Value {
    let facts = root_facts(a.root.bytes(), None).ok();
    json!({
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
    })
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
fn sources_text(a: &Anchor, out: &mut dyn Write) -> io::Result<()> {
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
