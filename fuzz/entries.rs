//! What is done with bytes of whoever, one function a kind: the targets of `cargo fuzz` are made of them, and `make test` drives the
//! same over changed examples (`tests/e2e/fuzzed.rs`). None may panic, and what is asserted holds whatever comes.

use std::sync::LazyLock;

use bulla::client::history::History;
use bulla::client::installed;
use bulla::client::submission::SubmissionTag;
use bulla::envelope::keyless::TrustedRoot;
use bulla::envelope::{keyless, notary_cose, notary_jws, sigstore_bundle, simple_signing};
use bulla::intoto::verify::{Parameters, Request as Inspected, substitute, verify};
use bulla::intoto::{
    ArtifactName, Document as Signable, Envelope as Signed, Glob, Key, LinkPath, Rule, StepName,
};
use bulla::keys::KmsRef;
use bulla::oci::{Content, Digest, Manifest, Reference, Tag, media_type};
use bulla::sig::canonical::canonical;
use bulla::sig::dsse::Envelope;
use bulla::sig::statement::Statement;
use bulla::sig::x509::{Certificate, Chain};
use bulla::sig::{PublicKey, SubjectKey, json};
use bulla::time::UnixTime;
use bulla::trust::cnab::{BundleJson, CnabAnswer, CnabIndex, RelocationMap, bundle_json_of, compare, look};
use bulla::trust::{
    Addition, Document, Duration, Material, MaterialKind, NotationPolicy, NotationStores, RequirementsError,
    Rescissions, RevocationList, RootPack, Scope, SpiffeBundle, SubjectPattern, TrustFile, join_revocations,
};
use bulla::tuf::lineage::{RoleFile, Verdict, View, classify};
use bulla::tuf::proposal::{self, About, Base, Proposal, merge};
use bulla::tuf::request::{self, Denial, Request};
use bulla::tuf::{
    Agreement, Bundle, CollectionName, FileName, Limits, PathPattern, RoleName, Root, RootWalk, Snapshot,
    Targets, Timestamp, Unverified,
};
use bytes::Bytes;

/// A kind of bytes: its name, which is the fuzz target's, and what is done with them.
pub type Entry = (&'static str, fn(&[u8]));

/// All of them.
pub const ALL: &[Entry] = &[
    ("certificate", certificate),
    ("changes", changes),
    ("cnab", cnab),
    ("installed", installed),
    ("intoto_document", intoto_document),
    ("intoto_rule", intoto_rule),
    ("json", json),
    ("keyless", keyless_signature),
    ("keys", keys),
    ("kms_answer", kms_answer),
    ("manifest", manifest),
    ("metadata", metadata),
    ("proposal", proposal),
    ("reference", reference),
    ("request", request),
    ("revocations", revocations),
    ("root_pack", root_pack),
    ("signature", signature),
    ("trust_document", trust_document),
    ("trust_file", trust_file),
];

/// Sigstore's own trusted root.
const TRUSTED_ROOT: &[u8] = include_bytes!("../testdata/signatures/sigstore-rust/trusted_root.json");
const NOTATION_ROOT: &str = include_str!("../testdata/signatures/notation/root.pem");
const SIGSTORE_KEY: &str = include_str!("../testdata/signatures/sigstore/p256.pub");

fn collection() -> CollectionName {
    "example.com/a/b".parse().unwrap()
}

/// Layouts, links and attestations, signed or not: what is read is written the same, and nobody's signature fulfils nothing.
pub fn intoto_document(bytes: &[u8]) {
    if let Ok(value) = json::parse(bytes)
        && let Ok(document) = Signable::from_value(&value)
    {
        let again = Signable::from_value(&document.to_value()).unwrap();
        assert_eq!(again.to_value(), document.to_value());
        if let Ok(layout) = document.into_layout() {
            let parameters = Parameters::from([("x".to_owned(), "y".to_owned())]);
            let _ = substitute(&layout, &parameters);
        }
    }
    let Ok(key) = Key::from_pem(SIGSTORE_KEY) else { return };
    if let Ok(envelope) = Signed::parse(bytes) {
        assert_eq!(Signed::parse(&envelope.to_bytes()).unwrap().message(), envelope.message());
        let _ = envelope.unverified();
    }
    let links = [("s.00112233.link".parse().unwrap(), bytes.to_vec())];
    let now = UnixTime::from_secs(1_800_000_000);
    let (parameters, inspections) = (Parameters::new(), std::collections::BTreeMap::new());
    let request = Inspected {
        layout: bytes,
        keys: &[key],
        links: &links,
        parameters: &parameters,
        inspections: &inspections,
        product: None,
        now,
    };
    assert_ne!(verify(&request).outcome(), bulla::intoto::verify::Outcome::Fulfilled);
}

/// Rules, patterns and names of in-toto: a rule is written as it was read, and a pattern without anything special matches itself.
pub fn intoto_rule(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
    if let Ok(rule) = Rule::from_words(&words) {
        assert_eq!(Rule::from_words(&rule.to_words()).unwrap(), rule);
    }
    let glob = Glob::new(&text);
    assert!(glob.literal().is_none_or(|literal| glob.matches(literal)));
    let (pattern, name) = text.split_once('\n').unwrap_or((&text, "a/b"));
    let _ = Glob::new(pattern).matches(name);
    if let Ok(path) = text.parse::<LinkPath>() {
        assert_eq!(path.flat().parse::<LinkPath>().unwrap(), path);
    }
    let _ = (text.parse::<ArtifactName>(), text.parse::<StepName>());
}

/// CNAB bundles: indexes, config manifests, `bundle.json`, relocation maps. What is whole has no difference left.
pub fn cnab(bytes: &[u8]) {
    let (bundle, map) = (BundleJson::parse(bytes), RelocationMap::parse(bytes));
    if let (Ok(bundle), Ok(map)) = (&bundle, &map) {
        let _ = map.misplaced(bundle, None);
    }
    let config = Content::new(media_type::OCI_MANIFEST, bytes.to_vec());
    let _ = Manifest::parse(&config).map(|manifest| bundle_json_of(&manifest));
    let index = Content::new(media_type::OCI_INDEX, bytes.to_vec());
    let Ok(Some(index)) = Manifest::parse(&index).map(|m| CnabIndex::of(&m).transpose()) else { return };
    let bundle_json = Content::new("application/vnd.cnab.config.v1+json", bytes.to_vec());
    let read = CnabAnswer::Read { config, bundle_json, absent: Vec::new() };
    let report = look(&index, Some(&read));
    if let (None, Ok(index), Ok(bundle)) = (report.verdict(), index, bundle) {
        assert_eq!(compare(&index, &bundle), []);
    }
}

/// `installed.jsonl`: every line is read, or counted, or is the last and torn.
pub fn installed(bytes: &[u8]) {
    let lines = bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty()).count();
    let log = installed::parse(bytes);
    assert_eq!(log.lines.len() + log.unread + usize::from(log.torn), lines);
}

/// The strict JSON parser: it reads no more than `serde_json`, and the same.
pub fn json(bytes: &[u8]) {
    if let Ok(value) = json::parse(bytes) {
        let plain: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        assert_eq!(plain, value);
        let again = json::parse(&serde_json::to_vec(&value).unwrap()).unwrap();
        assert_eq!(canonical(&again), canonical(&value));
    }
}

/// Answers of KMS plugins.
pub fn kms_answer(bytes: &[u8]) {
    let key: KmsRef = "fake://key".parse().unwrap();
    if let Ok(public) = key.read_public_key(bytes) {
        assert_eq!(PublicKey::from_tuf(&public.to_tuf()).unwrap(), public);
    }
}

/// Manifests and indexes: never both at once; and the history that one names.
pub fn manifest(bytes: &[u8]) {
    let kinds = [
        media_type::OCI_MANIFEST,
        media_type::OCI_INDEX,
        media_type::DOCKER_MANIFEST,
        media_type::DOCKER_LIST,
    ];
    let read = kinds.map(|kind| Manifest::parse(&Content::new(kind, bytes.to_vec())).ok());
    let own = Content::new(media_type::OCI_MANIFEST, bytes.to_vec());
    for manifest in read.into_iter().flatten() {
        assert!(manifest.config.is_none() || manifest.manifests.is_empty());
        let _ = manifest.referrer_descriptor(own.descriptor());
    }
    let history = History::of(&own);
    assert_eq!(history, History::of(&own));
}

/// TUF metadata of every kind, the walk over roots, and what entries say.
pub fn metadata(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    let (role, limits) = (RoleName::targets(), Limits::default());
    let _ = Unverified::<Root>::parse(&role, &bytes, &limits);
    let _ = Unverified::<Timestamp>::parse(&role, &bytes, &limits);
    let _ = Unverified::<Snapshot>::parse(&role, &bytes, &limits);
    let _ = RootWalk::start(&bytes, None, &limits);
    if let Ok(file) = Unverified::<Targets>::parse(&role, &bytes, &limits).and_then(|f| f.verify(&role, &[]))
    {
        let collection = collection();
        for (path, target) in file.role().targets() {
            let _ = (collection.entry(path), Bundle::read(target));
            let _ = file.role().delegations().iter().any(|d| d.paths.cover(path));
        }
        let _ = Agreement::read(file.signed());
        if let Ok(lineage) = RoleFile::of(&file) {
            assert_eq!(classify(&View::of(&lineage), &lineage).verdict, Verdict::AlreadyIn);
        }
    }
}

/// Proposals: read, compared, counted and merged on a base that is nothing.
pub fn proposal(bytes: &[u8]) {
    if let Ok(proposal) = Proposal::parse(bytes) {
        let base = Base::nothing(proposal.collection().clone());
        let _ = (proposal.check_base(&base), proposal.signers(&base), proposal.complete(&base));
        let _ = proposal.difference(&base).to_string();
        let _ = merge(&[proposal.clone(), proposal], &base);
    }
}

/// References, scopes, names, patterns, times: what is read is written the same.
pub fn reference(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(reference) = text.parse::<Reference>() {
        assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference);
    }
    if let Ok(scope) = text.parse::<Scope>() {
        assert_eq!(scope.to_string().parse::<Scope>().unwrap(), scope);
    }
    if let Ok(name) = text.parse::<FileName>() {
        assert_eq!(name.to_string(), text);
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text);
    }
    if let Ok(tag) = text.parse::<Tag>() {
        assert_eq!(tag.as_str(), text);
        if let Some(submission) = SubmissionTag::read(&collection(), &tag) {
            assert_eq!(submission.tag(&collection()), Some(tag));
        }
    }
    if let Ok(pattern) = PathPattern::parse(text) {
        assert_eq!(pattern.as_str(), text);
        let _ = pattern.matches("example.com/a/b:v1");
    }
    if let Ok(time) = text.parse::<UnixTime>() {
        assert_eq!(time.to_string().parse(), Ok(time));
    }
    let _ = UnixTime::from_rfc3339(text);
    let _ = (text.parse::<Duration>(), text.parse::<RoleName>(), collection().scope(text));
    if let Ok(key) = text.parse::<KmsRef>() {
        assert_eq!(key.to_string(), text);
    }
}

/// Requests for delegation and denials: nobody is believed who does not hold the key.
pub fn request(bytes: &[u8]) {
    if let Ok(request) = Request::read(bytes) {
        assert!(!request.paths.is_empty());
        let _ = request.check_collection(&collection());
    }
    // Nobody has a say here.
    assert!(Denial::read(bytes, &collection(), &request::id(bytes), &[]).is_err());
}

/// Revocation lists: what is read revokes what it says, and joins with itself.
pub fn revocations(bytes: &[u8]) {
    if let Ok(list) = RevocationList::parse(bytes) {
        for entry in list.entries() {
            let _ = (entry.said(), entry.kind.takes_back());
            let Some(digest) = entry.digest.clone() else { continue };
            for kind in [MaterialKind::Signature, MaterialKind::Key, MaterialKind::Certificate] {
                let of = Material { kind, subject: digest.clone(), since: entry.since };
                assert_eq!(
                    entry.covers(&of),
                    entry.kind.as_str() == kind.as_str(),
                    "each takes back what it names"
                );
            }
            let _ = (list.revokes(&digest), list.advisories(&[digest]));
        }
        let _ = join_revocations(&[bytes, bytes], &[]);
    }
}

/// Root packs: read or refused.
pub fn root_pack(bytes: &[u8]) {
    if let Ok(pack) = RootPack::parse(bytes) {
        assert!(!pack.root().contains('/'));
    }
}

/// Public keys in the forms that are read.
pub fn keys(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(key) = PublicKey::from_pem(text)
    {
        assert_eq!(PublicKey::from_pem(&key.to_pem()).unwrap(), key);
    }
    if let Ok(value) = json::parse(bytes) {
        let _ = PublicKey::from_tuf(&value);
    }
}

/// Certificates in DER and PEM, and the chain of what parses.
pub fn certificate(bytes: &[u8]) {
    if let Ok(certificate) = Certificate::from_der(bytes) {
        assert_eq!(certificate.as_der(), bytes);
        let _ = (certificate.subject().to_string(), certificate.is_ca());
        let _ = Chain::notary(vec![certificate]);
    }
    if let Some(certificates) = std::str::from_utf8(bytes).ok().and_then(|t| Certificate::from_pem(t).ok()) {
        let _ = Chain::notary(certificates);
    }
}

/// Every signature envelope: DSSE, statement, Sigstore bundle, simple signing, Notary JWS and COSE.
pub fn signature(bytes: &[u8]) {
    let (Ok(key), digest) = (SubjectKey::from_pem(SIGSTORE_KEY), Digest::sha256(b"")) else { return };
    if let Ok(envelope) = Envelope::parse(bytes) {
        let _ = envelope.verify("application/vnd.in-toto+json", |_, _| true);
    }
    if let Ok(statement) = Statement::parse(bytes) {
        let _ = (statement.subject(&digest), statement.predicate());
    }
    if let Ok(bundle) = sigstore_bundle::Bundle::parse(bytes) {
        let _ =
            (bundle.signature(&key, &digest), bundle.verify_message(&key, b""), bundle.log_entries().len());
    }
    let _ = simple_signing::verify(bytes, bytes, &key);
    let _ = (notary_jws::verify(bytes), notary_cose::verify(bytes));
    let _ = simple_signing::unverified(bytes);
    if let Ok(file) = bulla::client::sign::Envelope::read(bytes.to_vec()) {
        let _ = file.check_about(&bulla::oci::Descriptor::of("a/b", b""));
    }
}

/// Keyless signatures: trusted roots, and bundles and annotations under sigstore's own.
pub fn keyless_signature(bytes: &[u8]) {
    static PUBLIC: LazyLock<Option<TrustedRoot>> = LazyLock::new(|| TrustedRoot::parse(TRUSTED_ROOT).ok());
    if let Ok(root) = TrustedRoot::parse(bytes) {
        let _ = root.expires();
    }
    let (Some(root), digest) = (&*PUBLIC, Digest::sha256(b"")) else { return };
    let judge = |bytes: &[u8]| {
        let Ok(bundle) = sigstore_bundle::Bundle::parse(bytes) else { return };
        for artifact in [None, Some(&b""[..])] {
            let signed = keyless::Signed { digest: &digest, bytes: artifact };
            assert!(root.judge(bytes, &bundle, signed, UnixTime::from_secs(1_800_000_000)).is_err());
        }
    };
    judge(bytes);
    let Some(leaf) = Certificate::from_pem(NOTATION_ROOT).ok().and_then(|mut all| all.pop()) else { return };
    let text = String::from_utf8_lossy(bytes);
    if let Ok(made) = keyless::from_annotations(b"", b"x", &leaf, &text, None) {
        judge(&made);
    }
}

/// `trust.json`: what is read is written the same.
pub fn trust_file(bytes: &[u8]) {
    if let Ok(file) = TrustFile::parse(bytes) {
        assert_eq!(TrustFile::parse(&file.to_bytes()).unwrap(), file);
    }
}

/// Lists of changes: read, and made on a base that is nothing.
pub fn changes(bytes: &[u8]) {
    let Ok(collection) = "ex.com/org/app".parse::<bulla::tuf::CollectionName>() else { return };
    let at = UnixTime::from_secs(1_800_000_000);
    if let Ok(edits) = proposal::changes(bytes, &collection, at) {
        let about = About { description: String::new(), by: String::new(), at };
        let _ = Proposal::new(&Base::nothing(collection), &edits, about);
    }
}

/// What `bulla trust import` takes over: the requirements document's policy and store, notation's policy, SPIFFE bundles, subjects.
pub fn trust_document(bytes: &[u8]) {
    let mut made = Vec::new();
    match Document::parse(bytes) {
        Ok(Document::Policy(policy)) => {
            let mut addition = Addition::default();
            if policy.says(&Scope::Any, "f", &mut addition).is_ok() {
                made.push(addition);
            }
        }
        Ok(Document::Store(store)) => {
            let mut addition = Addition::default();
            let mut absent = |_: &str| Ok::<_, RequirementsError>(Vec::new());
            if store.anchors(&Scope::Any, &mut addition, &mut absent).is_ok() {
                made.push(addition);
            }
        }
        Err(_) => {}
    }
    if let Ok(policy) = NotationPolicy::parse(bytes) {
        made.extend(policy.convert(&NotationStores::new(), "f"));
    }
    if let Ok(bundle) = SpiffeBundle::parse(bytes) {
        made.extend(bundle.anchors("example.org", &Scope::Any, &Rescissions::Nowhere));
    }
    for addition in made {
        let mut file = TrustFile::default();
        if file.add(&addition).is_ok() {
            assert_eq!(TrustFile::parse(&file.to_bytes()), Ok(file), "it means the same when written");
        }
    }
    if let Ok(pattern) = String::from_utf8_lossy(bytes).parse::<SubjectPattern>() {
        assert_eq!(pattern.to_string().parse(), Ok(pattern));
    }
}
