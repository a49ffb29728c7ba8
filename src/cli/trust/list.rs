//! `trust list`: every anchor with what is known of it, of both files.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::show::{anchor_json, sources_text, statements_text};
use crate::cli::render::{Outcome, clean, columns};
use crate::client::anchors::root_facts;
use crate::trust::{Anchor, Origin, SignerAnchor, TrustFile, Trusts};

/// All that there is.
pub(super) struct Listed {
    pub(super) file: TrustFile,
}

impl Listed {
    fn files(&self) -> impl Iterator<Item = &TrustFile> {
        std::iter::once(&self.file).chain(self.file.system())
    }
}

impl Outcome for Listed {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let both = self.file.system().is_some();
        for file in self.files() {
            if both {
                writeln!(out, "in {}", clean(&file.origin().to_string()))?;
            }
            file_text(file, out)?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let tuf = self.files().flat_map(|f| f.anchors.iter().map(|a| with_file(anchor_json(a), f.origin())));
        let anchors: Vec<Value> = tuf.chain(self.files().flat_map(|f| &f.signers).map(signer_json)).collect();
        let statements =
            self.files().flat_map(|f| f.statements.iter().map(|s| with_file(json!(s), f.origin())));
        let listed = |of: fn(&TrustFile) -> &Vec<crate::trust::Listing>| {
            let all = self.files().flat_map(|f| of(f).iter().map(|l| with_file(json!(l), f.origin())));
            all.collect::<Vec<Value>>()
        };
        json!({
            "anchors": anchors, "statements": statements.collect::<Vec<_>>(),
            "allow": listed(|f| &f.allow), "deny": listed(|f| &f.deny),
            "locked": self.file.system().is_some_and(|s| s.locked), "changed": false,
        })
    }
}

fn file_text(file: &TrustFile, out: &mut dyn Write) -> io::Result<()> {
    let mut rows = vec![["ID", "SCOPE", "COLLECTION", "ROOT", "STATE AT"].map(str::to_owned).to_vec()];
    rows.extend(file.anchors.iter().map(|a| {
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
    if rows.len() > 1 || file.signers.is_empty() {
        columns(out, &rows)?;
    }
    for a in file.anchors.iter().filter(|a| !a.sources.is_empty()) {
        writeln!(out, "{}", a.id.as_str())?;
        sources_text(a, out)?;
    }
    for a in &file.anchors {
        if let Err(e) = root_facts(a.root.bytes(), Some(&a.collection)) {
            writeln!(out, "unusable  {}: {}", a.id.as_str(), clean(&e.to_string()))?;
        }
    }
    if !file.signers.is_empty() {
        let mut rows = vec![["ID", "SCOPE", "KIND", "WHO", "KEY", "RESCISSIONS"].map(str::to_owned).to_vec()];
        rows.extend(file.signers.iter().map(|a| {
            let key = a
                .public_key()
                .map_or_else(|| "-".to_owned(), |k| format!("{} {}", k.kind(), k.fingerprint().short()));
            vec![
                a.id.as_str().to_owned(),
                a.scope.to_string(),
                a.trusts.kind().to_owned(),
                clean(&whom(a)),
                key,
                a.rescissions().to_string(),
            ]
        }));
        columns(out, &rows)?;
    }
    statements_text(file, out)?;
    for (word, list) in [("allow", &file.allow), ("deny", &file.deny)] {
        for l in list {
            let what =
                l.digest.as_ref().map_or_else(|| l.scope.to_string(), |d| format!("{d} in {}", l.scope));
            let unsigned = if l.unsigned { " unsigned" } else { "" };
            writeln!(out, "{word:<9} {what}{unsigned}: {}", clean(&l.reason))?;
        }
    }
    Ok(())
}

/// Who is trusted, in a few words.
pub(super) fn whom(a: &SignerAnchor) -> String {
    match &a.trusts {
        Trusts::Ca { certificate, subjects } if subjects.is_empty() => {
            format!("anybody whom {} certified", certificate.subject())
        }
        Trusts::Ca { certificate, subjects } => {
            let subjects: Vec<String> = subjects.iter().map(ToString::to_string).collect();
            format!("{} of {}", subjects.join(" or "), certificate.subject())
        }
        Trusts::Certificate(certificate) => certificate.subject().to_string(),
        Trusts::Key(_) => "whoever has the key".to_owned(),
        Trusts::Keyless { identity, issuer, .. } => format!("{identity} by {issuer}"),
    }
}

/// All that is known of an anchor of signatures.
pub(super) fn signer_json(a: &SignerAnchor) -> Value {
    let key = a.public_key().map(
        |k| json!({"kind": k.kind().to_string(), "fingerprint": k.fingerprint(), "spki": k.to_base64()}),
    );
    let subjects: Vec<String> = match &a.trusts {
        Trusts::Ca { subjects, .. } => subjects.iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
    };
    let rescissions = match a.rescissions() {
        crate::trust::Rescissions::Nowhere => Value::Null,
        crate::trust::Rescissions::Servers => json!({"servers": true}),
        crate::trust::Rescissions::Tuf(name) => json!({"tuf": name}),
    };
    let value = json!({
        "id": a.id, "kind": a.trusts.kind(), "scope": a.scope, "fingerprint": a.trusts.material(),
        "publicKey": key, "signedIdentity": a.signed_identity(), "issuer": a.issuer(), "subjects": subjects,
        "notBefore": a.certificate().map(|c| c.not_before()), "notAfter": a.certificate().map(|c| c.not_after()),
        "rescissions": rescissions, "warnings": a.warnings(),
    });
    with_file(value, &a.origin)
}

/// The same, and which file says it.
fn with_file(mut value: Value, origin: &Origin) -> Value {
    value["file"] = json!(origin.file);
    value["level"] = json!(if origin.level == crate::trust::Level::User { "user" } else { "system" });
    value
}

/// Of a root, what every other anchor has too: its keys, for whom they speak, who takes back.
pub(super) fn of_root(a: &Anchor) -> Value {
    let facts = root_facts(a.root.bytes(), None).ok();
    json!({
        "publicKey": facts.map(|f| json!({"kind": "TUF root keys", "ids": f.keys, "threshold": f.threshold})),
        "signedIdentity": a.collection, "issuer": Value::Null, "rescissions": {"tuf": a.collection},
    })
}
