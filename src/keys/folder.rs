//! The key folder: `NAME.pem` (private, mode 0600) and `NAME.pub` (public) side by side; of a key in a KMS `NAME.kms` (where
//! it is) instead of `NAME.pem`. Key files elsewhere are read by the same code.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::cosign;
use super::pem::{KeyBlock, key_block};
use super::pkcs8::{self, Refused};
use super::{
    KeyError, KeyName, KeyRef, KeyWarning, KmsFault, KmsRef, MemorySigner, Opened, Password, Passwords,
    Plugins, Signer as _, Unreadable,
};
use crate::sig::PublicKey;

/// Largest key file read, in bytes.
const MAX_KEY_FILE: u64 = 64 << 10;

/// A folder of keys. It need not exist before the first key is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFolder {
    path: PathBuf,
    plugins: Plugins,
}

/// What is known of a key without its password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyEntry {
    /// The name in the folder, or the file as typed.
    pub name: String,
    /// The private key's file, or the public key's when there is no private one.
    pub file: PathBuf,
    /// The public key; `None` when only its encrypted private key is here.
    pub public: Option<PublicKey>,
    /// Whether the private key is here.
    pub private: bool,
    /// Whether a password protects the private key.
    pub encrypted: bool,
    /// The KMS that holds the private key; it is then not in a file here.
    pub kms: Option<KmsRef>,
}

/// One line of [`KeyFolder::list`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The name.
    pub name: KeyName,
    /// What is known of it, or why it cannot be read.
    pub entry: Result<KeyEntry, KeyError>,
}

/// A key file's text, and its permission bits on Unix.
struct KeyText {
    text: Zeroizing<String>,
    mode: Option<u32>,
}

impl KeyFolder {
    /// The folder at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), plugins: Plugins::default() }
    }

    /// The same, with a way to keys that a KMS holds.
    #[must_use]
    pub fn with_plugins(mut self, plugins: Plugins) -> Self {
        self.plugins = plugins;
        self
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The private key file that `key` means; of a key in a KMS there is none.
    fn file(&self, key: &KeyRef) -> Result<PathBuf, KmsRef> {
        match key {
            KeyRef::Name(name) => Ok(self.path.join(format!("{name}.pem"))),
            KeyRef::File(path) => Ok(path.clone()),
            KeyRef::Kms(kms) => Err(kms.clone()),
        }
    }

    /// Open a key for signing.
    ///
    /// # Errors
    /// No such key, a file that is no usable private key, a wrong password, or none to be had.
    pub fn open(&self, key: &KeyRef, passwords: &Passwords) -> Result<Opened, KeyError> {
        let path = match self.file(key) {
            Ok(path) => path,
            Err(kms) => return self.open_kms(&kms, None),
        };
        let Some(KeyText { text, mode }) = read_text(&path)? else {
            return match pointer(&path, key)? {
                Some(kms) => self.open_kms(&kms, public_file(&path.with_extension("pub"))?),
                None => Err(self.absent(key, path)),
            };
        };
        let mut warnings = Vec::new();
        if let Some(mode) = mode.filter(|m| m & 0o077 != 0) {
            warnings.push(KeyWarning::Permissions { path: path.clone(), mode });
        }
        let block = key_block(&text).map_err(|e| KeyError::unreadable(&path, e))?;
        if matches!(block, KeyBlock::Plain(_)) {
            warnings.push(KeyWarning::NotEncrypted { path: path.clone() });
        }
        let signer = private(&path, block, || passwords.opening(&key.to_string()).map_err(|e| (key, e)))?;
        let beside = path.with_extension("pub");
        if public_file(&beside)?.is_some_and(|p| p != *signer.public_key()) {
            warnings.push(KeyWarning::PublicDiffers { path: beside });
        }
        Ok(Opened { signer: Box::new(signer), warnings })
    }

    /// A key that a KMS holds; `kept` is the public key that was kept of it.
    fn open_kms(&self, kms: &KmsRef, kept: Option<PublicKey>) -> Result<Opened, KeyError> {
        let signer = kms.open(&self.plugins)?;
        let got = signer.public_key();
        if let Some(kept) = kept.filter(|kept| kept != got) {
            let fault = KmsFault::OtherKey { expected: kept.key_id(), got: got.key_id() };
            return Err(kms.fault(fault));
        }
        Ok(Opened { signer: Box::new(signer), warnings: Vec::new() })
    }

    /// What is known of `key` without a password; of a key in a KMS that is named directly, its plugin is asked.
    ///
    /// # Errors
    /// No such key, or a file that is none.
    pub fn look(&self, key: &KeyRef) -> Result<KeyEntry, KeyError> {
        let name = key.to_string();
        let path = match self.file(key) {
            Ok(path) => path,
            Err(kms) => {
                let public = Some(kms.public_key(&self.plugins)?);
                let (file, kms) = (PathBuf::new(), Some(kms));
                return Ok(KeyEntry { name, file, public, private: true, encrypted: false, kms });
            }
        };
        let beside = path.with_extension("pub");
        let Some(KeyText { text, .. }) = read_text(&path)? else {
            let (kms, public) = (pointer(&path, key)?, public_file(&beside)?);
            if kms.is_none() && public.is_none() {
                return Err(self.absent(key, path));
            }
            let file = if kms.is_some() { path.with_extension("kms") } else { beside };
            return Ok(KeyEntry { name, file, public, private: kms.is_some(), encrypted: false, kms });
        };
        let block = key_block(&text).map_err(|e| KeyError::unreadable(&path, e))?;
        let (public, private, encrypted) = match block {
            KeyBlock::Public(public) => (Some(public), false, false),
            KeyBlock::Encrypted(_) | KeyBlock::Cosign(_) => (public_file(&beside)?, true, true),
            KeyBlock::Plain(der) => {
                let key = pkcs8::read(&der).map_err(|e| KeyError::unreadable(&path, e))?;
                (Some(key.public_key().clone()), true, false)
            }
        };
        Ok(KeyEntry { name, file: path, public, private, encrypted, kms: None })
    }

    /// All keys by name: each with what is known of it, or why it cannot be read. Files whose name is no key's are passed over.
    ///
    /// # Errors
    /// The folder cannot be read; one that does not exist is empty.
    pub fn list(&self) -> Result<Vec<Listed>, KeyError> {
        let listed = |name: KeyName| Listed { entry: self.look(&KeyRef::Name(name.clone())), name };
        Ok(self.names()?.into_iter().map(listed).collect())
    }

    /// The key of this folder whose public half is `public` and whose private half is here too.
    ///
    /// # Errors
    /// The folder cannot be read. Single files that cannot be read are passed over.
    pub fn find(&self, public: &PublicKey) -> Result<Option<KeyName>, KeyError> {
        let here = |e: &KeyEntry| e.private && e.public.as_ref() == Some(public);
        let mut all = self.list()?.into_iter();
        Ok(all.find_map(|l| l.entry.is_ok_and(|e| here(&e)).then_some(l.name)))
    }

    /// Keep `key` as `name`: `NAME.pem`, encrypted when a password is given, and `NAME.pub`. Nothing is overwritten.
    ///
    /// # Errors
    /// The name is taken, or the files cannot be written.
    pub fn keep(
        &self,
        name: &KeyName,
        key: &MemorySigner,
        password: Option<&Password>,
    ) -> Result<KeyEntry, KeyError> {
        let file = self.free(name)?;
        let pem = pkcs8::write(key, password)?;
        self.create()?;
        write_new(&file, pem.as_bytes(), 0o600)?;
        write_new(&file.with_extension("pub"), key.public_key().to_pem().as_bytes(), 0o644)?;
        Ok(KeyEntry {
            name: name.to_string(),
            file,
            public: Some(key.public_key().clone()),
            private: true,
            encrypted: password.is_some(),
            kms: None,
        })
    }

    /// Keep a public key as `NAME.pub`.
    ///
    /// # Errors
    /// The name is taken, or the file cannot be written.
    pub fn keep_public(&self, name: &KeyName, public: &PublicKey) -> Result<KeyEntry, KeyError> {
        let file = self.free(name)?.with_extension("pub");
        self.create()?;
        write_new(&file, public.to_pem().as_bytes(), 0o644)?;
        let public = Some(public.clone());
        Ok(KeyEntry { name: name.to_string(), file, public, private: false, encrypted: false, kms: None })
    }

    /// Keep where a key in a KMS is, as `NAME.kms`, and its public key as `NAME.pub`.
    ///
    /// # Errors
    /// The plugin fails, the name is taken, or the files cannot be written.
    pub fn keep_kms(&self, name: &KeyName, kms: &KmsRef) -> Result<KeyEntry, KeyError> {
        let file = self.free(name)?.with_extension("kms");
        let public = kms.public_key(&self.plugins)?;
        self.create()?;
        write_new(&file.with_extension("pub"), public.to_pem().as_bytes(), 0o644)?;
        write_new(&file, format!("{kms}\n").as_bytes(), 0o644)?;
        let (name, public, kms) = (name.to_string(), Some(public), Some(kms.clone()));
        Ok(KeyEntry { name, file, public, private: true, encrypted: false, kms })
    }

    /// Copy the key in the PEM file `from` into the folder. A private key stays as protected as it was: of an encrypted one
    /// the same password is used, for a plain one a password is chosen unless `unencrypted`.
    ///
    /// # Errors
    /// `from` is no usable key, a password is wrong or missing, the name is taken, or the files cannot be written.
    pub fn import(
        &self,
        from: &Path,
        name: &KeyName,
        passwords: &Passwords,
        unencrypted: bool,
    ) -> Result<KeyEntry, KeyError> {
        self.free(name)?;
        let Some(KeyText { text, .. }) = read_text(from)? else {
            return Err(self.absent(&KeyRef::File(from.to_owned()), from.to_owned()));
        };
        let block = key_block(&text).map_err(|e| KeyError::unreadable(from, e))?;
        if let KeyBlock::Public(public) = block {
            return self.keep_public(name, &public);
        }
        let source = KeyRef::File(from.to_owned());
        let mut used = None;
        let key = private(from, block, || {
            let password = passwords.opening(&source.to_string()).map_err(|e| (&source, e))?;
            used = Some(password.clone());
            Ok(password)
        })?;
        let password = match used {
            _ if unencrypted => None,
            Some(password) => Some(password),
            None => Some(passwords.choosing(name.as_str()).map_err(|reason| no_password(name, reason))?),
        };
        self.keep(name, &key, password.as_ref())
    }

    /// Write the private key that `key` names as cosign's key file, and its public key beside it with the ending `.pub`. An
    /// encrypted key keeps its password, for a plain one a password is chosen: cosign's files have one. Nothing is overwritten.
    ///
    /// # Errors
    /// No such key, a key in a KMS, a password that is wrong or missing, or files that are there or cannot be written.
    pub fn export_cosign(
        &self,
        key: &KeyRef,
        to: &Path,
        passwords: &Passwords,
    ) -> Result<KeyEntry, KeyError> {
        let path = self.file(key).map_err(|kms| kms.fault(KmsFault::NoExport))?;
        let beside = to.with_extension("pub");
        for file in [to, &beside] {
            match file.symlink_metadata() {
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(KeyError::io("read", file, &e)),
                Ok(_) => return Err(KeyError::Exists { path: file.to_owned() }),
            }
        }
        let Some(KeyText { text, .. }) = read_text(&path)? else {
            return match pointer(&path, key)? {
                Some(kms) => Err(kms.fault(KmsFault::NoExport)),
                None => Err(self.absent(key, path)),
            };
        };
        let block = key_block(&text).map_err(|e| KeyError::unreadable(&path, e))?;
        let mut used = None;
        let signer = private(&path, block, || {
            let password = passwords.opening(&key.to_string()).map_err(|e| (key, e))?;
            used = Some(password.clone());
            Ok(password)
        })?;
        let password = match used {
            Some(password) => password,
            None => {
                passwords.choosing(&to.display().to_string()).map_err(|reason| no_password(key, reason))?
            }
        };
        write_new(to, cosign::cosign_key_file(&signer, &password)?.as_bytes(), 0o600)?;
        write_new(&beside, signer.public_key().to_pem().as_bytes(), 0o644)?;
        let public = Some(signer.public_key().clone());
        let name = key.to_string();
        Ok(KeyEntry { name, file: to.to_owned(), public, private: true, encrypted: true, kms: None })
    }

    /// The file that `name` will have.
    ///
    /// # Errors
    /// There is one, private or public.
    pub fn free(&self, name: &KeyName) -> Result<PathBuf, KeyError> {
        let file = self.path.join(format!("{name}.pem"));
        for path in [file.clone(), file.with_extension("pub"), file.with_extension("kms")] {
            match path.symlink_metadata() {
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(KeyError::io("read", &path, &e)),
                Ok(_) => return Err(KeyError::Exists { path }),
            }
        }
        Ok(file)
    }

    fn names(&self) -> Result<Vec<KeyName>, KeyError> {
        let entries = match std::fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(KeyError::io("read", &self.path, &e)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let file = entry.map_err(|e| KeyError::io("read", &self.path, &e))?.file_name();
            let Some(file) = file.to_str() else { continue };
            let stem = [".pem", ".pub", ".kms"].iter().find_map(|ending| file.strip_suffix(ending));
            names.extend(stem.and_then(|s| s.parse::<KeyName>().ok()));
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    fn absent(&self, key: &KeyRef, path: PathBuf) -> KeyError {
        let known = self.names().unwrap_or_default().iter().map(ToString::to_string).collect();
        KeyError::Absent { key: key.to_string(), path, known }
    }

    fn create(&self) -> Result<(), KeyError> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&self.path).map_err(|e| KeyError::io("write", &self.path, &e))
    }
}

/// The private key in a block; `password` is called only for an encrypted one.
fn private<'a>(
    path: &Path,
    block: KeyBlock,
    password: impl FnOnce() -> Result<Password, (&'a KeyRef, super::PasswordError)>,
) -> Result<MemorySigner, KeyError> {
    let opened = match block {
        KeyBlock::Public(_) => return Err(KeyError::unreadable(path, Unreadable::PublicOnly)),
        KeyBlock::Plain(der) => return pkcs8::read(&der).map_err(|e| KeyError::unreadable(path, e)),
        KeyBlock::Encrypted(der) => pkcs8::read_encrypted(&der, password),
        KeyBlock::Cosign(json) => cosign::read(&json, password),
    };
    match opened {
        Ok(Ok(key)) => Ok(key),
        Ok(Err(Refused::Password)) => Err(KeyError::WrongPassword { path: path.to_owned() }),
        Ok(Err(Refused::File(e))) => Err(KeyError::unreadable(path, e)),
        Err((key, reason)) => Err(no_password(key, reason)),
    }
}

fn no_password(key: &impl ToString, reason: super::PasswordError) -> KeyError {
    KeyError::Password { key: key.to_string(), reason }
}

/// The KMS that a `.kms` file beside the (absent) private key names, if there is one. Only names of the folder have one.
fn pointer(path: &Path, key: &KeyRef) -> Result<Option<KmsRef>, KeyError> {
    let file = path.with_extension("kms");
    if !matches!(key, KeyRef::Name(_)) {
        return Ok(None);
    }
    let Some(KeyText { text, .. }) = read_text(&file)? else { return Ok(None) };
    text.trim_end().parse().map(Some).map_err(|_| KeyError::unreadable(&file, Unreadable::Pointer))
}

/// The public key in a `.pub` file, if there is one.
fn public_file(path: &Path) -> Result<Option<PublicKey>, KeyError> {
    let Some(KeyText { text, .. }) = read_text(path)? else { return Ok(None) };
    match key_block(&text).map_err(|e| KeyError::unreadable(path, e))? {
        KeyBlock::Public(public) => Ok(Some(public)),
        _ => Err(KeyError::unreadable(path, Unreadable::Block("PRIVATE KEY".into()))),
    }
}

/// The key file at `path`; `None` when there is none.
fn read_text(path: &Path) -> Result<Option<KeyText>, KeyError> {
    let failed = |e: std::io::Error| KeyError::io("read", path, &e);
    // Asked before opening: opening a pipe would wait for a writer.
    let about = match path.metadata() {
        Ok(about) => about,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(e)),
    };
    if !about.is_file() {
        return Err(KeyError::unreadable(path, Unreadable::NotAFile));
    }
    let file = File::open(path).map_err(failed)?;
    // Reserved whole: a growing vector would leave copies of the key behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_KEY_FILE as usize + 1));
    file.take(MAX_KEY_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_KEY_FILE {
        return Err(KeyError::unreadable(path, Unreadable::TooLarge(MAX_KEY_FILE)));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| KeyError::unreadable(path, Unreadable::NotText))?;
    #[cfg(unix)]
    let mode = Some(std::os::unix::fs::MetadataExt::mode(&about) & 0o7777);
    #[cfg(not(unix))]
    let mode = None;
    Ok(Some(KeyText { text: Zeroizing::new(text.to_owned()), mode }))
}

/// Write a file that must not exist: whole and durable, or not at all.
fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), KeyError> {
    let failed = |e: std::io::Error| KeyError::io("write", path, &e);
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".new-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
    #[cfg(not(unix))]
    let _ = mode;
    let mut file = builder.tempfile_in(folder).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist_noclobber(path).map_err(|e| match e.error.kind() {
        ErrorKind::AlreadyExists => KeyError::Exists { path: path.to_owned() },
        _ => failed(e.error),
    })?;
    #[cfg(unix)]
    File::open(folder).and_then(|d| d.sync_all()).map_err(failed)?;
    Ok(())
}

#[cfg(test)]
mod tests;
