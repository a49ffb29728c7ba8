//! What was verified or copied here: one line each in a file of the home, for `audit` to compare with (docs/formats.md). A
//! line that a crash cut off is no line; the oldest go when there are too many.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::lock;
use crate::oci::Digest;
use crate::time::UnixTime;
use crate::tuf::CollectionName;

/// Most lines that are kept.
pub const MAX_LINES: usize = 10_000;
/// Most bytes that are read.
const MAX_BYTES: u64 = 32 * 1024 * 1024;

/// The log of an installation. It need not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledLog {
    path: PathBuf,
}

/// What was done with a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Done {
    /// It was verified, and trusted.
    Verified,
    /// It was copied to `reference`.
    Copied,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// When, the first time.
    pub at: UnixTime,
    /// What was done.
    pub done: Done,
    /// The bundle as it was named; of a copy, where it went.
    pub reference: String,
    /// Its digest.
    pub digest: Digest,
    /// The collection that vouched for it; unknown of what was only copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collection: Option<CollectionName>,
}

impl InstalledLog {
    /// The log in this file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every line that can be read; none where there is no file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn load(&self) -> io::Result<Vec<Installed>> {
        Ok(self.load_counted()?.0)
    }

    /// Every line that can be read, and the number of the others.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn load_counted(&self) -> io::Result<(Vec<Installed>, usize)> {
        let mut bytes = Vec::new();
        match File::open(&self.path) {
            Ok(file) => file.take(MAX_BYTES).read_to_end(&mut bytes)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
            Err(e) => return Err(e),
        };
        Ok(parse(&bytes))
    }

    /// Add what is not there yet. The file grows by whole lines, and is replaced when it grew too long.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn add(&self, new: &[Installed]) -> io::Result<()> {
        let folder =
            self.path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        fs::create_dir_all(folder)?;
        let mut name = self.path.clone().into_os_string();
        name.push(".lck");
        let _lock = lock::exclusive(Path::new(&name), lock::PATIENCE)?;
        let old = self.load()?;
        let key = |i: &Installed| (i.done, i.reference.clone(), i.digest.clone(), i.collection.clone());
        let mut known: HashSet<_> = old.iter().map(key).collect();
        let fresh: Vec<&Installed> = new.iter().filter(|one| known.insert(key(one))).collect();
        if fresh.is_empty() {
            return Ok(());
        }
        if old.len() + fresh.len() > MAX_LINES {
            let keep = (MAX_LINES / 2).saturating_sub(fresh.len());
            let rest = old.iter().skip(old.len().saturating_sub(keep)).chain(fresh);
            let mut temp = tempfile::NamedTempFile::new_in(folder)?;
            temp.write_all(&lines(rest)?)?;
            temp.as_file().sync_all()?;
            temp.persist(&self.path).map_err(|e| e.error)?;
            return File::open(folder)?.sync_all();
        }
        let mut file = File::options().create(true).append(true).read(true).open(&self.path)?;
        let mut bytes = lines(fresh)?;
        // What a crash cut off is ended, so that the next line stands alone.
        if cut_off(&self.path)? {
            bytes.insert(0, b'\n');
        }
        file.write_all(&bytes)?;
        file.sync_all()
    }
}

fn parse(bytes: &[u8]) -> (Vec<Installed>, usize) {
    let lines: Vec<&[u8]> = bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty()).collect();
    let read: Vec<Installed> = lines.iter().filter_map(|line| serde_json::from_slice(line).ok()).collect();
    let unread = lines.len() - read.len();
    (read, unread)
}

fn lines<'a>(all: impl IntoIterator<Item = &'a Installed>) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    for one in all {
        serde_json::to_writer(&mut out, one)?;
        out.push(b'\n');
    }
    Ok(out)
}

fn cut_off(path: &Path) -> io::Result<bool> {
    use std::io::{Seek as _, SeekFrom};
    let mut file = File::open(path)?;
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(n: usize) -> Installed {
        Installed {
            at: UnixTime::from_secs(1_800_000_000),
            done: Done::Verified,
            reference: format!("ex.com/app:{n}"),
            digest: Digest::sha256(n.to_string().as_bytes()),
            collection: None,
        }
    }

    #[test]
    fn lines_are_added_once_and_a_torn_one_hides_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let log = InstalledLog::new(dir.path().join("x/installed.jsonl"));
        assert_eq!(log.load().unwrap(), vec![]);
        log.add(&[one(1), one(1), one(2)]).unwrap();
        log.add(&[one(2)]).unwrap();
        assert_eq!(log.load().unwrap(), vec![one(1), one(2)]);
        let whole = fs::read(log.path()).unwrap();
        for cut in 0..whole.len() {
            fs::write(log.path(), &whole[..cut]).unwrap();
            log.add(&[one(3)]).unwrap();
            let read = log.load().unwrap();
            assert_eq!(read.last(), Some(&one(3)), "cut at {cut}");
            assert!(read.len() <= 3 && read.iter().all(|i| [one(1), one(2), one(3)].contains(i)));
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_lies_there_every_line_is_read_or_counted(
            junk in proptest::collection::vec(proptest::collection::vec(proptest::prelude::any::<u8>(), 1..40), 0..8),
        ) {
            let torn: Vec<Vec<u8>> =
                junk.into_iter().map(|l| l.into_iter().filter(|b| *b != b'\n').chain(*b"!").collect()).collect();
            let mut bytes = lines([&one(1)]).unwrap();
            for line in &torn {
                bytes.extend_from_slice(line);
                bytes.push(b'\n');
            }
            bytes.extend(lines([&one(2)]).unwrap());
            proptest::prop_assert_eq!(parse(&bytes), (vec![one(1), one(2)], torn.len()));
        }
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let dir = tempfile::tempdir().unwrap();
        let log = InstalledLog::new(dir.path().join("installed.jsonl"));
        let many: Vec<Installed> = (0..MAX_LINES).map(one).collect();
        fs::write(log.path(), lines(&many).unwrap()).unwrap();
        log.add(&[one(MAX_LINES)]).unwrap();
        let read = log.load().unwrap();
        assert_eq!((read.len(), read.last()), (MAX_LINES / 2, Some(&one(MAX_LINES))));
    }
}
