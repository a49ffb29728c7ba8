//! Documents of other forms that say whom to trust: those of the key management requirements, notation's trust store and policy,
//! SPIFFE bundles. Files are read here and judged in `trust`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::anchors::{AnchorError, failed, read};
use crate::sig::x509::{Certificate, CertificateError};
use crate::trust::{
    Addition, Document, MAX_BUNDLE, MAX_DOCUMENT, MAX_POLICY, NotationError, NotationPolicy, NotationStores,
    RequirementsError, Rescissions, RootError, Scope, SpiffeBundle, SpiffeError, Store, StoreRef, Trusts,
    file_name, trusts_in,
};

/// Largest file of certificates, bytes.
const MAX_CERTIFICATES: u64 = 1024 * 1024;
/// Most files of one document or trust store.
const MAX_FILES: usize = 256;

/// Why a document is not taken over. Nothing of it is added then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] AnchorError),
    /// A document of the requirements.
    #[error("{}: {reason}", path.display())]
    Requirements {
        /// The document.
        path: PathBuf,
        /// Why.
        reason: RequirementsError,
    },
    /// A policy of notation.
    #[error("{}: {reason}", path.display())]
    Notation {
        /// The policy.
        path: PathBuf,
        /// Why.
        reason: NotationError,
    },
    /// A SPIFFE bundle.
    #[error("{}: {reason}", path.display())]
    Spiffe {
        /// The bundle.
        path: PathBuf,
        /// Why.
        reason: SpiffeError,
    },
    /// A file of certificates.
    #[error("{}: {reason}", path.display())]
    Root {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: RootError,
    },
    /// Something that is no plain file, where one must be.
    #[error("{} is no plain file", .0.display())]
    NotPlain(PathBuf),
    /// No policy in the folder.
    #[error("{} holds neither trustpolicy.oci.json nor trustpolicy.json", .0.display())]
    NoPolicy(PathBuf),
    /// Too many files.
    #[error("more than {MAX_FILES} files")]
    Many,
    /// A scope for a document whose roots have scopes of their own.
    #[error("a trust store says for itself what each root is for")]
    Scope,
}

/// What a trust policy or trust store of the requirements document stands for. `scope` is that of a policy; it has none itself.
///
/// # Errors
/// It, or a file that it names, cannot be read or is not what it should be.
pub fn requirements(path: &Path, scope: Option<&Scope>) -> Result<Addition, DocumentError> {
    let wrong = |reason| DocumentError::Requirements { path: path.to_owned(), reason };
    let mut files = Files { opened: 0 };
    let mut out = Addition::default();
    match Document::parse(&files.plain(path, MAX_DOCUMENT)?).map_err(wrong)? {
        Document::Store(_) if scope.is_some() => return Err(DocumentError::Scope),
        Document::Store(store) => files.store(&store, &Scope::Any, path, &mut out)?,
        Document::Policy(policy) => {
            let scope = scope.unwrap_or(&Scope::Any);
            for store in &policy.trust_store {
                match store {
                    StoreRef::Inline(store) => files.store(store, scope, path, &mut out)?,
                    StoreRef::File(name) => {
                        let at = beside(path, file_name(name).map_err(wrong)?);
                        let store = Store::parse(&files.plain(&at, MAX_DOCUMENT)?);
                        let store = store
                            .map_err(|reason| DocumentError::Requirements { path: at.clone(), reason })?;
                        files.store(&store, scope, &at, &mut out)?;
                    }
                }
            }
            let name = path.display().to_string();
            policy.says(scope, &name, &mut out).map_err(wrong)?;
        }
    }
    Ok(out)
}

/// What notation's configuration folder stands for.
///
/// # Errors
/// The policy or a trust store cannot be read, breaks a rule, or says what has no equal here.
pub fn notation(dir: &Path) -> Result<Addition, DocumentError> {
    let mut files = Files { opened: 0 };
    let named = ["trustpolicy.oci.json", "trustpolicy.json"].map(|name| dir.join(name));
    let there = |path: &&PathBuf| path.symlink_metadata().is_ok();
    let path = named.iter().find(there).ok_or_else(|| DocumentError::NoPolicy(dir.to_owned()))?;
    let wrong = |reason| DocumentError::Notation { path: path.clone(), reason };
    let policy = NotationPolicy::parse(&files.no_link(path, MAX_POLICY)?).map_err(wrong)?;
    let mut stores = NotationStores::new();
    for name in policy.stores() {
        let folder = dir.join("truststore").join(&name);
        stores.insert(name, files.certificates(&folder)?);
    }
    policy.convert(&stores, &path.display().to_string()).map_err(wrong)
}

/// What a SPIFFE bundle stands for.
///
/// # Errors
/// It cannot be read, or is not what it should be.
pub fn spiffe(
    path: &Path,
    domain: &str,
    scope: &Scope,
    rescissions: &Rescissions,
) -> Result<Addition, DocumentError> {
    let wrong = |reason| DocumentError::Spiffe { path: path.to_owned(), reason };
    let bytes = Files { opened: 0 }.plain(path, MAX_BUNDLE)?;
    SpiffeBundle::parse(&bytes).and_then(|b| b.anchors(domain, scope, rescissions)).map_err(wrong)
}

/// What a file of certificates or with a public key stands for.
///
/// # Errors
/// It cannot be read, or holds neither.
pub fn trusts(path: &Path) -> Result<Vec<Trusts>, DocumentError> {
    let bytes = Files { opened: 0 }.plain(path, MAX_CERTIFICATES)?;
    trusts_in(&bytes).map_err(|reason| DocumentError::Root { path: path.to_owned(), reason })
}

/// The bytes of a plain file.
///
/// # Errors
/// It cannot be read, is larger, or is something else.
pub fn bytes(path: &Path, limit: u64) -> Result<Vec<u8>, DocumentError> {
    Files { opened: 0 }.plain(path, limit)
}

/// Reads files, so many.
struct Files {
    opened: usize,
}

impl Files {
    /// A plain file, through links too: configuration is often mounted as links.
    fn plain(&mut self, path: &Path, limit: u64) -> Result<Vec<u8>, DocumentError> {
        let about = fs::metadata(path).map_err(|e| failed("read", path, &e))?;
        self.opened += 1;
        if self.opened > MAX_FILES {
            return Err(DocumentError::Many);
        }
        if !about.is_file() {
            return Err(DocumentError::NotPlain(path.to_owned()));
        }
        Ok(read(path, limit)?)
    }

    /// The same, and no link: notation refuses links in its folder.
    fn no_link(&mut self, path: &Path, limit: u64) -> Result<Vec<u8>, DocumentError> {
        let about = fs::symlink_metadata(path).map_err(|e| failed("read", path, &e))?;
        if !about.is_file() {
            return Err(DocumentError::NotPlain(path.to_owned()));
        }
        self.plain(path, limit)
    }

    fn store(
        &mut self,
        store: &Store,
        scope: &Scope,
        path: &Path,
        out: &mut Addition,
    ) -> Result<(), DocumentError> {
        let mut file = |name: &str| self.plain(&beside(path, name), MAX_CERTIFICATES).map_err(Named::File);
        store.anchors::<Named>(scope, out, &mut file).map_err(|e| match e {
            Named::File(e) => e,
            Named::Requirements(reason) => DocumentError::Requirements { path: path.to_owned(), reason },
        })
    }

    /// The certificates of one trust store of notation; none where it is not there.
    fn certificates(&mut self, folder: &Path) -> Result<Vec<Certificate>, DocumentError> {
        let listed = match fs::symlink_metadata(folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Ok(about) if !about.is_dir() => return Err(DocumentError::NotPlain(folder.to_owned())),
            _ => fs::read_dir(folder).map_err(|e| failed("read", folder, &e))?,
        };
        let mut paths = Vec::new();
        for entry in listed {
            paths.push(entry.map_err(|e| failed("read", folder, &e))?.path());
            if paths.len() > MAX_FILES {
                return Err(DocumentError::Many);
            }
        }
        paths.sort();
        let mut out = Vec::new();
        for path in paths {
            let bytes = self.no_link(&path, MAX_CERTIFICATES)?;
            let text = std::str::from_utf8(&bytes).ok().filter(|t| t.contains("-----BEGIN "));
            let found = match text {
                Some(text) => Certificate::from_pem(text),
                None => Certificate::from_der(&bytes).map(|c| vec![c]),
            };
            let wrong = |e: CertificateError| DocumentError::Root { path: path.clone(), reason: e.into() };
            out.extend(found.map_err(wrong)?);
        }
        Ok(out)
    }
}

/// A file that a document names could not be read, or the document is not what it should be.
enum Named {
    File(DocumentError),
    Requirements(RequirementsError),
}

impl From<RequirementsError> for Named {
    fn from(reason: RequirementsError) -> Self {
        Self::Requirements(reason)
    }
}

fn beside(path: &Path, name: &str) -> PathBuf {
    path.parent().map_or_else(|| PathBuf::from(name), |folder| folder.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TESTDATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/");

    #[test]
    fn the_requirements_document_is_read_from_files() {
        let policy = PathBuf::from(TESTDATA).join("requirements/trustpolicy.json");
        let out = requirements(&policy, None).unwrap();
        assert_eq!((out.signers.len(), out.statements.len(), out.allow.len()), (3, 1, 0));
        let store = requirements(&policy.with_file_name("truststore.json"), None).unwrap();
        assert_eq!((store.signers.len(), store.statements.len()), (2, 0));
        let scoped: Scope = "ex.com".parse().unwrap();
        let with = requirements(&policy.with_file_name("truststore.json"), Some(&scoped));
        assert_eq!(with, Err(DocumentError::Scope));
    }

    /// Whom a policy trusts for one registry, it trusts for nothing else; and one that checks nothing trusts nobody.
    #[test]
    fn the_roots_of_a_policy_count_where_it_holds_and_nowhere_else() {
        let policy = PathBuf::from(TESTDATA).join("requirements/trustpolicy.json");
        let scope: Scope = "registry.wabbit-networks.io/net/*".parse().unwrap();
        let out = requirements(&policy, Some(&scope)).unwrap();
        assert_eq!(out.signers.len(), 3);
        assert!(out.signers.iter().all(|anchor| anchor.scope == scope), "{:?}", out.signers);
        let elsewhere: Scope = "ex.com".parse().unwrap();
        let refused = requirements(&policy, Some(&elsewhere)).unwrap_err();
        let outside = |e: &DocumentError| {
            matches!(e, DocumentError::Requirements { reason: RequirementsError::Outside { .. }, .. })
        };
        assert!(outside(&refused), "{refused}");
        let dir = tempfile::tempdir().unwrap();
        let off = dir.path().join("off.json");
        let root = fs::read_to_string(format!("{TESTDATA}signatures/notation/root.pem")).unwrap();
        let text = serde_json::json!({"trustPolicy": {"signatureCheck": false,
            "trustStore": [{"trustedRoots": [{"root": root}]}]}});
        fs::write(&off, text.to_string()).unwrap();
        let out = requirements(&off, None).unwrap();
        assert_eq!((out.signers.len(), out.statements.len()), (0, 1));
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.json");
        for name in ["../x.json", "/etc/passwd", "sub"] {
            fs::create_dir_all(dir.path().join("sub")).unwrap();
            fs::write(
                &path,
                format!(r#"{{"trustPolicy":{{"signatureCheck":true,"trustStore":["{name}"]}}}}"#),
            )
            .unwrap();
            let refused = requirements(&path, None).unwrap_err();
            let fits = matches!(refused, DocumentError::Requirements { .. } | DocumentError::NotPlain(_));
            assert!(fits, "{name}: {refused}");
        }
    }

    /// A configuration folder of notation with one trust store.
    fn folder(policy: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("truststore/x509/ca/wabbit");
        fs::create_dir_all(&store).unwrap();
        fs::copy(format!("{TESTDATA}signatures/notation/root.pem"), store.join("root.pem")).unwrap();
        fs::write(dir.path().join("trustpolicy.json"), policy).unwrap();
        dir
    }

    const POLICY: &str = r#"{"version":"1.0","trustPolicies":[{"name":"a","registryScopes":["*"],
        "signatureVerification":{"level":"strict"},"trustStores":["ca:wabbit"],"trustedIdentities":["*"]}]}"#;

    #[test]
    fn a_folder_of_notation_is_read() {
        let dir = folder(POLICY);
        assert_eq!(notation(dir.path()).unwrap().signers.len(), 1);
        let store = dir.path().join("truststore/x509/ca/wabbit");
        fs::create_dir(store.join("sub")).unwrap();
        assert!(matches!(notation(dir.path()), Err(DocumentError::NotPlain(_))));
        fs::remove_dir(store.join("sub")).unwrap();
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(store.join("root.pem"), store.join("link.pem")).unwrap();
            assert!(matches!(notation(dir.path()), Err(DocumentError::NotPlain(_))));
            fs::remove_file(store.join("link.pem")).unwrap();
        }
        fs::write(store.join("junk.pem"), "junk").unwrap();
        assert!(matches!(notation(dir.path()), Err(DocumentError::Root { .. })));
        fs::remove_dir_all(&store).unwrap();
        assert!(matches!(notation(dir.path()), Err(DocumentError::Notation { .. })));
        fs::remove_file(dir.path().join("trustpolicy.json")).unwrap();
        assert!(matches!(notation(dir.path()), Err(DocumentError::NoPolicy(_))));
    }
}
