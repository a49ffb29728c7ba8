//! What the signatures on a bundle come to, against every line that the scope requires.

use std::collections::BTreeSet;

use super::judge::{Bench, Fault, Sound, Standing};
use super::voice::{Voice, distinct};
use super::{Form, Found, Rest, SignaturesAnswer};
use crate::oci::Digest;
use crate::time::UnixTime;
use crate::trust::code::{Code, Says};
use crate::trust::report::{Check, Outcome, Verdict};
use crate::trust::rule::{By, Checks, Signatures, Waivable};

/// Most signatures that do not count, and most that do, of which each is told.
const TOLD: usize = 16;
/// Most of either that are kept at all: the rest is counted.
const KEPT: usize = 256;

/// What was found so far.
#[derive(Debug, Clone)]
pub(in crate::trust) struct Tally {
    /// The bundle.
    digest: Digest,
    sound: Vec<Sound>,
    /// The nearest to counting first.
    faults: Vec<(Option<(Digest, Form)>, Fault)>,
    not_kept: usize,
    /// Signatures of whatever kind that were seen.
    seen: usize,
    unread: Vec<String>,
    cut: Option<String>,
    ended: bool,
    /// Which of those that were seen stand: anybody may hang up copies of them, and a copy adds nothing.
    stand: BTreeSet<Digest>,
}

/// What the signatures of one bundle came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureReport {
    /// One a line that the scope requires.
    pub lines: Vec<LineReport>,
    /// Each signature that was judged, as far as it matters.
    pub checks: Vec<Check>,
    /// Media type and size of the bundle, where its signer says them and they were not looked at.
    pub signed: Option<(String, u64)>,
}

/// One line of what is required, and what it came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineReport {
    /// How many signers.
    pub threshold: u32,
    /// The anchors that count.
    pub from: Vec<String>,
    /// The file that demands it, and for which scope.
    pub by: String,
    /// The scope of the statement; none where it follows from there being anchors alone.
    pub stated_for: Option<String>,
    /// Who signed, of those that count.
    pub signers: Vec<String>,
    /// How it ended.
    pub check: Check,
}

/// What is asked of sound signatures.
#[derive(Debug, Clone, Copy)]
pub(in crate::trust) struct Terms<'a> {
    pub(in crate::trust) lines: &'a [Signatures],
    pub(in crate::trust) checks: &'a Checks,
    pub(in crate::trust) now: UnixTime,
}

impl Terms<'_> {
    /// The signature, unless it or a certificate has expired and that decides.
    pub(super) fn in_time(&self, sound: Sound) -> Result<Sound, Fault> {
        if let Some(lapsed) = sound.lapsed.clone().filter(|_| self.checks.certificate_expiry.is_kept()) {
            return Err(lapsed);
        }
        match sound.expired_at(self.now).filter(|_| self.checks.expiry.is_kept()) {
            Some(expired) => Err(expired),
            None => Ok(sound),
        }
    }
}

impl Tally {
    pub(in crate::trust) fn new(digest: Digest) -> Self {
        Self {
            digest,
            sound: Vec::new(),
            faults: Vec::new(),
            not_kept: 0,
            seen: 0,
            unread: Vec::new(),
            cut: None,
            ended: false,
            stand: BTreeSet::new(),
        }
    }

    pub(in crate::trust) fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Judge what one look brought.
    pub(in crate::trust) fn take(&mut self, answer: &SignaturesAnswer, bench: &Bench<'_>, terms: &Terms<'_>) {
        for found in &answer.found {
            self.seen += 1;
            let itself = found.fingerprint();
            if self.stand.contains(&itself) {
                self.not_kept += 1;
                continue;
            }
            let of = || Some((found.manifest.clone(), found.form));
            match bench.judge(found).and_then(|sound| terms.in_time(sound)) {
                Ok(sound) => self.stands(sound, found, itself, bench, terms),
                Err(fault) => self.fault(of(), fault),
            }
        }
        for why in &answer.broken {
            self.fault(None, Fault::new(Code::SignatureMalformed, why));
        }
        self.unread.extend(answer.unread.iter().take(KEPT - self.unread.len().min(KEPT)).cloned());
        match &answer.rest {
            Rest::More => {}
            Rest::End => self.ended = true,
            Rest::Cut(why) => (self.cut, self.ended) = (Some(why.clone()), true),
        }
    }

    fn stands(
        &mut self,
        mut sound: Sound,
        found: &Found,
        itself: Digest,
        bench: &Bench<'_>,
        terms: &Terms<'_>,
    ) {
        if terms.checks.rescinded.is_kept() {
            match bench.standing(&sound) {
                Standing::Stands(voice) => sound.voice = voice,
                Standing::Rescinded(fault) => {
                    return self.fault(Some((found.manifest.clone(), found.form)), fault);
                }
                Standing::Unknown(why) => {
                    if self.unread.len() < KEPT {
                        self.unread.push(why);
                    }
                    return;
                }
            }
        }
        self.stand.insert(itself);
        // One signer once: anybody may hang up copies of what he signed.
        match self.sound.iter().any(|s| s.voice == sound.voice) {
            true => self.not_kept += 1,
            false => self.sound.push(sound),
        }
    }

    /// The nearest are kept: whoever hangs up junk does not hide why a good one does not count.
    fn fault(&mut self, of: Option<(Digest, Form)>, fault: Fault) {
        let at = self.faults.partition_point(|(_, f)| nearness(f.code) <= nearness(fault.code));
        if at < KEPT {
            self.faults.insert(at, (of, fault));
        }
        if self.faults.len() > KEPT {
            self.faults.truncate(KEPT);
            self.not_kept += 1;
        } else if at >= KEPT {
            self.not_kept += 1;
        }
    }

    /// Whether looking further could change anything.
    pub(in crate::trust) fn is_open(&self, terms: &Terms<'_>) -> bool {
        !self.ended && !self.is_met(terms)
    }

    /// Whether every line is met.
    pub(in crate::trust) fn is_met(&self, terms: &Terms<'_>) -> bool {
        terms.lines.iter().all(|line| signers(line, &self.sound).len() >= line.threshold.get() as usize)
    }

    /// The report.
    pub(in crate::trust) fn report(&self, terms: &Terms<'_>) -> SignatureReport {
        let lines: Vec<LineReport> =
            terms.lines.iter().map(|line| self.line(line, signers(line, &self.sound))).collect();
        let says_no = lines.iter().any(|l| l.check.is_fail() && l.check.code.says() == Says::No);
        let faults = self.faults.iter().take(TOLD);
        let mut checks: Vec<Check> = faults.map(|(of, fault)| told(of.as_ref(), fault, says_no)).collect();
        checks.extend(self.sound.iter().flat_map(|sound| counted(sound, terms)).take(2 * TOLD));
        let more = self.faults.len().saturating_sub(TOLD) + self.not_kept;
        if more > 0 {
            checks.push(Check::note(Code::SignatureMore, format!("{more} more that do not count")));
        }
        checks.extend(self.unread.iter().take(3).map(|why| Check::note(Code::SignatureOpen, why)));
        let signed = self.sound.iter().find_map(|s| Some((s.media_type.clone()?, s.size?)));
        SignatureReport { lines, checks, signed }
    }

    fn line(&self, line: &Signatures, signers: Vec<String>) -> LineReport {
        let (wanted, have) = (line.threshold.get() as usize, signers.len());
        let of = match have {
            0 => String::new(),
            _ => format!(" ({})", signers.join("; ")),
        };
        let check = if have >= wanted {
            Check::pass(Code::Signature, format!("{have} of {wanted} signers{of}"))
        } else if let Some(why) = &self.cut {
            Check::fail(
                Code::SignatureCap,
                format!("{have} of {wanted} signers{of}; {why}, and not all was read"),
            )
        } else if let Some(why) = self.unread.first() {
            Check::fail(Code::SignatureOpen, format!("{have} of {wanted} signers{of}; {why}"))
        } else if self.seen == 0 && self.faults.is_empty() {
            Check::fail(Code::SignatureNone, format!("{wanted} required, and no signature is on the bundle"))
        } else {
            Check::fail(Code::SignatureShort, format!("{have} of {wanted} signers{of}"))
        };
        let check = check.with("threshold", wanted).with("signers", signers.clone());
        LineReport::of(line, signers, check)
    }
}

/// A signature that does not count: a failure where the answer is no, and a note where others suffice or something could not be
/// read.
pub(super) fn told(of: Option<&(Digest, Form)>, fault: &Fault, says_no: bool) -> Check {
    let check = match of {
        Some((manifest, form)) => fault.check(manifest, *form),
        None => fault.bare(),
    };
    if says_no { check } else { Check { outcome: Outcome::Note, ..check } }
}

impl SignatureReport {
    /// Every check, those of the lines last.
    pub fn all_checks(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().chain(self.lines.iter().map(|line| &line.check))
    }
}

impl LineReport {
    /// Where one line cannot be met, none is looked for: that line fails, and the others are not reached.
    pub(in crate::trust) fn unmeetable(line: &Signatures) -> Self {
        let (wanted, anchors) = (line.threshold.get() as usize, line.from.len());
        let check = if anchors < wanted {
            let detail = format!(
                "{wanted} signers are required, and {anchors} anchors of signatures are in scope for it"
            );
            Check::fail(Code::SignatureShort, detail)
        } else {
            Check::new(Code::Signature, Outcome::NotReached, "not looked for: another line cannot be met")
        };
        Self::of(line, Vec::new(), check.with("threshold", wanted))
    }

    pub(in crate::trust) fn of(line: &Signatures, signers: Vec<String>, check: Check) -> Self {
        Self {
            threshold: line.threshold.get(),
            from: line.from.iter().map(|id| id.as_str().to_owned()).collect(),
            by: line.by.to_string(),
            stated_for: line.stated_for.as_ref().map(ToString::to_string),
            signers,
            check,
        }
    }

    /// How the line ended; none where it was not looked for.
    pub fn verdict(&self) -> Option<Verdict> {
        match (&self.check.outcome, self.check.code.says()) {
            (Outcome::NotReached, _) => None,
            (Outcome::Fail, _) if self.check.code == Code::SignatureOff => Some(Verdict::NotChecked),
            (Outcome::Fail, Says::No) => Some(Verdict::NotTrusted),
            (Outcome::Fail, Says::Undecided) => Some(Verdict::Undecided),
            (Outcome::Pass | Outcome::Note | Outcome::Waived(_), _) => Some(Verdict::Trusted),
        }
    }
}

fn counted(sound: &Sound, terms: &Terms<'_>) -> Vec<Check> {
    let anchors: Vec<String> = sound.voice.anchors().iter().cloned().collect();
    let until = sound.expires.map(|at| format!(", until {at}")).unwrap_or_default();
    let detail = format!("{} by the anchor {}{until}", sound.voice.who(), anchors.join(", "));
    let about =
        |check: Check| check.with("manifest", sound.manifest.to_string()).with("form", sound.form.as_str());
    let check = about(Check::pass(Code::SignatureCounted, detail)).with("anchors", anchors);
    let check = match &sound.name {
        Some(name) => check.with("signature", name.to_string()),
        None => check,
    };
    let check = check.with("signedAt", sound.signed_at.map(|at| at.to_string()));
    let check = check.with("expires", sound.expires.map(|at| at.to_string()));
    let waived = |fault: Option<Fault>, by: &Waivable| {
        let (fault, by) = (fault?, by.waived_by()?);
        Some(Check { outcome: Outcome::Waived(reason(by)), ..fault.check(&sound.manifest, sound.form) })
    };
    let expired = waived(sound.expired_at(terms.now), &terms.checks.expiry);
    let lapsed = waived(sound.lapsed.clone(), &terms.checks.certificate_expiry);
    std::iter::once(check).chain(expired).chain(lapsed).collect()
}

/// Who waives something, and why.
pub(in crate::trust) fn reason(by: &By) -> String {
    match by.reason.is_empty() {
        true => format!("by {}", by.file),
        false => format!("{}, by {}", by.reason, by.file),
    }
}

/// The signers that count for a line: as many as there are different anchors for different signers. One anchor is one voice however
/// many signers it vouches for, and one signer however many anchors name him.
pub(super) fn signers(line: &Signatures, counting: &[Sound]) -> Vec<String> {
    let from: BTreeSet<&str> = line.from.iter().map(|id| id.as_str()).collect();
    let named = |v: &&Voice| v.anchors().iter().any(|a| from.contains(a.as_str()));
    let groups = distinct(counting.iter().map(|s| &s.voice).filter(named));
    let options: Vec<Vec<&str>> = groups
        .iter()
        .map(|voices| {
            let anchors = voices.iter().flat_map(|v| v.anchors()).map(String::as_str);
            anchors.filter(|a| from.contains(a)).collect::<BTreeSet<_>>().into_iter().collect()
        })
        .collect();
    let mut taken: Vec<(&str, usize)> = Vec::new();
    for signer in 0..options.len() {
        place(signer, &options, &mut taken, &mut BTreeSet::new());
    }
    let mut matched: Vec<usize> = taken.into_iter().map(|(_, signer)| signer).collect();
    matched.sort_unstable();
    matched.into_iter().map(|i| groups[i][0].who().to_owned()).collect()
}

/// Give a signer an anchor of his own, moving others where they have another (an augmenting path).
fn place<'a>(
    signer: usize,
    options: &[Vec<&'a str>],
    taken: &mut Vec<(&'a str, usize)>,
    tried: &mut BTreeSet<&'a str>,
) -> bool {
    for anchor in &options[signer] {
        if !tried.insert(anchor) {
            continue;
        }
        let holder = taken.iter().find(|(a, _)| a == anchor).map(|(_, s)| *s);
        if holder.is_none_or(|other| place(other, options, taken, tried)) {
            taken.retain(|(a, _)| a != anchor);
            taken.push((anchor, signer));
            return true;
        }
    }
    false
}

/// How near a fault is to counting; the nearest explains best.
fn nearness(code: Code) -> u8 {
    const ORDER: [Code; 24] = [
        Code::RevocationBundle,
        Code::SignatureRescinded,
        Code::SignatureKeyRescinded,
        Code::SignatureCertificateRescinded,
        Code::SignatureExpired,
        Code::SignatureCertificateExpired,
        Code::SignatureArtifact,
        Code::SignaturePredicate,
        Code::SignatureLog,
        Code::SignatureIdentity,
        Code::SignatureIssuer,
        Code::SignatureTime,
        Code::SignatureUnlogged,
        Code::SignatureLogProof,
        Code::SignatureLogUnknown,
        Code::SignatureSct,
        Code::SignatureScheme,
        Code::SignatureCritical,
        Code::SignatureAlgorithm,
        Code::SignatureUsage,
        Code::SignatureChain,
        Code::SignatureDsse,
        Code::SignatureWrong,
        Code::SignatureUntrusted,
    ];
    ORDER.iter().position(|c| *c == code).map_or(u8::MAX, |i| i as u8)
}
