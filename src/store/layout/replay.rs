//! A disk that remembers what was done to it, and what is left of that after a power cut: content that was not synced is
//! gone, and so are names whose directory was not synced, or any of them. It can also be full.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use tempfile::TempPath;

use super::disk::{Disk, System};

/// One operation. Files are numbered, since their names change.
#[derive(Debug, Clone)]
enum Op {
    MakeDir(PathBuf),
    Create(PathBuf, usize),
    Write(usize, u64, Vec<u8>),
    SetLen(usize, u64),
    Sync(usize),
    Rename(PathBuf, PathBuf, usize),
    Remove(PathBuf),
    SyncDir(PathBuf),
    /// The program was told that everything before is durable.
    Told,
}

/// Records below `root`, and does everything but syncing for real, too.
#[derive(Debug)]
pub(in crate::store) struct Recorder {
    root: PathBuf,
    log: Mutex<Log>,
}

#[derive(Debug, Default)]
struct Log {
    ops: Vec<Op>,
    /// Which file has a name now.
    names: HashMap<PathBuf, usize>,
    files: usize,
    /// Operations that take room, and after how many of them the disk is full.
    writes: usize,
    full_after: Option<usize>,
}

/// What a power cut leaves of what was not made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Cut {
    /// Nothing.
    Nothing,
    /// All names, no content.
    Names,
    /// Everything, as after a kill.
    Everything,
    /// Some names and some content, by chance.
    Some(u64),
}

impl Recorder {
    pub(in crate::store) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), log: Mutex::default() }
    }

    /// The disk takes `writes` more operations that need room.
    pub(in crate::store) fn full_after(&self, writes: usize) {
        let mut log = self.log();
        log.full_after = Some(log.writes + writes);
    }

    pub(in crate::store) fn empty_again(&self) {
        self.log().full_after = None;
    }

    /// Note that a flush has returned.
    pub(in crate::store) fn told(&self) {
        self.log().ops.push(Op::Told);
    }

    pub(in crate::store) fn operations(&self) -> usize {
        self.log().ops.len()
    }

    /// How many flushes had returned after `n` operations.
    pub(in crate::store) fn told_before(&self, n: usize) -> usize {
        self.log().ops[..n].iter().filter(|op| matches!(op, Op::Told)).count()
    }

    /// Make in `into` what is on the disk when the power goes after `n` operations.
    pub(in crate::store) fn cut(&self, n: usize, how: Cut, into: &Path) {
        let ops = self.log().ops[..n].to_vec();
        let mut chance = Chance(match how {
            Cut::Some(seed) => seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ n as u64,
            _ => 1,
        });
        let mut durable: BTreeMap<PathBuf, Option<usize>> = BTreeMap::new();
        let mut pending: Vec<&Op> = Vec::new();
        let mut synced: HashMap<usize, Vec<u8>> = HashMap::new();
        let mut written: HashMap<usize, Vec<u8>> = HashMap::new();
        for op in &ops {
            match op {
                Op::Write(id, at, bytes) => {
                    let file = written.entry(*id).or_default();
                    let (at, end) =
                        (usize::try_from(*at).unwrap(), usize::try_from(*at).unwrap() + bytes.len());
                    file.resize(file.len().max(end), 0);
                    file[at..end].copy_from_slice(bytes);
                }
                Op::SetLen(id, length) => {
                    written.entry(*id).or_default().resize(usize::try_from(*length).unwrap(), 0);
                }
                Op::Sync(id) => {
                    synced.insert(*id, written.get(id).cloned().unwrap_or_default());
                }
                Op::SyncDir(dir) => {
                    let (of_dir, others) =
                        pending.into_iter().partition(|op| parent(op) == Some(dir.as_path()));
                    pending = others;
                    let of_dir: Vec<&Op> = of_dir;
                    of_dir.into_iter().for_each(|op| name(&mut durable, op));
                }
                Op::Told => {}
                names => pending.push(names),
            }
        }
        for op in pending {
            if match how {
                Cut::Nothing => false,
                Cut::Names | Cut::Everything => true,
                Cut::Some(_) => chance.flip(),
            } {
                name(&mut durable, op);
            }
        }
        for (path, id) in durable {
            let at = into.join(path.strip_prefix(&self.root).unwrap());
            // What lies in a directory whose own name was lost is lost with it.
            if !at.parent().unwrap().is_dir() {
                continue;
            }
            let Some(id) = id else {
                fs::create_dir(&at).unwrap();
                continue;
            };
            let safe = synced.get(&id).cloned().unwrap_or_default();
            let all = written.get(&id).cloned().unwrap_or_default();
            let content = match how {
                Cut::Nothing | Cut::Names => safe,
                Cut::Everything => all,
                Cut::Some(_) if all == safe || chance.flip() => safe,
                Cut::Some(_) if chance.flip() => all[..all.len() / 2].to_vec(),
                Cut::Some(_) => all,
            };
            fs::write(&at, content).unwrap();
        }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap()
    }

    /// Count an operation that needs room.
    fn room(&self) -> io::Result<()> {
        let mut log = self.log();
        log.writes += 1;
        match log.full_after {
            Some(n) if log.writes > n => Err(ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    fn note(&self, op: Op) {
        self.log().ops.push(op);
    }

    fn created(&self, path: &Path) {
        let mut log = self.log();
        let id = log.files;
        log.files += 1;
        log.names.insert(path.to_owned(), id);
        log.ops.push(Op::Create(path.to_owned(), id));
    }

    fn id(&self, path: &Path) -> usize {
        self.log().names[path]
    }
}

impl Disk for Recorder {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.room()?;
        let missing: Vec<&Path> = dir.ancestors().take_while(|a| !a.exists()).collect();
        System.create_dir_all(dir)?;
        missing.iter().rev().for_each(|made| self.note(Op::MakeDir(made.to_path_buf())));
        Ok(())
    }

    fn temporary(&self, dir: &Path) -> io::Result<(File, TempPath)> {
        self.room()?;
        let (file, path) = System.temporary(dir)?;
        self.created(&path);
        Ok((file, path))
    }

    fn open_or_create(&self, path: &Path, private: bool) -> io::Result<File> {
        self.room()?;
        let known = path.exists() && self.log().names.contains_key(path);
        let file = System.open_or_create(path, private)?;
        if !known {
            self.created(path);
        }
        Ok(file)
    }

    fn write_at(&self, file: &File, path: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.room()?;
        System.write_at(file, path, at, bytes)?;
        let id = self.id(path);
        self.note(Op::Write(id, at, bytes.to_vec()));
        Ok(())
    }

    fn set_len(&self, file: &File, path: &Path, length: u64) -> io::Result<()> {
        System.set_len(file, path, length)?;
        let id = self.id(path);
        self.note(Op::SetLen(id, length));
        Ok(())
    }

    fn sync(&self, _file: &File, path: &Path) -> io::Result<()> {
        // Where room is only looked for when the content goes to the disk.
        self.room()?;
        let id = self.id(path);
        self.note(Op::Sync(id));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.room()?;
        System.rename(from, to)?;
        let mut log = self.log();
        let id = log.names.remove(from).unwrap();
        log.names.insert(to.to_owned(), id);
        log.ops.push(Op::Rename(from.to_owned(), to.to_owned(), id));
        Ok(())
    }

    fn link(&self, from: &Path, dir: &Path) -> io::Result<TempPath> {
        self.room()?;
        let linked = System.link(from, dir)?;
        self.created(&linked);
        let (id, content) = (self.id(&linked), fs::read(from)?);
        self.note(Op::Write(id, 0, content));
        Ok(linked)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        System.remove(path)?;
        self.log().names.remove(path);
        self.note(Op::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.room()?;
        self.note(Op::SyncDir(dir.to_owned()));
        Ok(())
    }
}

fn parent(op: &Op) -> Option<&Path> {
    match op {
        Op::MakeDir(p) | Op::Create(p, _) | Op::Rename(_, p, _) | Op::Remove(p) => p.parent(),
        _ => None,
    }
}

fn name(names: &mut BTreeMap<PathBuf, Option<usize>>, op: &Op) {
    match op {
        Op::MakeDir(path) => {
            names.insert(path.clone(), None);
        }
        Op::Create(path, id) => {
            names.insert(path.clone(), Some(*id));
        }
        Op::Rename(from, to, id) => {
            names.remove(from);
            names.insert(to.clone(), Some(*id));
        }
        Op::Remove(path) => {
            names.remove(path);
        }
        _ => {}
    }
}

/// Coins that fall the same way in every run (xorshift).
struct Chance(u64);

impl Chance {
    fn flip(&mut self) -> bool {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 & 0x100 == 0
    }
}
