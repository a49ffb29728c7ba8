//! Judging a CNAB bundle: what was read of it, against its index, what the collection lists, and the caller's files.

use bytes::Bytes;
use serde_json::{Value, json};

use super::bundle_json::{BundleJson, BundleJsonError, Image};
use super::index::{CnabIndex, CnabIndexError, bundle_json_of};
use super::relocation::RelocationMap;
use crate::oci::{Algorithm, Content, Descriptor, Digest, Manifest, Reference};
use crate::trust::code::Code;
use crate::trust::report::{Check, Verdict, verdict_of};
use crate::tuf::Bundle;

/// Most mismatches of which each is told.
const TOLD: usize = 16;

/// Length and SHA-256 of a whole file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileHash {
    /// Its digest.
    pub digest: Digest,
    /// Its length, bytes.
    pub length: u64,
}

/// Files of the caller that must belong to the bundle.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CnabFiles {
    /// A thin bundle file.
    pub thin: Option<Bytes>,
    /// A thick archive.
    pub thick: Option<FileHash>,
    /// A relocation map.
    pub relocation: Option<RelocationMap>,
}

/// What was read of a CNAB bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CnabAnswer {
    /// All of it.
    Read {
        /// The config manifest.
        config: Content,
        /// `bundle.json`.
        bundle_json: Content,
        /// Images that the place says it has not.
        absent: Vec<Digest>,
    },
    /// The config manifest is none; why.
    Config(String),
    /// `bundle.json` is too large; why.
    BundleJson(String),
    /// It could not be looked at, is not there, or came with other bytes than its digest says.
    Unreadable(String),
}

/// What came of a CNAB bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CnabReport {
    /// What it calls itself; nothing goes by it.
    pub name: Option<(String, String)>,
    /// Where `bundle.json` lies.
    pub bundle_json: Option<Descriptor>,
    /// Its images by what `bundle.json` calls them.
    pub images: Vec<(String, Image)>,
    /// The checks, in order.
    pub checks: Vec<Check>,
}

impl FileHash {
    /// As TUF writes it.
    pub fn to_json(&self) -> Value {
        json!({"length": self.length, "hashes": {self.digest.algorithm().as_str(): self.digest.hex()}})
    }
}

impl CnabReport {
    /// What the checks say; none of them failed where it is none.
    pub fn verdict(&self) -> Option<Verdict> {
        verdict_of(&self.checks)
    }
}

/// A bundle that is whole: what a collection may list of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::trust) struct Whole {
    bundle_json: Descriptor,
    /// As the index has them.
    pub(in crate::trust) images: Vec<Descriptor>,
    thick: Option<FileHash>,
}

/// A difference between index and `bundle.json`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Mismatch {
    /// Named, and no entry.
    #[error("bundle.json names {name} as {digest}, and the index has no entry for it")]
    Missing {
        /// What `bundle.json` calls it.
        name: String,
        /// Its `contentDigest`.
        digest: Digest,
    },
    /// An entry, and not named.
    #[error("the index has {name} as {digest}, which bundle.json does not name")]
    Extra {
        /// What the index calls it.
        name: String,
        /// The entry.
        digest: Digest,
    },
    /// Another image.
    #[error("bundle.json names {name} as {expected}, and the entry of the index is {found}")]
    Digest {
        /// What both call it.
        name: String,
        /// `contentDigest`.
        expected: Digest,
        /// In the index.
        found: Digest,
    },
    /// Another media type.
    #[error("bundle.json says that {name} is \"{expected}\", and the entry of the index says \"{found}\"")]
    Type {
        /// What both call it.
        name: String,
        /// In `bundle.json`.
        expected: String,
        /// In the index.
        found: String,
    },
}

impl Mismatch {
    fn code(&self) -> Code {
        match self {
            Self::Missing { .. } => Code::CnabImageMissing,
            Self::Extra { .. } => Code::CnabImageExtra,
            Self::Digest { .. } => Code::CnabImageDigest,
            Self::Type { .. } => Code::CnabImageType,
        }
    }
}

/// Where index and `bundle.json` differ. Each image has its own entry, and each entry its own image.
pub fn compare(index: &CnabIndex, bundle: &BundleJson) -> Vec<Mismatch> {
    let mut out = Vec::new();
    let mut entries: Vec<&Descriptor> = index.invocations().iter().collect();
    let mut unmatched = Vec::new();
    for (i, image) in bundle.invocations().iter().enumerate() {
        let name = invocation(i);
        match entries.iter().position(|e| e.digest == image.digest) {
            Some(at) => out.extend(typed(&name, image, entries.remove(at))),
            None => unmatched.push((name, image)),
        }
    }
    let mut entries = entries.into_iter();
    for (name, image) in unmatched {
        out.push(match entries.next() {
            Some(entry) => other(name, image, entry),
            None => Mismatch::Missing { name, digest: image.digest.clone() },
        });
    }
    out.extend(
        entries.map(|e| Mismatch::Extra { name: "an invocation image".into(), digest: e.digest.clone() }),
    );
    for (name, image) in bundle.components() {
        match index.components().get(name) {
            Some(entry) if entry.digest == image.digest => out.extend(typed(name, image, entry)),
            Some(entry) => out.push(other(name.clone(), image, entry)),
            None => out.push(Mismatch::Missing { name: name.clone(), digest: image.digest.clone() }),
        }
    }
    let unnamed = index.components().iter().filter(|(name, _)| !bundle.components().contains_key(*name));
    out.extend(unnamed.map(|(name, e)| Mismatch::Extra { name: name.clone(), digest: e.digest.clone() }));
    out
}

fn invocation(i: usize) -> String {
    format!("invocationImages[{i}]")
}

fn other(name: String, image: &Image, entry: &Descriptor) -> Mismatch {
    Mismatch::Digest { name, expected: image.digest.clone(), found: entry.digest.clone() }
}

fn typed(name: &str, image: &Image, entry: &Descriptor) -> Option<Mismatch> {
    let said = image.media_type.as_ref().filter(|said| **said != entry.media_type)?;
    let (expected, found) = (said.chars().take(100).collect(), entry.media_type.chars().take(100).collect());
    Some(Mismatch::Type { name: name.to_owned(), expected, found })
}

/// Whether a bundle is whole, for whoever is about to vouch for it.
pub fn look(index: &Result<CnabIndex, CnabIndexError>, read: Option<&CnabAnswer>) -> CnabReport {
    judge(index, read, &CnabFiles::default(), "").0
}

/// Judge one; `reference` is where it lies.
pub(in crate::trust) fn judge(
    index: &Result<CnabIndex, CnabIndexError>,
    answer: Option<&CnabAnswer>,
    files: &CnabFiles,
    reference: &str,
) -> (CnabReport, Option<Whole>) {
    let mut report = CnabReport { name: None, bundle_json: None, images: Vec::new(), checks: Vec::new() };
    let whole = match looked(index, answer, &mut report) {
        Ok((bundle, bundle_json)) => {
            with_files(&bundle, &bundle_json, files, reference, &mut report);
            let images = index.iter().flat_map(CnabIndex::images).map(Descriptor::bare).collect();
            Some(Whole { bundle_json, images, thick: files.thick.clone() })
        }
        Err(check) => {
            report.checks.push(check);
            None
        }
    };
    let whole = whole.filter(|_| report.verdict().is_none());
    (report, whole)
}

/// What was read: `bundle.json` and where it lies. Differences go into the report.
fn looked(
    index: &Result<CnabIndex, CnabIndexError>,
    answer: Option<&CnabAnswer>,
    report: &mut CnabReport,
) -> Result<(BundleJson, Descriptor), Check> {
    let index = index.as_ref().map_err(|e| Check::fail(Code::CnabIndex, e.to_string()))?;
    let (config, bytes, absent) = match answer {
        Some(CnabAnswer::Read { config, bundle_json, absent }) => (config, bundle_json, absent),
        Some(CnabAnswer::Config(why)) => return Err(Check::fail(Code::CnabConfig, why)),
        Some(CnabAnswer::BundleJson(why)) => return Err(Check::fail(Code::CnabBundleJson, why)),
        Some(CnabAnswer::Unreadable(why)) => return Err(Check::fail(Code::CnabUnreadable, why)),
        None => return Err(Check::fail(Code::CnabUnreadable, "it was not read")),
    };
    let bundle_json = config_of(index, config).map_err(|why| Check::fail(Code::CnabConfig, why))?;
    if bytes.digest() != &bundle_json.digest || bytes.descriptor().size != bundle_json.size {
        let why = format!("{} came instead of {}", bytes.digest(), bundle_json.digest);
        return Err(Check::fail(Code::CnabBundleJson, why));
    }
    let bundle = BundleJson::parse(bytes.bytes()).map_err(|e| {
        let code = match e {
            BundleJsonError::Schema(_) => Code::CnabUnreadable,
            _ => Code::CnabBundleJson,
        };
        Check::fail(code, e.to_string())
    })?;
    report.name = Some((bundle.name().to_owned(), bundle.version().to_owned()));
    report.bundle_json = Some(bundle_json.bare());
    let invocations =
        bundle.invocations().iter().enumerate().map(|(i, image)| (invocation(i), image.clone()));
    let components = bundle.components().iter().map(|(name, image)| (name.clone(), image.clone()));
    report.images = invocations.chain(components).collect();
    let mismatches = compare(index, &bundle);
    let told = mismatches.iter().take(TOLD).map(|m| Check::fail(m.code(), m.to_string()));
    report.checks.extend(told);
    report.checks.extend(absent.iter().take(TOLD).map(|digest| {
        let detail = format!("the index names {digest}, and the place says that it is not there");
        Check::fail(Code::CnabImageAbsent, detail).with("digest", digest.to_string())
    }));
    if report.checks.is_empty() {
        let detail = format!(
            "{} {}: bundle.json {}, and the index names each of its {} images once",
            bundle.name(),
            bundle.version(),
            bundle_json.digest,
            report.images.len()
        );
        report
            .checks
            .push(Check::pass(Code::Cnab, detail).with("bundleJson", bundle_json.digest.to_string()));
    }
    Ok((bundle, bundle_json))
}

/// Where `bundle.json` lies, by a config manifest that is the one in the index.
fn config_of(index: &CnabIndex, config: &Content) -> Result<Descriptor, String> {
    let listed = index.config();
    let found = config.descriptor();
    if (found.digest != listed.digest) || found.size != listed.size || found.media_type != listed.media_type {
        return Err(format!(
            "the index names {} ({} bytes of \"{}\"); {} bytes of \"{}\" were served",
            listed.digest, listed.size, listed.media_type, found.size, found.media_type
        ));
    }
    let manifest = Manifest::parse(config).map_err(|e| e.to_string())?;
    bundle_json_of(&manifest).map_err(|e| format!("the config manifest {}: {e}", found.digest))
}

fn with_files(
    bundle: &BundleJson,
    bundle_json: &Descriptor,
    files: &CnabFiles,
    reference: &str,
    report: &mut CnabReport,
) {
    if let Some(thin) = &files.thin {
        let is = FileHash { digest: bundle_json.digest.clone(), length: bundle_json.size };
        let digest = Digest::of(is.digest.algorithm(), thin);
        let file = FileHash { digest, length: thin.len() as u64 };
        report.checks.push(same(&file, &is, Code::CnabThin, "the thin bundle file"));
    }
    if let Some(map) = &files.relocation {
        let repository = match reference.parse::<Reference>() {
            Ok(Reference::Registry(r)) => Some(r.repository),
            _ => None,
        };
        let misplaced = map.misplaced(bundle, repository.as_ref());
        if misplaced.is_empty() {
            let detail = format!("the relocation map places {} images by their digests", report.images.len());
            report.checks.push(Check::pass(Code::CnabRelocation, detail));
        }
        let told = misplaced.iter().take(TOLD);
        report
            .checks
            .extend(told.map(|m| Check::fail(Code::CnabRelocation, format!("the relocation map: {m}"))));
    }
}

fn same(file: &FileHash, expected: &FileHash, code: Code, what: &str) -> Check {
    let check = match file == expected {
        true => Check::pass(code, format!("{what} is {}", file.digest)),
        false => Check::fail(
            code,
            format!(
                "{what} is {} ({} bytes), and the bundle's is {} ({} bytes)",
                file.digest, file.length, expected.digest, expected.length
            ),
        ),
    };
    check.with("expected", expected.digest.to_string()).with("found", file.digest.to_string())
}

/// What the collection's entry says of a whole bundle: the hash of `bundle.json`, that of a thick archive, and whether its images are
/// listed too: `unlisted` is how many are not.
pub(in crate::trust) fn listed(entry: &Bundle, whole: &Whole, unlisted: usize) -> Vec<Check> {
    let mut out = Vec::new();
    let cnab = entry.custom.get("cnab");
    let hash = |name: &str| cnab.and_then(|c| c.get(name)).filter(|v| !v.is_null());
    if let Some(said) = hash("bundle.json") {
        let is = FileHash { digest: whole.bundle_json.digest.clone(), length: whole.bundle_json.size };
        out.push(match read_hash(said) {
            Some(said) => same(&is, &said, Code::CnabListed, "bundle.json"),
            None => Check::fail(Code::CnabListed, "the hash of bundle.json in the entry cannot be read"),
        });
    }
    if let (Some(file), Some(said)) = (&whole.thick, hash("thick")) {
        out.push(match read_hash(said) {
            Some(said) => same(file, &said, Code::CnabThick, "the thick archive"),
            None => Check::fail(Code::CnabThick, "the hash of the thick archive in the entry cannot be read"),
        });
    }
    let all = whole.images.len();
    out.push(match unlisted {
        0 => Check::pass(Code::CnabImages, format!("all {all} images are listed by their digests")),
        n => Check::note(Code::CnabImages, format!("{n} of {all} images are not listed by their digests")),
    });
    out
}

/// `{"length": …, "hashes": {"sha256": …}}`, or sha512 where that is all there is.
fn read_hash(value: &Value) -> Option<FileHash> {
    let hash = |algorithm: Algorithm| Some((algorithm, value["hashes"][algorithm.as_str()].as_str()?));
    let (algorithm, hex) = [Algorithm::Sha256, Algorithm::Sha512].into_iter().find_map(hash)?;
    let digest = format!("{}:{hex}", algorithm.as_str()).parse().ok()?;
    Some(FileHash { digest, length: value["length"].as_u64()? })
}

/// That nobody who vouches says anything of the thick archive.
pub(in crate::trust) fn thick_unlisted(file: &FileHash) -> Check {
    let detail = format!("no TUF anchor that vouches lists a thick archive; the file is {}", file.digest);
    Check::fail(Code::CnabThickUnlisted, detail).with("found", file.digest.to_string())
}
