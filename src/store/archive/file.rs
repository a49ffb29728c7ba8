//! The tar file as the medium of a layout: read in place; written into a temporary file beside it, which is also the lock
//! of writers and takes the archive's name at the end. Everything here blocks.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::contents::{Contents, Spot};
use super::tar::{self, padding};
use super::temporary::Temporary;
use crate::oci::{Descriptor, Digest};
use crate::store::Failure;
use crate::store::layout::disk::{Disk, System, Writer, fill_at, read_failure, write_failure};
use crate::store::layout::files::{MAX_MARKER_BYTES, check_marker, marker, open_regular};
use crate::store::layout::index::Index;
use crate::store::layout::medium::{Extent, MAX_INDEX_BYTES, Medium, Slot, Stamp};

/// Largest archive that is written, in bytes: what one file on ext4 holds.
const MAX_ARCHIVE_BYTES: u64 = 1 << 44;

/// A tar file that holds an OCI layout, or will.
#[derive(Debug)]
pub struct TarFile {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    state: Mutex<State>,
    /// Told when a blob is kept or given up.
    settled: Condvar,
    held: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    base: Option<Base>,
    session: Option<Session>,
    /// Why nothing more is written: a commit failed, and what was pushed before it is gone.
    broken: Option<Failure>,
}

/// The file as it is.
#[derive(Debug)]
struct Base {
    file: Arc<File>,
    stamp: Stamp,
    contents: Contents,
}

/// The file as it will be.
#[derive(Debug)]
struct Session {
    temporary: Temporary,
    /// What it will replace, and what that was when it was read; `None` when nothing was there.
    target: PathBuf,
    was: Option<Stamp>,
    /// The end of the last blob that was kept.
    end: u64,
    /// Blobs that are being written: from where to where.
    open: BTreeMap<u64, u64>,
    blobs: HashMap<Digest, Room>,
    removed: HashSet<Digest>,
    index: Option<Vec<u8>>,
    changed: bool,
}

/// The place of a blob in the new file, known before its bytes are there: blobs are written side by side.
#[derive(Debug, Clone, Copy)]
struct Room {
    begin: u64,
    data: u64,
    size: u64,
    end: u64,
}

struct NewEntry<'a> {
    tar: &'a TarFile,
    digest: Digest,
    room: Room,
    header: Vec<u8>,
    writer: Writer,
    file: Arc<File>,
}

impl Slot for NewEntry<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.writer.write(bytes)
    }

    fn keep(mut self: Box<Self>) -> Result<(), Failure> {
        self.writer.write(zeros(padding(self.room.size)))?;
        self.writer.finish()?;
        let mut state = self.tar.state();
        let Some(session) = state.session.as_mut() else { return Err(gone()) };
        let at = (self.room.begin, session.temporary.path());
        let put = self.tar.disk.write_at(&self.file, at.1, at.0, &self.header);
        put.map_err(|e| write_failure(self.tar.beside(), &e))?;
        session.removed.remove(&self.digest);
        session.blobs.insert(self.digest.clone(), self.room);
        session.end = session.end.max(self.room.end);
        session.changed = true;
        Ok(())
    }
}

impl Drop for NewEntry<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.tar.state().session.as_mut() {
            session.open.remove(&self.room.begin);
        }
        self.tar.settled.notify_all();
    }
}

impl Medium for TarFile {
    fn stamp(&self) -> Result<Stamp, Failure> {
        let mut state = self.state();
        self.look(&mut state)?;
        match (&state.base, &state.session) {
            (Some(base), _) => Ok(base.stamp.clone()),
            (None, Some(_)) => Ok(Stamp::default()),
            (None, None) => Err(self.absent()),
        }
    }

    fn read_index(&self) -> Result<Vec<u8>, Failure> {
        let mut state = self.state();
        self.look(&mut state)?;
        match (&state.base, &state.session) {
            (_, Some(Session { index: Some(index), .. })) => Ok(index.clone()),
            (Some(base), _) => self.small(base, "index.json", base.contents.index, MAX_INDEX_BYTES),
            (None, Some(_)) => Ok(Index::empty().to_bytes()),
            (None, None) => Err(self.absent()),
        }
    }

    fn replace_index(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut state = self.state();
        let session = self.session(&mut state)?;
        session.index = Some(bytes.to_vec());
        session.changed = true;
        Ok(())
    }

    /// The lock is held from the first write to the commit.
    fn lock(&self) -> Result<Option<File>, Failure> {
        self.begin().map(|()| None)
    }

    fn blob(&self, digest: &Digest) -> Result<Option<Extent>, Failure> {
        let mut state = self.state();
        self.look(&mut state)?;
        if let Some(session) = &state.session {
            if let Some(room) = session.blobs.get(digest) {
                let (file, path) = (session.temporary.file().clone(), self.path.as_path().into());
                return Ok(Some(Extent { file, path, from: room.data, length: room.size }));
            }
            if session.removed.contains(digest) {
                return Ok(None);
            }
        }
        let Some(base) = &state.base else { return Ok(None) };
        let Some(spot) = base.contents.blobs.get(digest) else { return Ok(None) };
        self.extent(base, &digest.to_string(), *spot).map(Some)
    }

    fn begin_blob(&self, blob: &Descriptor) -> Result<Box<dyn Slot + '_>, Failure> {
        let mut state = self.state();
        let session = self.session(&mut state)?;
        let header = tar::header(&name_of(&blob.digest), blob.size);
        let begin = session.next();
        let data = begin + header.len() as u64;
        let end = data.checked_add(blob.size).and_then(|e| e.checked_add(padding(blob.size)));
        let end = end.filter(|e| *e <= MAX_ARCHIVE_BYTES).ok_or_else(|| {
            let limit = "16 TiB for an archive".to_owned();
            Failure::TooLarge { what: format!("blob {}", blob.digest), limit }
        })?;
        session.open.insert(begin, end);
        let file = session.temporary.file().clone();
        let path = session.temporary.path().to_owned();
        let writer = Writer::new(self.disk.clone(), file.clone(), path, data);
        let room = Room { begin, data, size: blob.size, end };
        let digest = blob.digest.clone();
        Ok(Box::new(NewEntry { tar: self, digest, room, header, writer, file }))
    }

    fn remove_blob(&self, digest: &Digest) {
        if let Some(session) = self.state().session.as_mut() {
            session.blobs.remove(digest);
            session.removed.insert(digest.clone());
            session.changed = true;
        }
    }

    fn hold(&self, held: bool) {
        self.held.store(held, Ordering::Release);
    }

    fn commit(&self) -> Result<(), Failure> {
        if self.held.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut state = self.state();
        while state.session.as_ref().is_some_and(|s| !s.open.is_empty()) {
            state = self.settled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(failure) = &state.broken {
            return Err(failure.clone());
        }
        let State { base, session, .. } = &mut *state;
        let Some(session) = session.as_mut().filter(|s| s.changed) else { return Ok(()) };
        let sealed = self.seal(base.as_ref(), session);
        // It has another name now, and the lock with it; or its blobs may have been moved half way.
        state.session = None;
        state.base = None;
        state.broken = sealed.as_ref().err().cloned();
        sealed
    }
}

impl TarFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self::on(Arc::new(System), path)
    }

    /// The same on a disk of its own kind.
    pub(in crate::store) fn on(disk: Arc<dyn Disk>, path: PathBuf) -> Self {
        Self { path, disk, state: Mutex::default(), settled: Condvar::new(), held: AtomicBool::new(false) }
    }

    /// Check that there is an archive.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let mut state = self.state();
        self.look(&mut state)?;
        if state.base.is_some() { Ok(()) } else { Err(self.absent()) }
    }

    /// Take the lock of writers, and keep it until the commit.
    pub(in crate::store) fn begin(&self) -> Result<(), Failure> {
        self.session(&mut self.state()).map(|_| ())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Read the file's table when it is another file than before. While the lock is held nobody replaces it.
    fn look(&self, state: &mut State) -> Result<(), Failure> {
        if state.session.is_none() {
            let known = state.base.as_ref().map(|b| &b.stamp);
            let now = match fs::metadata(&self.path) {
                Ok(m) => Some(Stamp::of(&m)),
                Err(e) if e.kind() == ErrorKind::NotFound => None,
                Err(e) => return Err(read_failure(&self.path, &e)),
            };
            if known.is_none() || known != now.as_ref() {
                state.base = None;
                state.base = self.load()?;
            }
        }
        Ok(())
    }

    /// Finish the new file, and let it be the archive.
    fn seal(&self, base: Option<&Base>, session: &mut Session) -> Result<(), Failure> {
        // Looked at before the work, and again after it.
        self.unchanged(session)?;
        self.finish(base, session)?;
        self.unchanged(session)?;
        session.temporary.rename(&session.target).map_err(|e| write_failure(self.beside(), &e))?;
        let dir = session.target.parent().unwrap_or(&session.target);
        self.disk.sync_dir(dir).map_err(|e| write_failure(dir, &e))
    }

    /// Programs that know nothing of the lock write archives, too.
    fn unchanged(&self, session: &Session) -> Result<(), Failure> {
        let now = self.there(&session.target)?;
        if now.map(|m| Stamp::of(&m)) == session.was { Ok(()) } else { Err(self.replaced()) }
    }

    /// What lies at the target; `None` when nothing does.
    fn there(&self, target: &Path) -> Result<Option<Metadata>, Failure> {
        match fs::symlink_metadata(target) {
            Ok(m) => Ok(Some(m)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(read_failure(&self.path, &e)),
        }
    }

    fn replaced(&self) -> Failure {
        let path = self.path.display();
        Failure::Locked(format!(
            "another program changed {path} while it was written, and its file was left as it is"
        ))
    }

    /// The session of writing; begun if there is none.
    fn session<'a>(&self, state: &'a mut State) -> Result<&'a mut Session, Failure> {
        if let Some(failure) = &state.broken {
            return Err(failure.clone());
        }
        if state.session.is_none() {
            let target = self.target()?;
            let temporary = Temporary::take(self.disk.clone(), &target, &self.path)?;
            let there = self.there(&target)?;
            if let Some(m) = &there {
                temporary.protect(m).map_err(|e| write_failure(self.beside(), &e))?;
            }
            let was = there.map(|m| Stamp::of(&m));
            let base = self.load()?;
            if base.as_ref().is_some_and(|b| Some(&b.stamp) != was.as_ref()) {
                return Err(self.replaced());
            }
            if let Some(odd) = base.as_ref().and_then(|b| b.contents.odd.as_ref()) {
                return Err(Failure::NotALayout(format!(
                    "{} holds {odd}, which is not carried over; copy to a new file",
                    self.path.display()
                )));
            }
            state.base = base;
            state.session = Some(Session {
                temporary,
                target,
                was,
                end: 0,
                open: BTreeMap::new(),
                blobs: HashMap::new(),
                removed: HashSet::new(),
                index: None,
                changed: false,
            });
        }
        state.session.as_mut().ok_or_else(gone)
    }

    /// The file's table; `None` when there is none, or an empty one.
    fn load(&self) -> Result<Option<Base>, Failure> {
        let name = self.path.display();
        if fs::metadata(&self.path).is_ok_and(|m| m.is_dir()) {
            return Err(Failure::NotALayout(format!("{name} is a directory; write oci:{name}")));
        }
        let Some(file) = open_regular(&self.path)? else { return Ok(None) };
        let m = file.metadata().map_err(|e| read_failure(&self.path, &e))?;
        if m.len() == 0 {
            return Ok(None);
        }
        let contents = Contents::read(&file, &self.path)?;
        let base = Base { file: Arc::new(file), stamp: Stamp::of(&m), contents };
        let Some(marker) = base.contents.marker else {
            let why = if base.contents.docker {
                "it is an archive of \"docker save\" without an OCI layout; \
                 skopeo copy docker-archive:FILE oci-archive:NEW makes one"
            } else {
                "it holds no file \"oci-layout\""
            };
            return Err(Failure::NotALayout(format!("{name}: {why}")));
        };
        check_marker(&self.path, &self.small(&base, "oci-layout", Some(marker), MAX_MARKER_BYTES)?)?;
        if base.contents.index.is_none() {
            return Err(Failure::NotALayout(format!("{name} holds no index.json")));
        }
        Ok(Some(base))
    }

    /// Where the file lies when links are followed: these stay, and what they lead to is replaced.
    fn target(&self) -> Result<PathBuf, Failure> {
        let absent = |e: &io::Error| e.kind() == ErrorKind::NotFound;
        match fs::canonicalize(&self.path) {
            Err(e) if absent(&e) && fs::symlink_metadata(&self.path).is_err_and(|e| absent(&e)) => {
                let dir = fs::canonicalize(self.beside()).map_err(|e| write_failure(self.beside(), &e))?;
                let name = self.path.file_name();
                name.map(|n| dir.join(n)).ok_or_else(|| write_failure(&dir, &ErrorKind::InvalidInput.into()))
            }
            found => found.map_err(|e| read_failure(&self.path, &e)),
        }
    }

    /// Its directory.
    fn beside(&self) -> &Path {
        self.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
    }

    /// Everything that the new file holds beside the new blobs, and the end.
    fn finish(&self, base: Option<&Base>, session: &mut Session) -> Result<(), Failure> {
        session.close_gaps(&*self.disk, &self.path)?;
        let (file, path) = (session.temporary.file().clone(), session.temporary.path().to_owned());
        let mut out = Writer::new(self.disk.clone(), file.clone(), path.clone(), session.end);
        let (mut index, mut mark) = (Index::empty().to_bytes(), marker());
        if let Some(base) = base {
            let stays = |d: &Digest| !session.blobs.contains_key(d) && !session.removed.contains(d);
            let mut kept: Vec<(u64, u64, &Digest)> = Vec::new();
            for (digest, spot) in base.contents.blobs.iter().filter(|(d, _)| stays(d)) {
                if let Spot::File { from, size } = *spot {
                    kept.push((from, size, digest));
                }
            }
            kept.sort_unstable();
            for (from, size, digest) in kept {
                out.write(&tar::header(&name_of(digest), size))?;
                self.carry(base, from, size, &mut out)?;
                out.write(zeros(padding(size)))?;
            }
            for (begin, end) in &base.contents.others {
                self.carry(base, *begin, end - begin, &mut out)?;
            }
            index = self.small(base, "index.json", base.contents.index, MAX_INDEX_BYTES)?;
            mark = self.small(base, "oci-layout", base.contents.marker, MAX_MARKER_BYTES)?;
            let rights = base.file.metadata().and_then(|m| file.set_permissions(m.permissions()));
            rights.map_err(|e| write_failure(self.beside(), &e))?;
        }
        for (name, bytes) in [("index.json", session.index.as_ref().unwrap_or(&index)), ("oci-layout", &mark)]
        {
            let size = bytes.len() as u64;
            out.write(&tar::header(name, size))?;
            out.write(bytes)?;
            out.write(zeros(padding(size)))?;
        }
        out.write(&tar::END)?;
        out.finish()?;
        let cut = self.disk.set_len(&file, &path, out.position());
        cut.and_then(|()| self.disk.sync(&file, &path)).map_err(|e| write_failure(self.beside(), &e))
    }

    /// Bytes of the old file, as they are.
    fn carry(&self, base: &Base, from: u64, length: u64, out: &mut Writer) -> Result<(), Failure> {
        let whole = Extent { file: base.file.clone(), path: self.path.as_path().into(), from, length };
        let mut at = 0;
        while at < length {
            let piece = whole.piece(at)?;
            if piece.is_empty() {
                return Err(Failure::Interrupted(format!("{} became shorter", self.path.display())));
            }
            out.write(&piece)?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    fn small(&self, base: &Base, name: &str, spot: Option<Spot>, limit: u64) -> Result<Vec<u8>, Failure> {
        let absent = || Failure::NotALayout(format!("{} holds no {name}", self.path.display()));
        self.extent(base, name, spot.ok_or_else(absent)?)?.whole(limit)
    }

    fn extent(&self, base: &Base, name: &str, spot: Spot) -> Result<Extent, Failure> {
        match spot {
            Spot::File { from, size } => {
                let (file, path) = (base.file.clone(), self.path.as_path().into());
                Ok(Extent { file, path, from, length: size })
            }
            Spot::Odd(what) => {
                let path = self.path.display();
                Err(Failure::NotALayout(format!("{path}: {name} is {what}, not a file")))
            }
        }
    }

    fn absent(&self) -> Failure {
        let what = if self.path.exists() { "is empty" } else { "does not exist" };
        Failure::NotALayout(format!("{} {what}", self.path.display()))
    }
}

impl Session {
    /// Where the next blob goes. Room that was given back is used again, but not that of a blob that somebody may read.
    fn next(&self) -> u64 {
        self.open.values().copied().fold(self.end, u64::max)
    }

    /// Move blobs down over the room of those that did not arrive.
    fn close_gaps(&mut self, disk: &dyn Disk, archive: &Path) -> Result<(), Failure> {
        let mut rooms: Vec<&mut Room> = self.blobs.values_mut().collect();
        rooms.sort_unstable_by_key(|r| r.begin);
        let (file, path) = (self.temporary.file().clone(), self.temporary.path().to_owned());
        let mut buffer = vec![0; crate::store::blob::PIECE_BYTES];
        let mut end = 0;
        for room in rooms {
            let down = room.begin - end;
            let mut at = room.begin;
            while down > 0 && at < room.end {
                let rest = usize::try_from(room.end - at).unwrap_or(usize::MAX).min(buffer.len());
                let filled = fill_at(&file, at, &mut buffer[..rest]).map_err(|e| read_failure(&path, &e))?;
                if filled < rest {
                    return Err(Failure::Interrupted(format!("{} became shorter", archive.display())));
                }
                let put = disk.write_at(&file, &path, at - down, &buffer[..rest]);
                put.map_err(|e| write_failure(path.parent().unwrap_or(&path), &e))?;
                at += rest as u64;
            }
            let moved = Room { begin: end, data: room.data - down, size: room.size, end: room.end - down };
            end = moved.end;
            *room = moved;
        }
        self.end = end;
        Ok(())
    }
}

fn name_of(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex())
}

fn zeros(n: u64) -> &'static [u8] {
    &tar::END[..usize::try_from(n).unwrap_or_default()]
}

fn gone() -> Failure {
    Failure::Interrupted("the archive was written by another task meanwhile".into())
}

#[cfg(test)]
mod tests;
