//! Recording files: names as verifiers compare them, SHA-256 of what they hold, in one order.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use super::{Exclude, ProvenanceError};
use crate::intoto::{ArtifactName, Artifacts, Hashes, IntotoError, MAX_ARTIFACTS};
use crate::oci::{Algorithm, Digest, Hasher};

/// Deepest folder.
const MAX_DEPTH: usize = 128;

/// How files become artifacts.
#[derive(Debug, Clone)]
pub struct Recording {
    /// The folder that paths are relative to.
    pub base: PathBuf,
    /// What is left out.
    pub exclude: Exclude,
    /// Beginnings of names that are taken off: the first that fits.
    pub strip: Vec<String>,
    /// Hash text as if every line ended with a line feed alone.
    pub normalize_line_endings: bool,
}

/// What was recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Names and hashes.
    pub artifacts: Artifacts,
    /// Names that are no file: links that lead nowhere, pipes, sockets, devices.
    pub skipped: Vec<String>,
}

impl Recording {
    /// Record files, and folders with all that is in them. Links to files and to folders are followed.
    ///
    /// # Errors
    /// A path that is not there, that no name can be made of, or that cannot be read; a circle; too many files.
    pub fn record(&self, paths: &[String]) -> Result<Recorded, ProvenanceError> {
        let mut recorded = Recorded::default();
        let mut seen = BTreeMap::new();
        for path in paths {
            let path = path.strip_prefix("file:").unwrap_or(path);
            let name = normal(path);
            if self.exclude.covers(&name) {
                continue;
            }
            // By its name: a path through a symbolic link and back is another file than its words say.
            let file = self.base.join(&name);
            match std::fs::metadata(&file) {
                Err(e) if e.kind() == ErrorKind::NotFound => return Err(ProvenanceError::Absent(file)),
                Err(e) => return Err(ProvenanceError::read(file, e)),
                Ok(found) if found.is_dir() => {
                    self.walk(&file, &name, &mut Vec::new(), &mut recorded, &mut seen)?;
                }
                Ok(found) if found.is_file() => self.add(&file, &name, &mut recorded, &mut seen)?,
                Ok(_) => recorded.skipped.push(name),
            }
        }
        Ok(recorded)
    }

    /// `above` are the folders that lead here, each as the system names it.
    fn walk(
        &self,
        folder: &Path,
        name: &str,
        above: &mut Vec<PathBuf>,
        recorded: &mut Recorded,
        seen: &mut BTreeMap<ArtifactName, PathBuf>,
    ) -> Result<(), ProvenanceError> {
        let unreadable = |e| ProvenanceError::read(folder, e);
        let real = folder.canonicalize().map_err(unreadable)?;
        if above.contains(&real) || above.len() == MAX_DEPTH {
            return Err(ProvenanceError::Circle(folder.to_owned()));
        }
        above.push(real);
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?.file_name();
            let text = entry.to_str().map(str::to_owned);
            entries.push(text.ok_or_else(|| ProvenanceError::Name {
                name: entry.to_string_lossy().into_owned(),
                why: "it is not UTF-8".into(),
            })?);
        }
        entries.sort();
        for entry in entries {
            let file = folder.join(&entry);
            let below = if name == "." { entry } else { format!("{name}/{entry}") };
            if self.exclude.covers(&below) {
                continue;
            }
            match std::fs::metadata(&file) {
                Ok(found) if found.is_dir() => self.walk(&file, &below, above, recorded, seen)?,
                Ok(found) if found.is_file() => self.add(&file, &below, recorded, seen)?,
                Ok(_) => recorded.skipped.push(below),
                // A link that leads nowhere is there, and holds nothing.
                Err(e) if e.kind() == ErrorKind::NotFound && file.is_symlink() => {
                    recorded.skipped.push(below)
                }
                Err(e) => return Err(ProvenanceError::read(file, e)),
            }
        }
        above.pop();
        Ok(())
    }

    fn add(
        &self,
        file: &Path,
        name: &str,
        recorded: &mut Recorded,
        seen: &mut BTreeMap<ArtifactName, PathBuf>,
    ) -> Result<(), ProvenanceError> {
        let stripped = self.strip.iter().find_map(|prefix| name.strip_prefix(prefix.as_str()));
        let name = named(stripped.unwrap_or(name))?;
        match seen.insert(name.clone(), file.to_owned()) {
            // The same path may be named twice.
            Some(before) if before == file => return Ok(()),
            Some(before) if before.canonicalize().ok() != file.canonicalize().ok() => {
                return Err(ProvenanceError::Twice(name.to_string()));
            }
            _ => {}
        }
        if recorded.artifacts.len() == MAX_ARTIFACTS && !recorded.artifacts.contains_key(&name) {
            return Err(ProvenanceError::TooMany);
        }
        let hash = self.hash(file).map_err(|e| ProvenanceError::read(file, e))?;
        recorded.artifacts.insert(name, Hashes::of(&hash));
        Ok(())
    }

    fn hash(&self, path: &Path) -> std::io::Result<Digest> {
        let mut file = File::open(path)?;
        let mut hash = Hasher::new(Algorithm::Sha256);
        let mut buffer = vec![0; 256 << 10];
        let mut pending = false;
        loop {
            let n = match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            if self.normalize_line_endings {
                hash.update(&with_line_feeds(&buffer[..n], &mut pending));
            } else {
                hash.update(&buffer[..n]);
            }
        }
        Ok(hash.finish())
    }
}

/// CR LF and CR become LF; `pending` says that the part before ended with a CR, for which a line feed was given already.
fn with_line_feeds(part: &[u8], pending: &mut bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(part.len());
    for &b in part {
        match b {
            b'\n' if *pending => {}
            b'\r' => out.push(b'\n'),
            b => out.push(b),
        }
        *pending = b == b'\r';
    }
    out
}

/// The path as a name: no `.` segments, none that `..` takes back, `.` for the folder itself.
fn normal(path: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." if names.last().is_some_and(|last| *last != "..") => {
                names.pop();
            }
            name => names.push(name),
        }
    }
    let joined = names.join("/");
    match (path.starts_with('/'), joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// A name that every verifier reads alike (docs/in-toto.md). Stricter than what is read: no control characters.
pub(super) fn named(name: &str) -> Result<ArtifactName, ProvenanceError> {
    let refused = |why: String| ProvenanceError::Name { name: name.chars().take(200).collect(), why };
    if name.chars().any(char::is_control) {
        return Err(refused("it holds a control character".into()));
    }
    name.parse().map_err(|e| match e {
        IntotoError::Artifact { why, .. } => refused(format!("it {why}")),
        e => refused(e.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn tree() -> (tempfile::TempDir, Recording) {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().to_owned();
        for file in ["src/a.c", "src/deep/b.c", "src/.git/config", "src/old.c~", "top.txt"] {
            fs::create_dir_all(base.join(file).parent().unwrap()).unwrap();
            fs::write(base.join(file), "abc").unwrap();
        }
        let none: &[&str] = &[];
        let exclude = Exclude::new(none).unwrap();
        (dir, Recording { base, exclude, strip: Vec::new(), normalize_line_endings: false })
    }

    fn names(recording: &Recording, paths: &[&str]) -> Vec<String> {
        let paths: Vec<String> = paths.iter().map(|p| (*p).to_owned()).collect();
        recording.record(&paths).unwrap().artifacts.into_keys().map(|n| n.to_string()).collect()
    }

    #[test]
    fn files_and_folders() {
        let (_dir, mut recording) = tree();
        assert_eq!(names(&recording, &["."]), ["src/a.c", "src/deep/b.c", "top.txt"]);
        assert_eq!(names(&recording, &["./src//deep/", "src/../top.txt"]), ["src/deep/b.c", "top.txt"]);
        assert_eq!(names(&recording, &["file:src", "src/a.c"]), ["src/a.c", "src/deep/b.c"]);
        let recorded = recording.record(&["src/a.c".into()]).unwrap();
        assert_eq!(recorded.artifacts["src/a.c"], Hashes::of(&Digest::sha256(b"abc")));
        recording.strip = vec!["src/".into()];
        assert_eq!(names(&recording, &["."]), ["a.c", "deep/b.c", "top.txt"]);
        fs::write(recording.base.join("a.c"), "other").unwrap();
        assert!(
            matches!(recording.record(&[".".into()]), Err(ProvenanceError::Twice(name)) if name == "a.c")
        );
    }

    #[test]
    fn what_has_no_safe_name_is_refused() {
        let (_dir, recording) = tree();
        let inner = Recording { base: recording.base.join("src"), ..recording.clone() };
        for (path, code) in [("../top.txt", "normalised"), ("../", "normalised")] {
            let refused = inner.record(&[path.into()]).unwrap_err();
            assert!(matches!(&refused, ProvenanceError::Name { why, .. } if why.contains(code)), "{refused}");
        }
        let absolute = recording.base.join("top.txt").to_str().unwrap().to_owned();
        assert!(matches!(recording.record(&[absolute]), Err(ProvenanceError::Name { .. })));
        fs::write(recording.base.join("src/back\\slash"), "x").unwrap();
        assert!(matches!(recording.record(&["src".into()]), Err(ProvenanceError::Name { .. })));
        assert!(matches!(recording.record(&["gone".into()]), Err(ProvenanceError::Absent(_))));
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_but_not_in_circles() {
        use std::os::unix::fs::symlink;
        let (_dir, recording) = tree();
        let base = &recording.base;
        symlink("src", base.join("linked")).unwrap();
        symlink("../top.txt", base.join("src/also.txt")).unwrap();
        symlink("nowhere", base.join("src/broken")).unwrap();
        let recorded = recording.record(&["linked".into()]).unwrap();
        let names: Vec<&str> = recorded.artifacts.keys().map(ArtifactName::as_str).collect();
        assert_eq!(names, ["linked/a.c", "linked/also.txt", "linked/deep/b.c"]);
        assert_eq!(recorded.skipped, ["linked/broken"]);
        symlink("..", base.join("src/deep/up")).unwrap();
        assert!(matches!(recording.record(&["src".into()]), Err(ProvenanceError::Circle(_))));
    }

    #[cfg(unix)]
    #[test]
    fn a_name_is_of_the_file_that_it_names() {
        let (_dir, recording) = tree();
        let base = &recording.base;
        fs::create_dir_all(base.join("elsewhere/dir")).unwrap();
        fs::write(base.join("elsewhere/top.txt"), "other").unwrap();
        std::os::unix::fs::symlink("elsewhere/dir", base.join("linked")).unwrap();
        let recorded = recording.record(&["linked/../top.txt".into()]).unwrap();
        assert_eq!(recorded.artifacts["top.txt"], Hashes::of(&Digest::sha256(b"abc")));
    }

    #[test]
    fn line_endings_across_parts() {
        let mut pending = false;
        let mut all = Vec::new();
        for part in [&b"a\r"[..], b"\nb\rc\r\n", b"\r", b"\r", b"\nd\n"] {
            all.extend(with_line_feeds(part, &mut pending));
        }
        assert_eq!(all, b"a\nb\nc\n\n\nd\n");
    }
}
