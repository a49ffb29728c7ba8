//! What the attestations on a bundle come to. Each is judged by itself: its signer as that of a signature, then its type, then every
//! member of the predicate that a line asks for. Nothing is put together from two.

use super::judge::{Bench, Fault, Sound, Standing};
use super::tally::{LineReport, SignatureReport, Terms, signers, told};
use super::{Form, Found, Rest, SignaturesAnswer};
use crate::envelope::sigstore_bundle::Bundle;
use crate::oci::Digest;
use crate::sig::statement::Statement;
use crate::trust::code::{Code, Says};
use crate::trust::report::Check;
use crate::trust::rule::Attestations;

/// Most of those that do not count, and of those that do, of which each is told.
const TOLD: usize = 16;
/// Most faults that are kept: the rest is counted.
const KEPT: usize = 256;
/// Longest value of a predicate in a detail, in characters.
const MAX_VALUE: usize = 80;

/// What was found so far.
#[derive(Debug, Clone)]
pub(in crate::trust) struct Attested {
    digest: Digest,
    /// For each line those that meet it.
    lines: Vec<Vec<Sound>>,
    /// For each line those that do not, although they are of its type.
    faults: Vec<Vec<((Digest, Form), Fault)>>,
    not_kept: usize,
    /// What is listed, and cannot be read as a bundle.
    broken: usize,
    unread: Vec<String>,
    cut: Option<String>,
    ended: bool,
}

impl Attested {
    pub(in crate::trust) fn new(digest: Digest, lines: usize) -> Self {
        Self {
            digest,
            lines: vec![Vec::new(); lines],
            faults: vec![Vec::new(); lines],
            not_kept: 0,
            broken: 0,
            unread: Vec::new(),
            cut: None,
            ended: false,
        }
    }

    pub(in crate::trust) fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Judge what one look brought.
    pub(in crate::trust) fn take(
        &mut self,
        answer: &SignaturesAnswer,
        wanted: &[Attestations],
        bench: &Bench<'_>,
        terms: &Terms<'_>,
    ) {
        for found in &answer.found {
            self.one(found, wanted, bench, terms);
        }
        self.broken += answer.broken.len();
        self.unread.extend(answer.unread.iter().take(KEPT - self.unread.len().min(KEPT)).cloned());
        match &answer.rest {
            Rest::More => {}
            Rest::End => self.ended = true,
            Rest::Cut(why) => (self.cut, self.ended) = (Some(why.clone()), true),
        }
    }

    fn one(&mut self, found: &Found, wanted: &[Attestations], bench: &Bench<'_>, terms: &Terms<'_>) {
        // Unverified: only what is of a wanted type is judged at all.
        let statement = match Bundle::parse(&found.bytes).map(|bundle| bundle.unverified_statement()) {
            Ok(Ok(statement)) => statement,
            // The signature of a message, or a statement in another form.
            Ok(Err(_)) => return,
            Err(_) => {
                self.broken += 1;
                return;
            }
        };
        let of_type = |line: &Attestations| line.predicate_type.as_str() == statement.predicate_type();
        let lines: Vec<usize> = (0..wanted.len()).filter(|i| of_type(&wanted[*i])).collect();
        if lines.is_empty() {
            return;
        }
        let mut sound = match bench.judge(found).and_then(|sound| terms.in_time(sound)) {
            Ok(sound) => sound,
            Err(fault) => return self.fault(&lines, found, &fault),
        };
        match terms.checks.rescinded.is_kept().then(|| bench.standing(&sound)) {
            None => {}
            Some(Standing::Stands(voice)) => sound.voice = voice,
            Some(Standing::Rescinded(fault)) => return self.fault(&lines, found, &fault),
            Some(Standing::Unknown(why)) => {
                if self.unread.len() < KEPT {
                    self.unread.push(why);
                }
                return;
            }
        }
        // The very bytes of which the signature was just verified.
        for i in lines {
            match unlike(&wanted[i], &statement, &sound) {
                Some(fault) => self.fault(&[i], found, &fault),
                // One signer once: anybody may hang up copies of what he signed.
                None if self.lines[i].iter().any(|s| s.voice == sound.voice) => {}
                None => self.lines[i].push(sound.clone()),
            }
        }
    }

    fn fault(&mut self, lines: &[usize], found: &Found, fault: &Fault) {
        for i in lines {
            let kept = &mut self.faults[*i];
            // Of trusted signers first: whoever hangs up junk does not hide why a good one does not count.
            let far = |f: &Fault| {
                u8::from(f.code == Code::SignatureUntrusted || f.code == Code::SignatureMalformed)
            };
            let at = kept.partition_point(|(_, f)| far(f) <= far(fault));
            kept.insert(at, ((found.manifest.clone(), found.form), fault.clone()));
            if kept.len() > KEPT {
                kept.truncate(KEPT);
                self.not_kept += 1;
            }
        }
    }

    /// Whether looking further could change anything.
    pub(in crate::trust) fn is_open(&self, wanted: &[Attestations]) -> bool {
        let met = |(line, have): (&Attestations, &Vec<Sound>)| {
            signers(&line.signers, have).len() >= line.signers.threshold.get() as usize
        };
        !self.ended && !wanted.iter().zip(&self.lines).all(met)
    }

    /// The report.
    pub(in crate::trust) fn report(&self, wanted: &[Attestations]) -> SignatureReport {
        let lines: Vec<LineReport> = wanted
            .iter()
            .zip(&self.lines)
            .enumerate()
            .map(|(i, (line, have))| self.line(i, line, have))
            .collect();
        let mut checks = Vec::new();
        for (faults, line) in self.faults.iter().zip(&lines) {
            let says_no = line.check.is_fail() && line.check.code.says() == Says::No;
            let new = faults.iter().take(TOLD).map(|(of, fault)| told(Some(of), fault, says_no));
            for check in new {
                if !checks.contains(&check) {
                    checks.push(check);
                }
            }
        }
        for (line, have) in wanted.iter().zip(&self.lines) {
            checks.extend(have.iter().take(TOLD).map(|sound| counted(line, sound)));
        }
        if self.not_kept > 0 {
            let detail = format!("{} more that do not count", self.not_kept);
            checks.push(Check::note(Code::SignatureMore, detail));
        }
        checks.extend(self.unread.iter().take(3).map(|why| Check::note(Code::AttestationOpen, why)));
        SignatureReport { lines, checks, signed: None }
    }

    fn line(&self, i: usize, line: &Attestations, have: &[Sound]) -> LineReport {
        let signers = signers(&line.signers, have);
        let (wanted, have) = (line.signers.threshold.get() as usize, signers.len());
        let of = match have {
            0 => String::new(),
            _ => format!(" ({})", signers.join("; ")),
        };
        let detail = format!("{}: {have} of {wanted} signers{of}", line.predicate_type);
        let check = if have >= wanted {
            Check::pass(Code::Attestation, detail)
        } else if let Some(why) = &self.cut {
            Check::fail(Code::AttestationCap, format!("{detail}; {why}, and not all was read"))
        } else if let Some(why) = self.unread.first() {
            Check::fail(Code::AttestationOpen, format!("{detail}; {why}"))
        } else if self.faults[i].is_empty() && have == 0 {
            let broken = match self.broken {
                0 => String::new(),
                n => format!(" ({n} that hang there cannot be read)"),
            };
            let detail = format!(
                "{}: {wanted} required, and no bundle that refers to it is one{broken}",
                line.predicate_type
            );
            Check::fail(Code::AttestationNone, detail)
        } else {
            Check::fail(Code::AttestationShort, detail)
        };
        let check = check.with("type", line.predicate_type.as_str()).with("threshold", wanted);
        LineReport::of(&line.signers, signers.clone(), check.with("signers", signers))
    }
}

/// That a line cannot be met, whatever hangs there.
pub(in crate::trust) fn unmeetable(line: &Attestations) -> LineReport {
    let (wanted, anchors) = (line.signers.threshold.get() as usize, line.signers.from.len());
    let of = &line.predicate_type;
    let check = if anchors < wanted {
        let detail = format!(
            "{of}: {wanted} signers are required, and {anchors} anchors of signatures are in scope for it"
        );
        Check::fail(Code::AttestationShort, detail)
    } else {
        let detail = format!("{of}: not looked for, another one cannot be there");
        Check::new(Code::Attestation, crate::trust::report::Outcome::NotReached, detail)
    };
    LineReport::of(&line.signers, Vec::new(), check.with("type", of.as_str()).with("threshold", wanted))
}

/// The first member of the predicate that is not what the line asks for.
fn unlike(line: &Attestations, statement: &Statement, sound: &Sound) -> Option<Fault> {
    let field = line.fields.iter().find(|field| !field.holds(statement.predicate()))?;
    let found = match statement.predicate().pointer(&field.pointer) {
        None => "is not there".to_owned(),
        Some(value) => format!("is {}", value.to_string().chars().take(MAX_VALUE).collect::<String>()),
    };
    let who = sound.voice.who();
    Some(Fault::new(Code::AttestationField, format!("{who} says that \"{}\" {found}", field.pointer)))
}

fn counted(line: &Attestations, sound: &Sound) -> Check {
    let anchors: Vec<String> = sound.voice.anchors().iter().cloned().collect();
    let detail =
        format!("{} by {}, the anchor {}", line.predicate_type, sound.voice.who(), anchors.join(", "));
    let check = Check::pass(Code::AttestationCounted, detail).with("type", line.predicate_type.as_str());
    check.with("anchors", anchors).with("manifest", sound.manifest.to_string())
}
