//! Files of a CNAB bundle that came by another way than the registry.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::cli::error::CliError;
use crate::cli::sign::read_file;
use crate::oci::{Algorithm, Hasher};
use crate::trust::cnab::{CnabFiles, FileHash, MAX_BUNDLE_JSON, MAX_RELOCATION, RelocationMap};

/// Size of the pieces in which an archive is read, bytes.
const PIECE: usize = 256 << 10;

pub(super) fn read(
    thin: Option<&Path>,
    thick: Option<&Path>,
    relocation: Option<&Path>,
) -> Result<CnabFiles, CliError> {
    Ok(CnabFiles {
        thin: thin.map(|file| read_file(file, MAX_BUNDLE_JSON)).transpose()?.map(Into::into),
        thick: thick.map(hash_of).transpose()?,
        relocation: relocation.map(map).transpose()?,
    })
}

fn map(file: &Path) -> Result<RelocationMap, CliError> {
    let bytes = read_file(file, MAX_RELOCATION)?;
    RelocationMap::parse(&bytes).map_err(|e| {
        CliError::usage(format!("{} is no relocation map", file.display()))
            .reason(e)
            .next("name a JSON object of image references, from those in bundle.json to where they lie now")
    })
}

/// SHA-256 and length of a whole file, of whatever size.
pub(in crate::cli) fn hash_of(file: &Path) -> Result<FileHash, CliError> {
    let failed = |e: std::io::Error| CliError::io("read", file, e);
    let mut open = File::open(file).map_err(failed)?;
    let (mut hasher, mut length, mut piece) = (Hasher::new(Algorithm::Sha256), 0, vec![0; PIECE]);
    loop {
        match open.read(&mut piece).map_err(failed)? {
            0 => return Ok(FileHash { digest: hasher.finish(), length }),
            n => {
                hasher.update(&piece[..n]);
                length += n as u64;
            }
        }
    }
}
