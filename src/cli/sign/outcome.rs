//! What was signed, and what was not.

use std::fs::File;
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::pens::Hand;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Exit};
use crate::cli::render::{Outcome, clean};
use crate::client::sign::{EnvelopeError, Form, Hung, MAX_LOOKED_AT, PenError, SignError, Subject};
use crate::keys::KeyError;
use crate::oci::{Descriptor, Reference};
use crate::sig::SubjectKey;

/// One artifact, and what became of it.
pub(super) struct Row {
    reference: Option<Reference>,
    artifact: Descriptor,
    end: End,
}

enum End {
    Hung(Hung),
    Written(PathBuf),
    Failed(CliError),
}

/// The answer of `sign` and of `attach signature`.
pub(super) struct Signed {
    form: Form,
    /// Key id, kind and thumbprint of the certificate, where we signed.
    by: Option<Value>,
    verb: &'static str,
    rows: Vec<Row>,
    error: Option<CliError>,
}

impl Row {
    pub(super) fn hung(subject: Subject, end: Result<Hung, SignError>) -> Self {
        let end = match end {
            Ok(hung) => End::Hung(hung),
            Err(e) => End::Failed(row_error(e)),
        };
        Self { reference: Some(subject.reference), artifact: subject.artifact, end }
    }

    pub(super) fn written(artifact: Descriptor, reference: Option<Reference>, file: PathBuf) -> Self {
        Self { reference, artifact, end: End::Written(file) }
    }

    /// What should be known although it was signed.
    pub(super) fn note(&self, cx: &mut Context<'_, '_>) {
        if let End::Hung(Hung { unread: more @ 1.., .. }) = &self.end {
            cx.note(
                "sign.unread",
                format!("{more} more signatures hang on {} than the {MAX_LOOKED_AT} that were looked at: this key's may be among them", self.what()),
            );
        }
    }

    fn what(&self) -> String {
        match &self.reference {
            Some(reference) => reference.to_string(),
            None => self.artifact.digest.to_string(),
        }
    }
}

impl Signed {
    pub(super) fn of(form: Form, hand: &Hand, rows: Vec<Row>) -> Self {
        let key = hand.public();
        let by = json!({
            "keyId": key.key_id(),
            "kind": SubjectKey::from(key).kind().to_string(),
            "certificate": hand.chain().map(|c| c.leaf().thumbprint().hex().to_owned()),
        });
        Self::new(form, Some(by), "signed", rows)
    }

    /// Of `attest`.
    pub(super) fn attested(hand: &Hand, row: Row) -> Self {
        Self { verb: "attested", ..Self::of(Form::Sigstore, hand, vec![row]) }
    }

    fn new(form: Form, by: Option<Value>, verb: &'static str, rows: Vec<Row>) -> Self {
        let failed: Vec<(&Row, &CliError)> = rows
            .iter()
            .filter_map(|row| match &row.end {
                End::Failed(e) => Some((row, e)),
                _ => None,
            })
            .collect();
        let worst = failed.iter().map(|(_, e)| e.exit).max();
        let error = failed.first().zip(worst).map(|((row, first), exit)| {
            let mut error = (*first).clone();
            error.exit = exit;
            if rows.len() > 1 {
                error.message = format!(
                    "{} of {} were not {verb}, first {}: {}",
                    failed.len(),
                    rows.len(),
                    row.what(),
                    first.message
                );
            }
            error
        });
        Self { form, by, verb, rows, error }
    }
}

/// The answer of `attach signature`.
pub(in crate::cli) fn attached(
    form: Form,
    subject: Subject,
    end: Result<Hung, SignError>,
) -> Box<dyn Outcome> {
    Box::new(Signed::new(form, None, "attached", vec![Row::hung(subject, end)]))
}

impl Outcome for Signed {
    fn error(&self) -> Option<&CliError> {
        self.error.as_ref()
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for row in &self.rows {
            match &row.end {
                End::Hung(Hung { was_there, carrier, tag, .. }) => {
                    let word = if *was_there { "there" } else { self.verb };
                    writeln!(out, "{word:<9} {}", row.what())?;
                    let at =
                        tag.as_ref().map_or_else(|| carrier.to_string(), |tag| format!("{tag} ({carrier})"));
                    writeln!(out, "          {}  {at}", self.form)?;
                }
                End::Written(file) => {
                    writeln!(out, "{:<9} {}", self.verb, row.what())?;
                    writeln!(out, "          {}  {}", self.form, clean(&file.to_string_lossy()))?;
                }
                End::Failed(e) => writeln!(out, "FAILED    {}  {}", row.what(), e.code)?,
            }
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let one = |row: &Row| {
            let mut value = json!({
                "reference": row.reference.as_ref().map(ToString::to_string),
                "digest": row.artifact.digest, "mediaType": row.artifact.media_type, "size": row.artifact.size,
            });
            match &row.end {
                End::Hung(hung) => {
                    value["status"] = if hung.was_there { "there".into() } else { self.verb.into() };
                    value["signature"] = json!({"digest": hung.carrier, "tag": hung.tag});
                }
                End::Written(file) => {
                    value["status"] = "written".into();
                    value["file"] = file.to_string_lossy().into();
                }
                End::Failed(e) => {
                    value["status"] = "failed".into();
                    value["error"] =
                        json!({"code": e.code, "message": e.message, "reason": e.reason, "next": e.next});
                }
            }
            value
        };
        json!({"form": self.form.as_str(), "by": self.by, "artifacts": self.rows.iter().map(one).collect::<Vec<_>>()})
    }
}

/// Read a small file whole.
pub(in crate::cli) fn read(path: &Path, most: u64) -> Result<Vec<u8>, CliError> {
    let unreadable = |e: io::Error| CliError::io("read", path, e);
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    match bytes.len() as u64 > most {
        true => Err(CliError::io("read", path, format!("larger than {most} bytes"))),
        false => Ok(bytes),
    }
}

/// Write a file that is not there yet.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let unwritable = |e: io::Error| CliError::io("write", path, e);
    let mut file = File::create_new(path).map_err(unwritable)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(unwritable)
}

/// An error of one artifact.
pub(in crate::cli) fn row_error(e: SignError) -> CliError {
    e.into()
}

impl From<SignError> for CliError {
    fn from(e: SignError) -> Self {
        match e {
            SignError::Absent(reference) => super::super::error::absent(&reference),
            SignError::Missing { .. } => Self::failed("ref.absent", e.to_string())
                .reason("with --recursive all that an index names is signed, so all of it must be there")
                .next("copy the whole index first, or leave --recursive out"),
            SignError::TooMany => Self::failed("manifest.size", "the index is too large to be signed with --recursive")
                .reason(e)
                .next("sign what it names in several runs"),
            SignError::Unsupported { reference, error } => {
                Self::failed("manifest.invalid", format!("{reference} cannot be signed")).reason(error)
            }
            SignError::Pen(PenError::Unfit(e)) => e.into(),
            SignError::Pen(PenError::Key(e @ KeyError::BadSignature { .. })) => {
                Self::failed("key.signature", "the fresh signature does not verify; nothing was pushed")
                    .reason(e)
                    .next("an RSA key in a KMS may sign in another way than this form asks for: use an ECDSA P-256 key; otherwise the device is faulty")
            }
            SignError::Pen(PenError::Key(e)) => e.into(),
            SignError::Pen(PenError::Fresh(e)) => {
                Self::failed("key.signature", "the fresh signature does not verify; nothing was pushed").reason(e)
            }
            SignError::Envelope(e @ EnvelopeError::Other(_)) => {
                Self::new(Exit::No, "attach.other", "this is no signature of that bundle; nothing was pushed")
                    .reason(e)
                    .next("name the bundle that was signed, by its digest")
            }
            SignError::Envelope(e) => {
                Self::new(Exit::No, "attach.invalid", "this is no signature that can be attached; nothing was pushed")
                    .reason(e)
                    .next("name a file that bulla sign --output, cosign or notation wrote, and the bundle that it signs")
            }
            SignError::Foreign { .. } => Self::failed("sign.tag-foreign", e.to_string())
                .next("look at what lies there, and move it away; or sign with --format sigstore"),
            SignError::Full { .. } => Self::failed("sign.tag-full", e.to_string())
                .next("sign with --format sigstore, which has no such limit"),
            SignError::Immutable { ref tag, .. } => {
                let next = format!(
                    "exclude {tag} from the registry's rule against moving tags, or sign with --format sigstore, which needs no tag"
                );
                Self::failed("sign.tag-immutable", "where tags cannot be moved, cosign's tag takes one signature only; nothing was added")
                    .reason(&e)
                    .next(next)
            }
            SignError::Contended(_) => Self::failed("sign.contended", e.to_string()).next("run the same command again"),
            SignError::Store(e) => e.into(),
        }
    }
}
