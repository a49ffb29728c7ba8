//! Verifying plain files: finds the links in a folder, and runs inspections between two looks of [`crate::intoto::verify`], if
//! somebody asked for that. It decides nothing.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use super::{ProvenanceError, inspections};
use crate::intoto::verify::{InspectionId, MAX_BYTES, Parameters, Report, Request, UNPACK, unpack, verify};
use crate::intoto::{Key, Link, LinkPath, MAX_DOCUMENT, Stem};
use crate::oci::{Algorithm, Content, Digest, Hasher, MAX_MANIFEST_BYTES, Manifest, media_type};
use crate::time::UnixTime;

/// Most links that are read from a folder; the verifier says which of them are too many.
const MAX_LINKS: usize = crate::intoto::verify::MAX_DOCUMENTS + 1;
/// Deepest folder: one more than sublayouts may be nested.
const MAX_DEPTH: usize = crate::intoto::verify::MAX_DEPTH + 1;

/// What is verified.
#[derive(Debug, Clone, Copy)]
pub struct Verifying<'a> {
    /// The layout's file.
    pub layout: &'a [u8],
    /// Every one of these keys must have signed it.
    pub keys: &'a [Key],
    /// Links with where they lie.
    pub links: &'a [(LinkPath, Vec<u8>)],
    /// Values for the layout.
    pub parameters: &'a Parameters,
    /// What the last step must have made.
    pub product: Option<&'a Path>,
    /// Whose inspections are run.
    pub run: Run,
    /// The one time.
    pub now: UnixTime,
}

/// Whose inspections are run. A sublayout is a functionary's: its commands are not those of whoever made the layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Run {
    /// Nobody's.
    Nothing,
    /// Those of the outermost layout.
    Owner,
    /// Those of sublayouts, too.
    All,
}

/// Verify, and run inspections where that is asked for. `bulla:unpack` is computed from the product, and needs no asking.
///
/// # Errors
/// The product cannot be read, or what an inspection left cannot be recorded.
pub async fn run(verifying: &Verifying<'_>) -> Result<Report, ProvenanceError> {
    let digest = verifying.product.map(digest).transpose()?;
    let mut ran: BTreeMap<InspectionId, Link> = BTreeMap::new();
    let mut folders = BTreeMap::new();
    loop {
        let report = verify(&Request {
            layout: verifying.layout,
            keys: verifying.keys,
            links: verifying.links,
            parameters: verifying.parameters,
            inspections: &ran,
            product: digest.as_ref(),
            now: verifying.now,
        });
        // One that was run is not asked for again, so this ends.
        let mut next = BTreeMap::new();
        for (id, argv) in report.needs() {
            let may = if id.folders.is_empty() { Run::Owner } else { Run::All };
            if argv == [UNPACK] {
                let unpacked = verifying
                    .product
                    .map(|product| unpacked(id, product, digest.as_ref()))
                    .transpose()?
                    .flatten();
                next.extend(unpacked.map(|link| (id.clone(), link)));
            } else if verifying.run >= may {
                // What a layout leaves behind is not seen by another's inspections.
                let folder = match folders.entry(id.folders.clone()) {
                    Entry::Occupied(entry) => entry.into_mut(),
                    Entry::Vacant(entry) => entry.insert(fresh(verifying.product, digest.as_ref())?),
                };
                let link = inspections::run(&id.name, argv, folder.path(), inspections::MAX_TIME).await?;
                next.insert(id.clone(), link);
            }
        }
        if next.is_empty() {
            return Ok(report);
        }
        ran.extend(next);
    }
}

/// The link of `bulla:unpack`, when the product is a manifest.
fn unpacked(
    id: &InspectionId,
    product: &Path,
    wanted: Option<&Digest>,
) -> Result<Option<Link>, ProvenanceError> {
    let bytes = read(product, MAX_MANIFEST_BYTES)?;
    // Longer than a manifest may be, or another file by now.
    if Some(&Digest::sha256(&bytes)) != wanted {
        return Ok(None);
    }
    let kinds = [media_type::OCI_MANIFEST, media_type::OCI_INDEX];
    let content = |kind: &str| Manifest::parse(&Content::new(kind, bytes.clone())).ok();
    let manifest = kinds.into_iter().find_map(content);
    Ok(manifest.and_then(|m| unpack(id.name.clone(), &Digest::sha256(&bytes), &m).ok()))
}

/// An empty folder, with the product in it, under its own name.
fn fresh(product: Option<&Path>, wanted: Option<&Digest>) -> Result<tempfile::TempDir, ProvenanceError> {
    let folder = tempfile::tempdir().map_err(|e| ProvenanceError::write(std::env::temp_dir(), e))?;
    if let Some(path) = product
        && let Some(name) = path.file_name()
    {
        let copy = folder.path().join(name);
        std::fs::copy(path, &copy).map_err(|e| ProvenanceError::write(&copy, e))?;
        if Some(&digest(&copy)?) != wanted {
            return Err(ProvenanceError::read(path, std::io::Error::other("it changed while it was read")));
        }
    }
    Ok(folder)
}

fn digest(path: &Path) -> Result<Digest, ProvenanceError> {
    let unreadable = |e| ProvenanceError::read(path, e);
    let mut file = File::open(path).map_err(unreadable)?;
    let mut hash = Hasher::new(Algorithm::Sha256);
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hash.finish()),
            Ok(n) => hash.update(&buffer[..n]),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(unreadable(e)),
        }
    }
}

/// The links below a folder, and what lies there under no name of a link. Folders that are named as a sublayout's are gone into.
///
/// # Errors
/// A folder or link cannot be read; more links than are looked at.
pub fn links(folder: &Path) -> Result<Vec<(LinkPath, Vec<u8>)>, ProvenanceError> {
    let mut found = Vec::new();
    walk(folder, "", 0, &mut found)?;
    found.sort_unstable();
    let mut total = 0;
    let mut links = Vec::new();
    for (path, file) in found {
        let bytes = read(&file, MAX_DOCUMENT as u64 + 1)?;
        total += bytes.len();
        if total > MAX_BYTES {
            return Err(ProvenanceError::TooManyLinks(folder.to_owned()));
        }
        links.push((path, bytes));
    }
    Ok(links)
}

fn walk(
    folder: &Path,
    above: &str,
    depth: usize,
    found: &mut Vec<(LinkPath, PathBuf)>,
) -> Result<(), ProvenanceError> {
    let unreadable = |e| ProvenanceError::read(folder, e);
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
        let path = entry.path();
        if let Ok(link) = format!("{above}{name}").parse::<LinkPath>() {
            if path.is_file() {
                if found.len() == MAX_LINKS {
                    return Err(ProvenanceError::TooManyLinks(folder.to_owned()));
                }
                found.push((link, path));
            }
        } else if depth < MAX_DEPTH && name.parse::<Stem>().is_ok() && path.is_dir() {
            walk(&path, &format!("{above}{name}/"), depth + 1, found)?;
        }
    }
    Ok(())
}

/// A file, up to `most` bytes.
///
/// # Errors
/// It cannot be read.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>, ProvenanceError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|e| ProvenanceError::read(path, e))?;
    file.take(most).read_to_end(&mut bytes).map_err(|e| ProvenanceError::read(path, e))?;
    Ok(bytes)
}
