//! What a tar file holds: read once, header by header, into a table of places. Nothing is unpacked, so links, devices and
//! names that lead elsewhere never touch the file system. Everything here blocks.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use super::tar::{BLOCK, Block, Kind, padding, read, records};
use crate::oci::{Algorithm, Digest};
use crate::store::Failure;
use crate::store::layout::disk::{fill_at, read_failure};

/// Most headers that are read, those of long names included.
const MAX_HEADERS: usize = 200_000;
/// Longest name, in bytes.
const MAX_NAME_BYTES: usize = 4096;
/// Largest header extension (pax records, GNU long names), in bytes.
const MAX_EXTENSION_BYTES: u64 = 64 * 1024;

/// Where an entry lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spot {
    /// A file's content.
    File {
        /// Where it begins.
        from: u64,
        /// Its size in bytes.
        size: u64,
    },
    /// Something that is no file; in words.
    Odd(&'static str),
}

/// The table of a tar file. A name that comes again replaces what it named before, as it would be when unpacked.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) index: Option<Spot>,
    pub(super) marker: Option<Spot>,
    pub(super) blobs: HashMap<Digest, Spot>,
    /// Begin and end of what else is there, headers included.
    pub(super) others: Vec<(u64, u64)>,
    /// An entry that cannot be carried into another archive.
    pub(super) odd: Option<String>,
    /// Whether there is a `manifest.json`, as `docker save` writes it.
    pub(super) docker: bool,
}

/// What the headers before an entry say of it.
#[derive(Default)]
struct Extensions {
    from: Option<u64>,
    name: Option<Vec<u8>>,
    size: Option<u64>,
    sparse: bool,
}

/// What a name is to an OCI layout.
enum Role {
    Index,
    Marker,
    Blob(Digest),
    Other {
        docker: bool,
    },
    /// Absolute, or with `..`.
    Outside,
}

impl Contents {
    /// Read the headers of `file`.
    pub(super) fn read(file: &File, path: &Path) -> Result<Self, Failure> {
        let length = file.metadata().map_err(|e| read_failure(path, &e))?.len();
        let not = |reason: String| Failure::NotALayout(format!("{}: {reason}", path.display()));
        let cut = || not("it ends in the middle and was not received whole; get it again".into());
        let mut out = Self::default();
        let mut next = Extensions::default();
        let mut at = 0;
        for _ in 0..MAX_HEADERS {
            let mut block = [0; BLOCK as usize];
            let filled = fill_at(file, at, &mut block).map_err(|e| read_failure(path, &e))?;
            if at == 0
                && let Some(packed) = compression(&block[..filled])
            {
                return Err(not(format!("it is compressed with {packed}; unpack it first")));
            }
            if filled < block.len() {
                return Err(if at == 0 { not("it is no tar file".into()) } else { cut() });
            }
            let header = match read(&block) {
                Block::Header(header) => header,
                Block::End if next.from.is_some() => return Err(cut()),
                Block::End => return Ok(out),
                Block::Bad(_) if at == 0 => return Err(not("it is no tar file".into())),
                Block::Bad(reason) => return Err(not(format!("the tar file is damaged: {reason}"))),
            };
            let begin = *next.from.get_or_insert(at);
            let data = at + BLOCK;
            let described = matches!(header.kind, Kind::File | Kind::Other(_));
            let size = next.size.filter(|_| described).unwrap_or(header.size);
            let end = data.checked_add(size).and_then(|e| e.checked_add(padding(size)));
            // The padding of the very last file is sometimes left out, but then the end marker is missing, too.
            let end = end.filter(|e| *e <= length).ok_or_else(cut)?;
            let extension = || -> Result<Vec<u8>, Failure> {
                if size > MAX_EXTENSION_BYTES {
                    let limit = format!("{MAX_EXTENSION_BYTES} bytes");
                    return Err(Failure::TooLarge { what: "a header of the tar file".into(), limit });
                }
                let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
                fill_at(file, data, &mut bytes).map_err(|e| read_failure(path, &e))?;
                Ok(bytes)
            };
            let malformed = || not("the tar file is damaged: a pax header is malformed".into());
            match header.kind {
                Kind::Records => next.read(&extension()?).ok_or_else(malformed)?,
                Kind::GlobalRecords => {
                    let mut global = Extensions::default();
                    global.read(&extension()?).ok_or_else(malformed)?;
                    if global.name.is_some() || global.size.is_some() || global.sparse {
                        return Err(not("a pax header gives one name or size to all entries".into()));
                    }
                }
                Kind::LongName => {
                    let mut name = extension()?;
                    name.truncate(name.iter().position(|b| *b == 0).unwrap_or(name.len()));
                    next.name = Some(name);
                }
                Kind::LongLink => {
                    extension()?;
                }
                Kind::File | Kind::Directory | Kind::Other(_) => {
                    let name = next.name.take().unwrap_or(header.name);
                    if name.len() > MAX_NAME_BYTES {
                        let limit = format!("{MAX_NAME_BYTES} bytes");
                        return Err(Failure::TooLarge { what: "a name in the tar file".into(), limit });
                    }
                    let kind = if next.sparse { Kind::Other("a sparse file") } else { header.kind };
                    out.add(&name, kind, (data, size), (begin, end));
                    next = Extensions::default();
                }
            }
            at = end;
        }
        let limit = format!("{MAX_HEADERS} headers");
        Err(Failure::TooLarge { what: format!("the tar file {}", path.display()), limit })
    }

    fn add(&mut self, name: &[u8], kind: Kind, (from, size): (u64, u64), (begin, end): (u64, u64)) {
        let spot = match kind {
            Kind::Other(what) => Spot::Odd(what),
            _ => Spot::File { from, size },
        };
        let role = role(name);
        let odd = match (kind, &role) {
            (Kind::Other(what), _) => Some(what),
            (_, Role::Outside) => Some("a name that leads out of it"),
            _ => None,
        };
        if let Some(what) = odd {
            let name: String = String::from_utf8_lossy(name).chars().take(200).collect();
            self.odd.get_or_insert_with(|| format!("\"{name}\" ({what})"));
        }
        match role {
            // A directory of such a name hides no file: unpacking would fail.
            _ if kind == Kind::Directory => self.keep_other(begin, end),
            Role::Index => self.index = Some(spot),
            Role::Marker => self.marker = Some(spot),
            Role::Blob(digest) => {
                self.blobs.insert(digest, spot);
            }
            Role::Other { docker } => {
                self.docker |= docker;
                self.keep_other(begin, end);
            }
            Role::Outside => {}
        }
    }

    fn keep_other(&mut self, begin: u64, end: u64) {
        match self.others.last_mut() {
            Some((_, last)) if *last == begin => *last = end,
            _ => self.others.push((begin, end)),
        }
    }
}

impl Extensions {
    fn read(&mut self, bytes: &[u8]) -> Option<()> {
        let mut read = records(bytes)?;
        if let Some(path) = read.remove(&b"path"[..]) {
            self.name = Some(path);
        }
        if let Some(size) = read.remove(&b"size"[..]) {
            let digits = Some(size).filter(|s| !s.is_empty() && s.iter().all(u8::is_ascii_digit))?;
            self.size = Some(std::str::from_utf8(&digits).ok()?.parse().ok()?);
        }
        self.sparse |= read.keys().any(|k| k.starts_with(b"GNU.sparse."));
        Some(())
    }
}

fn role(name: &[u8]) -> Role {
    let Ok(name) = std::str::from_utf8(name) else { return Role::Other { docker: false } };
    if name.starts_with('/') || name.split('/').any(|c| c == "..") {
        return Role::Outside;
    }
    let parts: Vec<&str> = name.split('/').filter(|c| !c.is_empty() && *c != ".").take(4).collect();
    match parts[..] {
        ["index.json"] => Role::Index,
        ["oci-layout"] => Role::Marker,
        ["manifest.json"] => Role::Other { docker: true },
        ["blobs", algorithm, hex] => {
            let known = [Algorithm::Sha256, Algorithm::Sha512].iter().any(|a| a.as_str() == algorithm);
            let digest = known.then(|| format!("{algorithm}:{hex}").parse().ok()).flatten();
            digest.map_or(Role::Other { docker: false }, Role::Blob)
        }
        _ => Role::Other { docker: false },
    }
}

fn compression(start: &[u8]) -> Option<&'static str> {
    let known: [(&[u8], &str); 4] = [
        (b"\x1f\x8b", "gzip (gunzip)"),
        (b"\x28\xb5\x2f\xfd", "zstd (unzstd)"),
        (b"\xfd7zXZ\0", "xz (unxz)"),
        (b"BZh", "bzip2 (bunzip2)"),
    ];
    known.iter().find(|(magic, _)| start.starts_with(magic)).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests;
