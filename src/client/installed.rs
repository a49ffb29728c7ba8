//! What was verified or copied here: one line each in a file of the home, for `audit` to compare with (docs/formats.md). A
//! last line that a crash cut off is set aside with the next one; the oldest go when there are too many.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
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

/// The first line of a log that grew too long: what went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dropped {
    /// How many lines.
    pub dropped: usize,
    /// The time of the last of them.
    pub until: UnixTime,
}

/// What a log holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    /// Every line that can be read.
    pub lines: Vec<Installed>,
    /// Lines that cannot.
    pub unread: usize,
    /// Lines that went because there were too many, all before this time.
    pub dropped: Option<Dropped>,
    /// Whether the last line was cut off while it was written: whoever wrote it was not told that it is there.
    pub torn: bool,
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
        Ok(self.load_counted()?.lines)
    }

    /// Every line that can be read, and what is wrong with the others.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn load_counted(&self) -> io::Result<Log> {
        let mut bytes = Vec::new();
        match File::open(&self.path) {
            Ok(file) => file.take(MAX_BYTES).read_to_end(&mut bytes)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Log::default()),
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
        let Log { lines: old, dropped: before, .. } = self.load_counted()?;
        let key = |i: &Installed| (i.done, i.reference.clone(), i.digest.clone(), i.collection.clone());
        let mut known: HashSet<_> = old.iter().map(key).collect();
        let fresh: Vec<&Installed> = new.iter().filter(|one| known.insert(key(one))).collect();
        if fresh.is_empty() {
            return Ok(());
        }
        if old.len() + fresh.len() > MAX_LINES {
            let keep = (MAX_LINES / 2).saturating_sub(fresh.len());
            let (gone, rest) = old.split_at(old.len().saturating_sub(keep));
            let until = gone.iter().map(|one| one.at).chain(before.map(|b| b.until)).max();
            let dropped = gone.len() + before.map_or(0, |b| b.dropped);
            let mut temp = tempfile::NamedTempFile::new_in(folder)?;
            if let Some(until) = until {
                temp.write_all(&serde_json::to_vec(&Dropped { dropped, until })?)?;
                temp.write_all(b"\n")?;
            }
            temp.write_all(&lines(rest.iter().chain(fresh))?)?;
            temp.as_file().sync_all()?;
            temp.persist(&self.path).map_err(|e| e.error)?;
            return File::open(folder)?.sync_all();
        }
        let mut bytes = lines(fresh)?;
        if self.mend()? {
            bytes.insert(0, b'\n');
        }
        let mut file = File::options().create(true).append(true).open(&self.path)?;
        file.write_all(&bytes)?;
        file.sync_all()
    }

    /// Set a last line aside that a crash cut off, in `….torn` beside the log, so that the next line stands alone; whether the last
    /// line is whole and only lacks its end.
    fn mend(&self) -> io::Result<bool> {
        let mut file = match File::options().read(true).write(true).open(&self.path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(e),
        };
        let size = file.metadata()?.len();
        let from = size.saturating_sub(MAX_BYTES);
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        (&file).take(MAX_BYTES).read_to_end(&mut bytes)?;
        let tail = tail(&bytes);
        if tail.is_empty() {
            return Ok(false);
        }
        if serde_json::from_slice::<Installed>(tail).is_ok() {
            return Ok(true);
        }
        let mut aside = self.path.clone().into_os_string();
        aside.push(".torn");
        let mut aside = File::options().create(true).append(true).open(aside)?;
        aside.write_all(&[tail, b"\n"].concat())?;
        aside.sync_all()?;
        file.set_len(size - tail.len() as u64)?;
        file.sync_all()?;
        Ok(false)
    }
}

/// What the bytes of a log hold.
pub fn parse(bytes: &[u8]) -> Log {
    let last = tail(bytes);
    let torn = !last.is_empty() && serde_json::from_slice::<Installed>(last).is_err();
    let whole = if torn { &bytes[..bytes.len() - last.len()] } else { bytes };
    let mut all: Vec<&[u8]> = whole.split(|b| *b == b'\n').filter(|line| !line.is_empty()).collect();
    let dropped = all.first().and_then(|line| serde_json::from_slice::<Dropped>(line).ok());
    if dropped.is_some() {
        all.remove(0);
    }
    let lines: Vec<Installed> = all.iter().filter_map(|line| serde_json::from_slice(line).ok()).collect();
    Log { unread: all.len() - lines.len(), lines, dropped, torn }
}

/// What follows the last end of a line.
fn tail(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    &bytes[end..]
}

fn lines<'a>(all: impl IntoIterator<Item = &'a Installed>) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    for one in all {
        serde_json::to_writer(&mut out, one)?;
        out.push(b'\n');
    }
    Ok(out)
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
            let Log { lines: read, unread, torn, dropped: _ } = log.load_counted().unwrap();
            assert_eq!((read.last(), unread, torn), (Some(&one(3)), 0, false), "cut at {cut}");
            assert!(read.len() <= 3 && read.iter().all(|i| [one(1), one(2), one(3)].contains(i)));
        }
        let aside = fs::read(dir.path().join("x/installed.jsonl.torn")).unwrap();
        assert!(aside.split(|b| *b == b'\n').filter(|l| !l.is_empty()).all(|l| l[0] == b'{'));
    }

    #[test]
    fn a_last_line_that_was_cut_off_is_told_apart_from_one_in_the_middle() {
        let dir = tempfile::tempdir().unwrap();
        let log = InstalledLog::new(dir.path().join("installed.jsonl"));
        let two = lines([&one(1), &one(2)]).unwrap();
        let state = |bytes: &[u8]| {
            fs::write(log.path(), bytes).unwrap();
            let Log { lines, unread, torn, dropped: _ } = log.load_counted().unwrap();
            (lines.len(), unread, torn)
        };
        assert_eq!(state(&two), (2, 0, false));
        assert_eq!(state(&two[..two.len() - 1]), (2, 0, false), "only the end of the line is missing");
        assert_eq!(state(&two[..two.len() - 9]), (1, 0, true));
        assert_eq!(state(&[&two[..], &[0; 512]].concat()), (2, 0, true), "a block that was never written");
        let middle = [&two[..two.len() - 9], b"\n", &lines([&one(3)]).unwrap()].concat();
        assert_eq!(state(&middle), (2, 1, false));
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
            let whole = Log { lines: vec![one(1), one(2)], unread: torn.len(), torn: false, dropped: None };
            proptest::prop_assert_eq!(parse(&bytes), whole);
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
        // What went is said, and not forgotten with the next that go.
        let half = MAX_LINES / 2;
        let counted = || log.load_counted().unwrap();
        let gone = counted().dropped.unwrap();
        assert_eq!((gone.dropped, gone.until, counted().unread), (half + 1, one(half).at, 0));
        log.add(&(MAX_LINES + 1..MAX_LINES + 2 + half).map(one).collect::<Vec<_>>()).unwrap();
        let gone = counted().dropped.unwrap();
        assert_eq!(gone.dropped + counted().lines.len(), MAX_LINES + 2 + half);
    }
}
