//! The revocation list (docs/formats.md `revocations.json`).

use serde::Deserialize;

use crate::oci::{Algorithm, Digest};
use crate::sig::json;
use crate::time::UnixTime;

/// A parsed list in which every entry was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RevocationList {
    entries: Vec<Entry>,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Entry {
    id: String,
    kind: Kind,
    #[serde(default)]
    subject: Option<String>,
    #[serde(skip)]
    digest: Option<Digest>,
    /// When it was entered.
    pub(super) at: UnixTime,
    /// By whom.
    #[serde(default)]
    pub(super) by: Option<String>,
    /// Why.
    #[serde(default)]
    pub(super) reason: Option<String>,
    #[serde(default)]
    undoes: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Bundle,
    Signature,
    Key,
    Certificate,
    Tombstone,
    Advisory,
    Unrevoke,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: u32,
    entries: Vec<Entry>,
}

impl RevocationList {
    /// Read the list. What is not understood could be a revocation, so it is an error.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let value = json::parse(bytes).map_err(|e| e.to_string())?;
        let doc = Document::deserialize(&value).map_err(|e| e.to_string())?;
        if doc.schema_version != 1 {
            return Err(format!("schemaVersion {} is not 1", doc.schema_version));
        }
        let entries = doc.entries.into_iter().map(Entry::understood).collect::<Result<_, _>>()?;
        Ok(Self { entries })
    }

    /// The entry that takes back `digest`, unless another one undoes it.
    pub(super) fn revokes(&self, digest: &Digest) -> Option<&Entry> {
        let undone = |e: &Entry| {
            self.entries
                .iter()
                .any(|u| u.kind == Kind::Unrevoke && u.undoes.as_deref() == Some(e.id.as_str()))
        };
        self.entries.iter().find(|e| e.digest.as_ref() == Some(digest) && !undone(e))
    }
}

impl Entry {
    /// What must be there for its kind is there.
    fn understood(mut self) -> Result<Self, String> {
        match self.kind {
            Kind::Bundle | Kind::Tombstone => {
                let subject = self.subject.as_deref().unwrap_or_default();
                let digest: Digest =
                    subject.parse().map_err(|e| format!("entry \"{}\": its subject: {e}", self.id))?;
                if digest.algorithm() != Algorithm::Sha256 {
                    return Err(format!("entry \"{}\": its subject is no sha256 digest", self.id));
                }
                self.digest = Some(digest);
            }
            Kind::Unrevoke if self.undoes.is_none() => {
                return Err(format!("entry \"{}\" does not say what it undoes", self.id));
            }
            Kind::Key => {
                return Err(format!("entry \"{}\" revokes a key, which this version cannot judge", self.id));
            }
            // About signatures, which nothing here rests on.
            Kind::Signature | Kind::Certificate | Kind::Advisory | Kind::Unrevoke => {}
        }
        Ok(self)
    }
}

/// Whether a revocation list takes back `digest`: for who is about to vouch for it.
///
/// # Errors
/// What is not understood could be a revocation.
pub fn is_revoked(list: &[u8], digest: &Digest) -> Result<bool, String> {
    RevocationList::parse(list).map(|list| list.revokes(digest).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_kinds_and_versions_are_not_read_as_nothing() {
        for bad in [
            r#"{"schemaVersion":2,"entries":[]}"#,
            r#"{"entries":[]}"#,
            r#"{"schemaVersion":1}"#,
            r#"{"schemaVersion":1,"entries":[{"id":"a","kind":"curse","at":"2026-01-01T00:00:00Z"}]}"#,
            "[]",
        ] {
            assert!(RevocationList::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_undone_entry_does_not_count() {
        let digest = Digest::sha256(b"x");
        let entry = format!(
            r#"{{"id":"a","kind":"bundle","subject":"{digest}","at":"2026-01-01T00:00:00Z","reason":"r"}}"#
        );
        let list = |more: &str| {
            RevocationList::parse(format!(r#"{{"schemaVersion":1,"entries":[{entry}{more}]}}"#).as_bytes())
                .unwrap()
        };
        assert_eq!(list("").revokes(&digest).unwrap().reason.as_deref(), Some("r"));
        assert_eq!(list("").revokes(&Digest::sha256(b"y")), None);
        assert_eq!(
            list(r#",{"id":"b","kind":"unrevoke","undoes":"a","at":"2026-01-02T00:00:00Z"}"#)
                .revokes(&digest),
            None
        );
    }
}
