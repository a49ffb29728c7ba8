//! Errors as a user meets them: a stable code, what could not be done, why, and what to do next. Errors of lower rings
//! become that here and nowhere else.

use crate::client::anchors::AnchorError;
use crate::client::documents::DocumentError;
use crate::client::init::InitError;
use crate::client::memory::MemoryError;
use crate::client::signing::SignError;
use crate::client::state::StateError;
use crate::client::verify::VerifyError;
use crate::keys::{KeyError, KmsFault, PasswordError, Unreadable};
use crate::oci::{ContentError, ManifestError, Reference};
use crate::store::copy::{CopyError, Side};
use crate::store::{Failure, StoreError};

/// Exit codes (docs/commands/README.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Exit {
    /// Done; trusted.
    Done = 0,
    /// The question was answered, and the answer is no.
    No = 1,
    /// The command line is wrong; nothing was done.
    Usage = 2,
    /// Could not decide, or could not be done.
    Failed = 3,
    /// A fault inside bulla.
    Fault = 4,
}

/// An error as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CliError {
    pub(super) exit: Exit,
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) reason: Option<String>,
    pub(super) next: Option<String>,
}

/// The next steps when a file operation was refused.
const READABLE: &str = "check that it exists, and that you may read it";
const WRITABLE: &str = "name a place that can be written";

impl CliError {
    pub(super) fn new(exit: Exit, code: &'static str, message: impl Into<String>) -> Self {
        Self { exit, code, message: message.into(), reason: None, next: None }
    }

    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "usage", message)
    }

    /// A bundle is asked for, and the reference names a repository only.
    pub(super) fn no_selector(reference: &Reference) -> Self {
        Self::usage(format!("{reference} names no bundle"))
            .reason("a tag or a digest is missing, and none is ever implied")
            .next(format!("write {reference}:TAG or {reference}@sha256:…"))
    }

    pub(super) fn failed(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, code, message)
    }

    /// Why.
    #[must_use]
    pub(super) fn reason(mut self, reason: impl ToString) -> Self {
        self.reason = Some(reason.to_string());
        self
    }

    /// What to do next.
    #[must_use]
    pub(super) fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// From clap's rendered text: the first line is the message, with what it lists; the usage lines are the next step.
    pub(super) fn from_clap(text: &str) -> Self {
        let mut lines = text.lines().map(str::trim);
        let mut message = lines.next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        if message.ends_with(':') {
            // What is missing stands in the lines below.
            lines.by_ref().take_while(|l| !l.is_empty()).for_each(|l| message = format!("{message} {l}"));
        }
        let lines: Vec<&str> = lines.filter(|l| !l.is_empty()).collect();
        let error = Self::usage(message);
        if lines.is_empty() { error } else { error.next(lines.join("; ")) }
    }

    pub(super) fn password_stdin(e: PasswordError) -> Self {
        Self::failed("key.password", "cannot read a password from standard input").reason(e)
    }

    pub(super) fn password(of: &str, e: &PasswordError) -> Self {
        let error = Self::failed("key.password", format!("no password of {of}")).reason(e);
        match e {
            PasswordError::NoSource => error.next("pass --password-stdin or set BULLA_PASSWORD"),
            _ => error,
        }
    }

    /// The system refused a file operation.
    pub(super) fn io(what: &str, path: &std::path::Path, e: impl ToString) -> Self {
        let (code, next) = match what {
            "read" => ("file.unreadable", READABLE),
            _ => ("file.unwritable", WRITABLE),
        };
        Self::failed(code, format!("cannot {what} {}", path.display())).reason(e.to_string()).next(next)
    }
}

impl From<KeyError> for CliError {
    fn from(e: KeyError) -> Self {
        match e {
            KeyError::Name(_) | KeyError::KmsName(_) => Self::usage(e.to_string()),
            KeyError::Kms { ref key, ref fault } => {
                let (code, next) = match fault {
                    KmsFault::NotFound { .. } | KmsFault::Writable(_) | KmsFault::Start { .. } => (
                        "key.plugin",
                        "install the plugin where only its owner may write, in an absolute folder of PATH",
                    ),
                    KmsFault::NoExport => {
                        ("key.kms", "name the key itself to the other program: cosign --key PLUGIN://KEY")
                    }
                    KmsFault::OtherKey { .. } => {
                        ("key.plugin", "nothing was signed; find out who changed the key in the KMS")
                    }
                    _ => ("key.kms", "nothing was signed; check the plugin, its credentials and the KMS"),
                };
                Self::failed(code, format!("the key {key} cannot be used")).reason(fault).next(next)
            }
            KeyError::Scheme { .. } => Self::usage(e.to_string()).next(
                "name a key of the key folder, the path of a PEM file, or a key in a KMS (PLUGIN://KEY)",
            ),
            KeyError::Exists { .. } => {
                Self::new(Exit::Usage, "key.exists", e.to_string()).next("choose another name")
            }
            KeyError::Absent { key, path, known } => {
                let error = Self::failed("key.absent", format!("there is no key {key}"))
                    .reason(format!("{} does not exist", path.display()));
                if known.is_empty() {
                    error.next("make one: bulla key generate NAME")
                } else {
                    error.next(format!("keys in the key folder: {}", known.join(", ")))
                }
            }
            KeyError::Unreadable { path, reason } => {
                let error = Self::failed("key.unreadable", format!("cannot use the key {}", path.display()));
                match reason {
                    Unreadable::Sec1 | Unreadable::Pkcs1 | Unreadable::Encryption => {
                        error.reason(&reason).next(format!(
                            "convert it: openssl pkcs8 -topk8 -v2 aes-256-cbc -scrypt -in {} -out NEW.pem",
                            path.display()
                        ))
                    }
                    _ => error.reason(reason).next(
                        "name a PEM file with one Ed25519, ECDSA or RSA key; bulla key generate makes one",
                    ),
                }
            }
            KeyError::WrongPassword { path } => {
                Self::failed("key.password", format!("cannot open the key {}", path.display()))
                    .reason("wrong password, or the file is damaged")
                    .next("give its password: --password-stdin, BULLA_PASSWORD, or at the prompt")
            }
            KeyError::Password { key, reason } => Self::password(&key, &reason),
            KeyError::Io { what, path, reason, .. } => Self::io(what, &path, reason),
            KeyError::Crypto(_) => Self::new(Exit::Fault, "internal", e.to_string())
                .next(format!("please report it, with the version: bulla {}", env!("CARGO_PKG_VERSION"))),
            KeyError::BadSignature { .. } => Self::failed("key.signature", e.to_string())
                .next("nothing was signed; the device or service that holds the key is faulty"),
        }
    }
}

/// The store says that there is nothing at `reference`.
pub(super) fn absent(reference: &Reference) -> CliError {
    CliError::failed("ref.absent", format!("there is no {reference}"))
        .reason("the place was asked and says that it has no such tag or digest")
        .next(SPELLING)
}

/// The next step when nothing is at a reference.
const SPELLING: &str = "check the repository and the tag or digest";

impl From<StoreError> for CliError {
    fn from(e: StoreError) -> Self {
        let StoreError { place, what, failure } = e;
        let login = "log in with a user who may do that (bulla login, docker login, podman login), or pass --username and --password-stdin";
        let elsewhere = "do not use this copy; get the bundle from another place";
        let (code, next) = match &failure {
            Failure::NotFound => ("ref.absent", SPELLING),
            Failure::Unauthorized(_) => ("registry.unauthorized", login),
            Failure::Denied(_) => ("registry.forbidden", login),
            Failure::TooManyRequests(_) => {
                ("registry.throttled", "wait, or log in: anonymous limits are lower")
            }
            Failure::Server { .. } | Failure::Protocol(_) => {
                ("registry.fault", "the registry or a proxy before it is at fault; try again later")
            }
            Failure::Refused { text, .. } => ("registry.unsupported", after_refusal(text)),
            Failure::Unreachable(_) => (
                "registry.unreachable",
                "check the name, the network and HTTPS_PROXY; --plain-http for a registry without TLS",
            ),
            Failure::Interrupted(_) => ("registry.interrupted", "run the same command again"),
            Failure::TooLarge { .. } => {
                ("manifest.size", "more than that is never read; ask who serves it why it is so large")
            }
            Failure::Content(ContentError::Size { expected, got, .. }) if got < expected => {
                ("blob.truncated", "run the same command again, or get the bundle from another place")
            }
            Failure::Content(_) => ("blob.digest", elsewhere),
            Failure::Manifest(e @ ManifestError::UnknownType { .. }) => {
                (code_of(e), "name an OCI or docker manifest or index")
            }
            Failure::Manifest(e) => (code_of(e), elsewhere),
            Failure::Foreign(_) => {
                ("copy.fallback-foreign", "it was not overwritten; look at it and move it away")
            }
            Failure::Lost(_) => (
                "copy.missing",
                "garbage collection or a concurrent writer may be at work; run the command again",
            ),
            Failure::NotALayout(_) if place.starts_with("oci-archive:") => (
                "layout.invalid",
                "name an uncompressed tar file of an OCI layout, as bulla copy, skopeo, podman and oras write it",
            ),
            Failure::NotALayout(_) => {
                ("layout.invalid", "name the directory that holds oci-layout, index.json and blobs")
            }
            Failure::Ambiguous(_) => (
                "layout.invalid",
                "name the bundle by its digest, or take one of the entries out of index.json",
            ),
            Failure::Locked(_) => (
                "layout.locked",
                "run the same command again when no other program writes there: it starts from what lies there then",
            ),
            Failure::Io { kind, .. } => {
                let writing = ["create", "write", "push", "delete"].iter().any(|verb| what.starts_with(verb));
                let full = *kind == std::io::ErrorKind::StorageFull;
                if writing || full { ("file.unwritable", WRITABLE) } else { ("file.unreadable", READABLE) }
            }
            Failure::Setup(_) => ("registry.setup", "mend or remove the file or flag that it names"),
        };
        // "open" and "create" are about the place itself.
        let at = if what.contains(' ') { " at" } else { "" };
        Self::failed(code, format!("cannot {what}{at} {place}")).reason(failure).next(next)
    }
}

/// The next step where a registry lets no tag move.
pub(super) const TAG_RULE: &str = "exclude the tags bulla.* and sha256-* from the registry's rule against moving tags, or keep the state \
    elsewhere with --at";

/// What helps against a refusal, by the registry's own code (distribution-spec "Error Codes").
fn after_refusal(text: &str) -> &'static str {
    match text.split([':', ';']).next().unwrap_or_default().trim() {
        "MANIFEST_BLOB_UNKNOWN" | "BLOB_UNKNOWN" | "MANIFEST_UNKNOWN" => {
            "run the same command again: garbage collection may have taken what was there"
        }
        "BLOB_UPLOAD_INVALID" | "BLOB_UPLOAD_UNKNOWN" => "run the same command again",
        "NAME_INVALID" => "choose another repository name: this registry does not allow it",
        "NAME_UNKNOWN" => "make the repository first, where the registry wants that",
        "SIZE_INVALID" => "ask who runs the registry for a higher limit",
        "DIGEST_INVALID" => "ask who runs the registry which digest algorithms it knows",
        "MANIFEST_INVALID" => "ask who runs the registry whether it takes OCI 1.1 artifacts of this size",
        _ => "ask who runs the registry whether it allows that",
    }
}

fn code_of(e: &ManifestError) -> &'static str {
    match e {
        ManifestError::UnknownType { .. } => "manifest.type",
        _ => "manifest.invalid",
    }
}

impl From<ManifestError> for CliError {
    fn from(e: ManifestError) -> Self {
        Self::failed(code_of(&e), "the manifest cannot be decoded").reason(e)
    }
}

impl From<StateError> for CliError {
    fn from(e: StateError) -> Self {
        match e {
            StateError::Store(e) => e.into(),
            StateError::Invalid { digest, reason } => {
                Self::new(Exit::No, "state.invalid", format!("{digest} is no state"))
                    .reason(reason)
                    .next("ask who may write there; another place of the state can be given to bulla trust add --state-at")
            }
        }
    }
}

impl From<MemoryError> for CliError {
    fn from(e: MemoryError) -> Self {
        match e {
            MemoryError::Io { path, reason, .. } => Self::io("use", &path, reason),
            MemoryError::Invalid { path, collection, reason } => {
                Self::failed("memory.invalid", format!("{} is no memory of {collection}", path.display()))
                    .reason(reason)
                    .next("restore the file; to remove it is to forget what was seen")
            }
            MemoryError::Contradiction { ref collection, .. } => {
                Self::failed("memory.contradiction", format!("what is remembered of {collection} contradicts itself"))
                    .reason(&e)
                    .next("ask the collection's owner, by another way, which root is theirs (bulla trust fingerprint); for the first, take the other file away; for the second: bulla trust replace")
            }
        }
    }
}

impl From<AnchorError> for CliError {
    fn from(e: AnchorError) -> Self {
        match e {
            AnchorError::Io { what, path, reason, .. } => Self::io(what, &path, reason),
            AnchorError::Invalid { path, reason } => {
                Self::failed("config.invalid", format!("cannot use {}", path.display()))
                    .reason(reason)
                    .next("mend the file, or restore it")
            }
            AnchorError::Pack { ref path, ref reason } => {
                Self::new(Exit::No, "trust.pack", format!("{} is no root pack to rely on", path.display()))
                    .reason(reason)
                    .next("nothing was added: get the pack from its distributor again")
            }
            AnchorError::Addition { ref path, ref reason } => Self::new(
                Exit::No,
                "trust.conflict",
                format!("{} says something else already", path.display()),
            )
            .reason(reason)
            .next("nothing was added: decide which of the two holds, and remove the other"),
            AnchorError::Packs { ref path, .. } => Self::new(
                Exit::No,
                "trust.pack",
                format!("{} holds no root packs that are read", path.display()),
            )
            .reason(&e)
            .next("name a directory with NAME.pack.json files and their roots beside them"),
            AnchorError::TooLarge { ref path, .. } => {
                Self::failed("config.invalid", format!("cannot use {}", path.display()))
                    .reason(&e)
                    .next("mend the file, or restore it")
            }
            AnchorError::Root(e) => {
                Self::new(Exit::No, "trust.root-invalid", "the root does not verify by itself")
                    .reason(e)
                    .next("get the root from the publisher again")
            }
            AnchorError::NoState { collection, places } => Self::failed(
                "state.absent",
                format!("there is no state of {collection} to take the root from"),
            )
            .reason(format!("asked: {}", places.join(", ")))
            .next("name the place with --state-at, or give the root as a file"),
            AnchorError::Fingerprint { asked, found } => {
                let found: Vec<String> = found.iter().map(ToString::to_string).collect();
                Self::new(Exit::No, "trust.fingerprint", format!("no root has the fingerprint {asked}"))
                    .reason(format!("found: {}; nothing was added", found.join(", ")))
                    .next("compare the fingerprint with the publisher by another way")
            }
            AnchorError::State(e) => e.into(),
            AnchorError::Place(e) => e.into(),
        }
    }
}

impl From<DocumentError> for CliError {
    fn from(e: DocumentError) -> Self {
        match e {
            DocumentError::File(e) => e.into(),
            DocumentError::Scope => Self::usage("--scope is for a trust policy").reason(e),
            e => Self::new(Exit::No, "trust.document", "nothing was taken over")
                .reason(e)
                .next("mend the document, or write what it means into trust.json by hand"),
        }
    }
}

impl From<VerifyError> for CliError {
    fn from(e: VerifyError) -> Self {
        match e {
            VerifyError::NoSelector(reference) => Self::no_selector(&reference),
            VerifyError::AlreadyNamed(_) => Self::usage("--as is for oci: and oci-archive: references only")
                .reason(e)
                .next("leave it out: the anchor that covers the repository names the collection"),
            VerifyError::Ambiguous { ref reference, ref anchored } => {
                let error = Self::new(
                    Exit::Usage,
                    "anchor.ambiguous",
                    format!("{reference} does not say whose bundle it is"),
                );
                if anchored.is_empty() {
                    error.reason("no collection is anchored").next("bulla trust add SCOPE --root FILE")
                } else {
                    error
                        .reason(format!("anchored are {}", anchored.join(", ")))
                        .next("pass --as NAME with one of them")
                }
            }
            VerifyError::Memory(e) => e.into(),
            VerifyError::Place(e) => e.into(),
        }
    }
}

impl From<SignError> for CliError {
    fn from(e: SignError) -> Self {
        match e {
            // More signatures than anybody has keys for on one machine are gathered by a proposal.
            SignError::Missing { ref role, have, need, .. } if need > 1 && have > 0 => {
                Self::failed("key.missing", format!("cannot sign {role}: {need} keys must, and {have} of them is here"))
                    .reason(&e)
                    .next(format!(
                        "gather the signatures of several machines: bulla tuf propose REPO --resign {role} --description TEXT"
                    ))
            }
            SignError::Missing { ref role, .. } => {
                let flag = match role.as_str() {
                    "root" => "--root-key",
                    "targets" => "--targets-key",
                    "snapshot" | "timestamp" => "--online-key",
                    _ => "--releases-key",
                };
                Self::failed("key.missing", format!("cannot sign {role}")).reason(&e).next(format!(
                    "pass {flag} FILE, or bring the key into the key folder: bulla key import FILE"
                ))
            }
            SignError::Key(e) => e.into(),
        }
    }
}

impl From<InitError> for CliError {
    fn from(e: InitError) -> Self {
        let exists = |e: &InitError| {
            Self::new(Exit::No, "init.exists", "the collection exists already")
                .reason(e)
                .next("publish to it, or choose another name")
        };
        match e {
            InitError::Threshold { .. } => Self::usage("the root could never be signed").reason(e),
            InitError::SharedRootKey { .. } => Self::new(
                Exit::Usage,
                "init.shared-root-key",
                "who holds that key daily could replace the root",
            )
            .reason(e)
            .next("give another key, or pass --dangerously-share-root-key with the reason"),
            InitError::SharedTargetsKey { .. } => Self::new(
                Exit::Usage,
                "init.shared-targets-key",
                "who holds that key daily could take the place of top-level targets",
            )
            .reason(e)
            .next("give the targets role a key of its own"),
            InitError::Exists { .. } | InitError::Remembered { .. } => exists(&e),
            InitError::Stands { .. } => Self::new(Exit::No, "init.exists", "the collection exists already")
                .reason(e)
                .next("see what lies there with bulla status, and put it right with bulla renew where its keys are"),
            InitError::Retired { .. } => Self::new(
                Exit::Usage,
                "init.retired-key",
                "a collection that begins anew takes no key of the root that it gives up",
            )
            .reason(e)
            .next("make new keys: leave the option out, or bulla key generate NAME and name that one; move the old key files out of the key folder first"),
            InitError::TagImmutable { .. } => {
                Self::failed("init.tag-immutable", "the state's tag could never be moved there")
                    .reason(e)
                    .next(TAG_RULE)
            }
            InitError::RootFile { path, reason, .. } => Self::io("write", &path, reason),
            InitError::Key(e) => e.into(),
            InitError::Sign(e) => e.into(),
            InitError::Tuf(_) => {
                Self::new(Exit::Fault, "internal", "what was made does not verify; nothing was pushed")
                    .reason(e)
            }
            InitError::Edit(e) => e.into(),
            InitError::Incomplete(e) => e.into(),
            InitError::Late { .. } => {
                Self::new(Exit::No, "proposal.stale", "the proposal took too long; nothing was published")
                    .reason(e)
                    .next("propose the first root again: bulla init")
            }
            InitError::TargetFile(_) => {
                Self::new(Exit::No, "proposal.invalid", "the proposal leads nowhere").reason(e)
            }
            InitError::Store(e) => e.into(),
            InitError::State(e) => e.into(),
            InitError::Memory(e) => e.into(),
        }
    }
}

impl From<CopyError> for CliError {
    fn from(e: CopyError) -> Self {
        let side = e.side();
        match e {
            CopyError::Store { error, .. } => {
                let of_referrers = side == Side::Source && error.what.contains("referrers");
                let mut shown = Self::from(error);
                if of_referrers {
                    shown.code = "copy.referrers";
                    shown.next =
                        Some("a copy that might lose signatures is not begun; try again, or log in".into());
                }
                shown.message = format!("{side}: {}", shown.message);
                shown
            }
            CopyError::Absent { place, what } => {
                Self::failed("ref.absent", format!("source: {what} is not at {place}"))
                    .reason("the source was asked and says that it is not there")
            }
            CopyError::TooLarge { place, limit } => Self::failed(
                "copy.cap",
                format!("source: more hangs on the bundle at {place} than is copied"),
            )
            .reason(format!("the limit is {limit}")),
            CopyError::Contradiction { .. } => {
                Self::failed("manifest.invalid", "source: two manifests contradict each other").reason(e)
            }
            CopyError::NoPlatform { .. } => Self::failed(
                "copy.platform",
                "source: no child of the bundle is of a platform that was asked for",
            )
            .reason(e)
            .next("name a platform that is there, or none"),
            CopyError::Sparse { .. } => {
                Self::failed("copy.sparse", "destination: an index is not taken without all its children")
                    .reason(e)
                    .next("copy all platforms, or into an OCI layout")
            }
            CopyError::TagImmutable { ref place, ref tag, .. } => Self::failed(
                "copy.tag-immutable",
                format!("destination: the tag {tag} at {place} names something else and cannot be moved"),
            )
            .reason(&e)
            .next("exclude it from the registry's rule against moving tags, or copy to another tag or repository"),
            CopyError::HeldBack { ref place, .. } => Self::failed(
                "copy.held-back",
                format!("destination: the newer state at {place} was held back, and the tags that move with it"),
            )
            .reason(&e)
            .next("run the same command again when what failed can be copied: the bundle itself is there"),
            CopyError::Missing { ref place, ref missing } => Self::failed(
                "copy.missing",
                format!("destination: {} referrers are not listed at {place}", missing.len()),
            )
            .reason(&e)
            .next("garbage collection or a concurrent writer may be at work; run the copy again"),
        }
    }
}
