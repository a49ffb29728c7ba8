//! The links of one step: whose they are, whether they are enough, and whether they agree.

use std::collections::BTreeSet;

use super::code::Code;
use super::report::{Finding, Outcome, Report, Signed, StepReport};
use super::{MAX_BYTES, MAX_DEPTH, MAX_DOCUMENTS, Run};
use crate::intoto::{Document, Envelope, Key, Layout, Link, LinkPath, ListedKey, Stem, Step, StepName};
use crate::oci::Digest;
use crate::sig::KeyId;

/// What a step comes to: the link that all its signers agree on.
pub(super) struct Chosen {
    pub(super) name: StepName,
    pub(super) link: Link,
}

/// A file that counts.
struct Counted {
    signed: Signed,
    key: Vec<u8>,
    link: Option<Link>,
}

impl Run<'_> {
    pub(super) fn step(
        &mut self,
        layout: &Layout,
        step: &Step,
        folders: &[Stem],
    ) -> (StepReport, Option<Chosen>) {
        let mut report = StepReport {
            name: step.name.clone(),
            threshold: step.threshold,
            signers: 0,
            signed: Vec::new(),
            materials: Vec::new(),
            products: Vec::new(),
            findings: Vec::new(),
        };
        let files = self.by_step.get(&(folders, &step.name)).cloned().unwrap_or_default();
        let mut counted: Vec<Counted> = Vec::new();
        for (path, bytes) in files {
            self.read = (self.read.0 + 1, self.read.1 + bytes.len());
            if self.read.0 > MAX_DOCUMENTS || self.read.1 > MAX_BYTES {
                let reason = format!(
                    "more than {MAX_DOCUMENTS} links and layouts, or {MAX_BYTES} bytes of them, are there"
                );
                report.findings.push(Finding::new(Code::LayoutDocuments, path.to_string(), reason, ""));
                return (report, None);
            }
            match self.file(layout, step, path, bytes) {
                Ok(file) => counted.push(file),
                Err(why) => report.findings.push(Finding::new(Code::LinkSkipped, path.to_string(), why, "")),
            }
        }
        report.signers = counted.iter().map(|c| &c.key).collect::<BTreeSet<_>>().len();
        for file in &counted {
            if let Some(sub) = &file.signed.sublayout {
                report.findings.extend(failed(&file.signed, sub));
            }
        }
        let enough = report.signers >= step.threshold as usize;
        if !enough {
            report.findings.push(short(layout, step, report.signers));
        }
        let links: Vec<&Link> = counted.iter().filter_map(|c| c.link.as_ref()).collect();
        let chosen = links.first().filter(|_| enough && links.len() == counted.len());
        if let Some(first) = chosen {
            let says = |l: &&&Link| (l.materials != first.materials) || (l.products != first.products);
            if links.iter().any(|l| says(&l)) {
                let files: Vec<String> = counted.iter().map(|c| c.signed.file.to_string()).collect();
                report.findings.push(Finding::new(
                    Code::StepDisagree,
                    format!("step {}", step.name),
                    format!("its links name different materials or products: {}", files.join(", ")),
                    "ask the signers; one of them saw something else, and no rule says which one counts",
                ));
            }
            for link in links.iter().filter(|l| l.command != step.expected_command) {
                report.findings.push(Finding::new(
                    Code::StepCommand,
                    format!("step {}", step.name),
                    format!(
                        "{:?} was run, not {:?}",
                        link.command.join(" "),
                        step.expected_command.join(" ")
                    ),
                    "",
                ));
            }
        }
        let chosen = chosen.map(|link| Chosen { name: step.name.clone(), link: (*link).clone() });
        report.signed = counted.into_iter().map(|c| c.signed).collect();
        (report, chosen)
    }

    /// A file that counts for the step, or why it does not. Whoever may write where links lie may put anything there, so that is
    /// no failure.
    fn file(
        &mut self,
        layout: &Layout,
        step: &Step,
        path: &LinkPath,
        bytes: &[u8],
    ) -> Result<Counted, String> {
        let keyid = path.stem().keyid();
        let listed: Vec<(&KeyId, &ListedKey)> =
            step.pubkeys.iter().filter_map(|id| layout.keys.get_key_value(id)).collect();
        let named = |id: &KeyId, key: &ListedKey| {
            id.as_str().starts_with(keyid) || key.usable().is_some_and(|k| k.is_named_from(keyid))
        };
        let mut keys = listed.into_iter().filter(|(id, key)| named(id, key)).peekable();
        if keys.peek().is_none() {
            return Err("no key that may sign this step has such an id".into());
        }
        let envelope = Envelope::parse(bytes).map_err(|e| e.to_string())?;
        let mut unusable = None;
        let mut signer: Option<(&KeyId, &Key, Option<String>)> = None;
        for (id, key) in keys {
            match key {
                ListedKey::Unusable(why, _) => unusable = Some(why.to_string()),
                ListedKey::Usable(key) => {
                    if let Some(signature) = envelope.signed_by(key) {
                        let alias = signature.keyid().filter(|a| *a != id.as_str()).map(str::to_owned);
                        signer = Some((id, key, alias));
                        break;
                    }
                }
            }
        }
        let Some((id, key, alias)) = signer else {
            let gpg = envelope.signatures().iter().any(super::super::Signature::is_gpg);
            return Err(match unusable {
                Some(why) => why,
                None if gpg => {
                    "it has a GPG signature, which is not read: sign the link with a key of another kind"
                        .into()
                }
                None => "no signature in it is of the key that its name says".into(),
            });
        };
        let document = envelope.unverified().map_err(|e| format!("signed, and not read: {e}"))?;
        let mut signed = Signed {
            file: path.clone(),
            key: id.clone(),
            alias,
            digest: Digest::sha256(bytes),
            materials: 0,
            products: 0,
            sublayout: None,
        };
        let link = match document {
            Document::Link(link) if link.name != step.name => {
                return Err(format!("it is about the step {}, not {}", link.name, step.name));
            }
            Document::Link(link) => Some(link),
            Document::Layout(_) => {
                let sub = self.sublayout(&envelope, key, path, signed.digest.clone());
                let link = sub.summary.clone().map(|link| Link { name: step.name.clone(), ..link });
                signed.sublayout = Some(Box::new(sub));
                link
            }
        };
        if let Some(link) = &link {
            (signed.materials, signed.products) = (link.materials.len(), link.products.len());
        }
        Ok(Counted { signed, key: key.spki(), link })
    }

    /// A layout that stands for a step: signed by that functionary, with links in a folder of its own, and no parameters.
    fn sublayout(&mut self, envelope: &Envelope, key: &Key, path: &LinkPath, digest: Digest) -> Report {
        let mut report = Report { digest: Some(digest), ..Report::default() };
        let folders = [path.folders(), &[path.stem().clone()]].concat();
        if folders.len() > MAX_DEPTH {
            let reason = format!("layouts are nested deeper than {MAX_DEPTH}");
            report.note(Code::LayoutDepth, path.to_string(), reason);
            return report;
        }
        self.layout(&mut report, envelope, std::slice::from_ref(key), None, &folders);
        report
    }
}

fn failed(signed: &Signed, sub: &Report) -> Option<Finding> {
    let (code, reason) = match sub.outcome() {
        Outcome::Fulfilled => return None,
        Outcome::NotFulfilled => {
            (Code::StepSublayout, "the layout that stands for this step is not fulfilled")
        }
        Outcome::Undecided => {
            (Code::StepSublayoutOpen, "an inspection of the layout that stands for this step was not run")
        }
    };
    Some(Finding::new(code, signed.file.to_string(), reason, ""))
}

fn short(layout: &Layout, step: &Step, have: usize) -> Finding {
    let can = layout.functionaries(step).len();
    let need = step.threshold as usize;
    let thing = format!("step {}", step.name);
    if can < need {
        let reason = format!("{need} keys must sign it, and the layout gives it {can} that can");
        let next = "the owner of the layout adds keys, or lowers the threshold";
        return Finding::new(Code::StepThreshold, thing, reason, next);
    }
    let reason = format!("{need} keys must have signed it, and {have} have");
    Finding::new(Code::StepThreshold, thing, reason, "get the links of the functionaries who did this step")
}
