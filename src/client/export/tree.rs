//! The tree on disk: `metadata/` and `targets/`, as TUF specification 5 and 6 name files with consistent snapshots.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;

use super::{ExportError, first_root};
use crate::client::lock;
use crate::tuf::{FileName, Files, Limits, RoleName, Target, Timestamp, Unverified, Version};

const METADATA: &str = "metadata";
const TARGETS: &str = "targets";
/// Longest part of a path that file systems take, bytes.
const MAX_PART: usize = 255;
/// Longest file that is compared with what is to be written, bytes: nothing larger is ever written here.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// A folder that a web server may be serving while it is written.
pub(super) struct Tree {
    dir: PathBuf,
    /// Folders in which something was written, to be made durable.
    touched: RefCell<BTreeSet<PathBuf>>,
}

/// The files under which a metadata file lies: the name that TUF gives it, and for a role with a slash in its name the one
/// that web servers look for when they are asked for the first: they decode `%2F`. Names that no file can have are left out.
pub(in crate::client) fn metadata_names(name: &FileName) -> Vec<PathBuf> {
    let folder = Path::new(METADATA);
    let first = name.to_string();
    let mut out: Vec<PathBuf> = (first.len() <= MAX_PART).then(|| folder.join(first)).into_iter().collect();
    let role = name.role().as_str();
    if let (Some(version), true) = (name.version(), role.contains('/')) {
        out.extend(parts(&format!("{version}.{role}.json")).map(|p| folder.join(p)));
    }
    out
}

/// Where each metadata file goes in one tree: under the first of its names always, under the second unless that takes the place
/// of another file or of its folder, be it on a file system that does not tell capitals. Roles may be called what their owners
/// like. Beside it the files that lie under fewer names than they should.
pub(super) fn places(files: &Files) -> (Vec<(PathBuf, &FileName, &Bytes)>, Vec<FileName>) {
    let (mut places, mut short) = (Vec::new(), Vec::new());
    let folded = |path: &Path| path.to_string_lossy().to_lowercase();
    let (mut taken, mut folders) = (BTreeSet::new(), BTreeSet::new());
    let mut seconds = Vec::new();
    for (name, bytes) in files.metadata() {
        let names = metadata_names(name);
        let wanted = 1 + usize::from(name.role().as_str().contains('/'));
        let first = names.iter().position(|file| file.parent() == Some(Path::new(METADATA)));
        if names.len() < wanted || first.is_none() {
            short.push(name.clone());
        }
        for (i, file) in names.into_iter().enumerate() {
            if Some(i) == first {
                taken.insert(folded(&file));
                places.push((file, name, bytes));
            } else {
                seconds.push((file, name, bytes));
            }
        }
    }
    for (file, name, bytes) in seconds {
        let above: Vec<String> = file.ancestors().skip(1).map(folded).collect();
        let own = folded(&file);
        if taken.contains(&own) || folders.contains(&own) || above.iter().any(|folder| taken.contains(folder))
        {
            if !short.contains(name) {
                short.push(name.clone());
            }
            continue;
        }
        taken.insert(own);
        folders.extend(above);
        places.push((file, name, bytes));
    }
    (places, short)
}

/// The files under which a target lies with consistent snapshots, `dir/HASH.name`, one for each of its hashes: clients ask
/// for any of them. `None` when its path is no path of a file.
pub(in crate::client) fn target_names(path: &str, target: &Target) -> Option<Vec<PathBuf>> {
    let (dir, name) = path.rsplit_once('/').map_or(("", path), |(dir, name)| (dir, name));
    let slash = if dir.is_empty() { "" } else { "/" };
    let plain = parts(path)?;
    let named =
        |hash: &String| parts(&format!("{dir}{slash}{hash}.{name}")).map(|p| Path::new(TARGETS).join(p));
    let names: Option<Vec<PathBuf>> = target.hashes.values().map(named).collect();
    names.filter(|_| plain.components().all(|c| matches!(c, Component::Normal(_))))
}

/// A signed name as a relative path: nothing that leads out of a folder, hides in it, or means something else on another system.
fn parts(name: &str) -> Option<PathBuf> {
    let fits = |part: &str| {
        !part.is_empty()
            && part.len() <= MAX_PART
            && !part.starts_with('.')
            && !part.contains(['\\', '\0'])
            && !part.chars().any(char::is_control)
    };
    name.split('/').all(fits).then(|| name.split('/').collect())
}

impl Tree {
    pub(super) fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), touched: RefCell::default() }
    }

    /// Keep other exports into this tree out until the answer is dropped, as far as the file system can.
    pub(super) fn alone(&self) -> Result<Option<File>, ExportError> {
        fs::create_dir_all(&self.dir).map_err(|e| io("write", &self.dir, &e))?;
        lock::folder(&self.dir, lock::PATIENCE).map_err(|e| io("write", &self.dir, &e))
    }

    /// That the tree is this collection's, older or as old, before anything is written.
    pub(super) fn check(&self, collection: &str, files: &Files, ours: Version) -> Result<(), ExportError> {
        let root = self.dir.join(METADATA).join(first_root().to_string());
        if let (Some(there), Some(expected)) = (read(&root)?, files.get(&first_root()))
            && there != *expected
        {
            return Err(ExportError::Foreign { file: root, why: "its first root is another one".into() });
        }
        for (file, _, bytes) in places(files).0.into_iter().filter(|(_, name, _)| name.version().is_some()) {
            let file = self.dir.join(file);
            if read(&file)?.is_some_and(|there| there != *bytes) {
                let why = "a file of this name and other bytes lies there".into();
                return Err(ExportError::Foreign { file, why });
            }
        }
        self.not_newer(collection, ours)
    }

    /// That the timestamp there is this collection's, and not above `ours`.
    pub(super) fn not_newer(&self, collection: &str, ours: Version) -> Result<(), ExportError> {
        let file = self.dir.join(METADATA).join(FileName::timestamp().to_string());
        let Some(there) = read(&file)? else { return Ok(()) };
        let parsed = Unverified::<Timestamp>::parse(&RoleName::timestamp(), &there, &Limits::default());
        let foreign = |why: String| ExportError::Foreign { file: file.clone(), why };
        let parsed = parsed.map_err(|e| foreign(e.to_string()))?;
        if parsed.claimed_collection() != Some(collection) {
            let whose = parsed.claimed_collection().unwrap_or("none");
            return Err(foreign(format!("it names the collection {whose}")));
        }
        // Unverified, but whoever could write it could as well have deleted it.
        let there = parsed.claimed_version();
        if there > ours {
            return Err(ExportError::Newer { file, there, ours });
        }
        Ok(())
    }

    /// Put a file there, whole or not at all; `false` when it is there already.
    pub(super) fn put(&self, name: &Path, bytes: &Bytes) -> Result<bool, ExportError> {
        let file = self.dir.join(name);
        if read(&file)?.is_some_and(|there| there == *bytes) {
            return Ok(false);
        }
        let failed = |e: &std::io::Error| io("write", &file, e);
        let folder = file.parent().unwrap_or(&self.dir).to_owned();
        fs::create_dir_all(&folder).map_err(|e| failed(&e))?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(".new-");
        // Served by another user.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
        let mut temp = builder.tempfile_in(&folder).map_err(|e| failed(&e))?;
        temp.write_all(bytes).and_then(|()| temp.as_file().sync_all()).map_err(|e| failed(&e))?;
        if name.ends_with(FileName::timestamp().to_string()) {
            // Everything that it names is durable before it is.
            self.finish()?;
        }
        temp.persist(&file).map_err(|e| failed(&e.error))?;
        self.touched.borrow_mut().insert(folder);
        Ok(true)
    }

    /// Make durable what was written.
    pub(super) fn finish(&self) -> Result<(), ExportError> {
        for folder in std::mem::take(&mut *self.touched.borrow_mut()) {
            #[cfg(unix)]
            File::open(&folder).and_then(|d| d.sync_all()).map_err(|e| io("write", &folder, &e))?;
        }
        Ok(())
    }
}

/// A file that is there; one that is larger than anything written here is another file, whatever it holds.
fn read(file: &Path) -> Result<Option<Bytes>, ExportError> {
    let failed = |e: &std::io::Error| io("read", file, e);
    let opened = match File::open(file) {
        Ok(opened) => opened,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(&e)),
    };
    let mut bytes = Vec::new();
    opened.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|e| failed(&e))?;
    Ok(Some(bytes.into()))
}

fn io(what: &'static str, file: &Path, e: &std::io::Error) -> ExportError {
    ExportError::Io { what, file: file.to_owned(), reason: e.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside() {
        for good in ["a", "a/b:v1", "ex.com/org/app@sha256:00", "a/b c/d"] {
            assert_eq!(parts(good), Some(PathBuf::from(good)), "{good}");
        }
        let long = "x".repeat(256);
        for bad in ["", "/a", "a/", "a//b", "..", "a/../b", "./a", "a/.b", "a\\b", "a\nb", "a\0b", &long] {
            assert_eq!(parts(bad), None, "{bad:?}");
        }
    }

    proptest::proptest! {
        /// Whatever a delegate signs as a name: it is that name below the folder, or none at all.
        #[test]
        fn no_name_leads_out(name in "[a-z./\\\\:@ ]{0,24}|.{0,24}") {
            if let Some(path) = parts(&name) {
                proptest::prop_assert!(path.components().all(|c| matches!(c, Component::Normal(_))));
                proptest::prop_assert_eq!(path.to_str(), Some(name.as_str()));
            }
        }
    }

    #[test]
    fn a_delegated_role_has_two_names() {
        let name = |role: &str| {
            let file = FileName::versioned(role.parse().unwrap(), Version::ONE);
            metadata_names(&file).iter().map(|p| p.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(name("root"), ["metadata/1.root.json"]);
        assert_eq!(
            name("targets/releases"),
            ["metadata/1.targets%2Freleases.json", "metadata/1.targets/releases.json"]
        );
        assert_eq!(name("targets/../x"), ["metadata/1.targets%2F..%2Fx.json"]);
        let long = format!("targets/{}", "\u{e9}".repeat(50));
        assert_eq!(name(&long), [format!("metadata/1.{long}.json")], "encoded it is no file name any more");
    }

    #[test]
    fn no_role_takes_the_place_of_another_one() {
        let mut files = Files::new();
        let roles = ["targets/a", "targets/a.json/b", "targets/A", "targets/c", "targets", "root"];
        for role in roles {
            files.put(FileName::versioned(role.parse().unwrap(), Version::ONE), Bytes::from(role));
        }
        let (places, short) = places(&files);
        let mut names: Vec<String> = places.iter().map(|(file, ..)| file.display().to_string()).collect();
        names.sort();
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree::at(dir.path());
        for (file, name, bytes) in &places {
            assert!(tree.put(file, bytes).unwrap(), "{file:?}");
            assert_eq!(fs::read(dir.path().join(file)).unwrap(), name.role().as_str().as_bytes());
        }
        let short: Vec<&str> = short.iter().map(|name| name.role().as_str()).collect();
        assert_eq!((names.len(), short.len()), (6 + 2, 2), "{names:?} {short:?}");
        assert!(names.contains(&"metadata/1.targets/c.json".to_owned()));
    }
}
