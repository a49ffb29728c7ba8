//! Judging one signature: whose it is, whether it is about the bundle, and whether it counts now. Every constraint is asked of this
//! one signature; nothing is put together from several.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::found::{Form, Found};
use super::keyless;
use super::name::name;
use super::voice::Voice;
use crate::envelope::keyless::{KeylessError, from_annotations};
use crate::envelope::notary::{NotaryError, SigningScheme};
use crate::envelope::sigstore_bundle::{Bundle, BundleError, Material};
use crate::envelope::simple_signing::{self, SimpleSigningError};
use crate::envelope::{notary, notary_cose, notary_jws};
use crate::oci::{Descriptor, Digest};
use crate::sig::dsse::DsseError;
use crate::sig::x509::{Certificate, Chain, ChainError};
use crate::sig::{KeyKind, PublicKey, SubjectKey};
use crate::time::UnixTime;
use crate::trust::code::Code;
use crate::trust::report::Check;
use crate::trust::{Rescissions, RevocationEntry, RevocationKind, RevocationList, SignerAnchor, Trusts};
use crate::tuf::CollectionName;

/// Longest detail of a fault, in characters.
const MAX_DETAIL: usize = 300;

/// Under what one signature is judged.
pub(in crate::trust) struct Bench<'a> {
    /// The bundle.
    pub(in crate::trust) digest: &'a Digest,
    /// The same with media type and size, where they were looked at.
    pub(in crate::trust) served: Option<&'a Descriptor>,
    /// The bundle's manifest, for signatures over its bytes.
    pub(in crate::trust) artifact: Option<&'a Bytes>,
    /// Whether attestations are judged, which are no signatures, or signatures, which are no attestations.
    pub(in crate::trust) attestations: bool,
    /// Whose signatures count.
    pub(in crate::trust) signers: &'a [SignerAnchor],
    /// What each collection whose list the anchors go by takes back, or why that is not known.
    pub(in crate::trust) lists: &'a BTreeMap<CollectionName, Heard>,
    /// Whether one of which no source says whether it was taken back leaves the answer open.
    pub(in crate::trust) must_know: bool,
    /// Now.
    pub(in crate::trust) now: UnixTime,
}

/// What is known of a collection's revocation list.
#[derive(Debug, Clone)]
pub(in crate::trust) struct Heard {
    /// The list, or why it cannot be relied on.
    pub(in crate::trust) now: Result<RevocationList, String>,
    /// Where it cannot: the lists that were seen before. What they take back stays taken back; that they do not is no news.
    pub(in crate::trust) before: Vec<RevocationList>,
}

/// A signature by whom an anchor trusts, about the bundle. Whether it, or a certificate, has expired and whether it was taken back is
/// asked of it; each of these may be waived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::trust) struct Sound {
    pub(in crate::trust) voice: Voice,
    /// What it is called by, whatever carries it.
    pub(in crate::trust) name: Option<Digest>,
    /// The manifest that carries it.
    pub(in crate::trust) manifest: Digest,
    /// A certificate of its chain that is not valid now.
    pub(in crate::trust) lapsed: Option<Fault>,
    /// By which it can be taken back: its name, manifest and bytes, the bundle, the key, the certificates and their keys.
    pub(super) materials: Vec<Digest>,
    /// Whether a certificate below the root names servers that may know more.
    pub(super) names_revocation: bool,
    pub(in crate::trust) form: Form,
    pub(in crate::trust) signed_at: Option<UnixTime>,
    /// When it was signed at the latest, by the word of somebody else whom the anchor trusts for that. Never the signer's own.
    pub(in crate::trust) proven_at: Option<UnixTime>,
    pub(in crate::trust) expires: Option<UnixTime>,
    /// What was signed about it.
    pub(in crate::trust) media_type: Option<String>,
    pub(in crate::trust) size: Option<u64>,
}

/// Whether a sound signature was taken back.
pub(in crate::trust) enum Standing {
    /// It stands.
    Stands(Voice),
    /// A list that an anchor of it goes by takes it back.
    Rescinded(Fault),
    /// None of its anchors says: why.
    Unknown(String),
}

/// Why a signature does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::trust) struct Fault {
    pub(in crate::trust) code: Code,
    pub(in crate::trust) detail: String,
    /// The entry that takes it back, and the collection whose list has it.
    taken: Option<Box<(CollectionName, RevocationEntry)>>,
}

impl Fault {
    /// What a stranger wrote may be part of it: it is cut.
    pub(in crate::trust) fn new(code: Code, detail: impl ToString) -> Self {
        let mut detail: String = detail.to_string();
        if let Some((end, _)) = detail.char_indices().nth(MAX_DETAIL) {
            detail.truncate(end);
            detail.push('…');
        }
        Self { code, detail, taken: None }
    }

    /// As a check of the report, about that signature.
    pub(in crate::trust) fn check(&self, found: &Digest, form: Form) -> Check {
        let check = self.bare();
        check.with("manifest", found.to_string()).with("form", form.as_str())
    }

    /// The same of none that could be named.
    pub(in crate::trust) fn bare(&self) -> Check {
        let check = Check::fail(self.code, &self.detail);
        match self.taken.as_deref() {
            Some((collection, entry)) => entry.told_by(check).with("collection", collection.to_string()),
            None => check,
        }
    }

    /// What a collection's list takes back.
    fn taken(collection: &CollectionName, subject: &Digest, entry: &RevocationEntry) -> Self {
        let (code, what) = match entry.kind {
            RevocationKind::Key => (Code::SignatureKeyRescinded, "the key"),
            RevocationKind::Certificate => (Code::SignatureCertificateRescinded, "the certificate"),
            RevocationKind::Bundle | RevocationKind::Tombstone => (Code::RevocationBundle, "the bundle"),
            _ => (Code::SignatureRescinded, "the signature"),
        };
        let unproven = entry.since.map_or("", |_| "; nothing proves that it is older");
        let detail = format!("{what} {subject} was taken back in {collection} {}{unproven}", entry.said());
        Self { taken: Some(Box::new((collection.clone(), entry.clone()))), ..Self::new(code, detail) }
    }
}

impl Bench<'_> {
    /// Judge one.
    pub(in crate::trust) fn judge(&self, found: &Found) -> Result<Sound, Fault> {
        match found.form {
            Form::SigstoreBundle => self.bundle(found),
            Form::SimpleSigning => self.simple(found),
            Form::NotaryJws => self.notary(found, notary_jws::verify(&found.bytes)),
            Form::NotaryCose => self.notary(found, notary_cose::verify(&found.bytes)),
        }
    }

    /// Keys that are trusted by themselves, with the certificate that carries them where there is one.
    fn keys(&self) -> impl Iterator<Item = (&SubjectKey, Option<&Certificate>, &SignerAnchor)> {
        self.signers.iter().filter_map(|anchor| match &anchor.trusts {
            Trusts::Key(key) => Some((key, None, anchor)),
            Trusts::Certificate(certificate) => Some((certificate.key(), Some(certificate), anchor)),
            Trusts::Ca { .. } | Trusts::Keyless { .. } => None,
        })
    }

    /// A signature by a key that is trusted by itself. A certificate that pins it must be valid; a bare key has no such bound.
    fn by_key(&self, found: &Found, key: &SubjectKey) -> Sound {
        let named = || self.keys().filter(|(k, ..)| *k == key);
        let valid = |c: &Certificate| c.not_before() <= self.now && self.now <= c.not_after();
        let mut counts: Vec<_> = named().filter(|(_, c, _)| c.is_none_or(valid)).collect();
        let mut lapsed = None;
        if counts.is_empty() {
            let until = named().find_map(|(_, c, _)| c).map(|c| c.not_after().to_string());
            let detail = format!("the trusted certificate was valid until {}", until.unwrap_or_default());
            lapsed = Some(Fault::new(Code::SignatureCertificateExpired, detail));
            counts = named().collect();
        }
        let certificates = || counts.iter().filter_map(|(_, certificate, _)| *certificate);
        let who = certificates().next().map(|c| c.subject().to_string()).filter(|s| !s.is_empty());
        let ids = counts.iter().map(|(.., anchor)| anchor.id.clone()).collect();
        let materials = certificates().flat_map(Certificate::thumbprints).chain(names_of(key)).collect();
        let names_revocation = certificates().any(Certificate::names_revocation);
        // He may sign with a renewed key, by a CA that is trusted too: the same subject under it.
        let cas = self.signers.iter().filter_map(|anchor| match &anchor.trusts {
            Trusts::Ca { certificate, .. } => Some(certificate),
            _ => None,
        });
        let issued = cas.flat_map(|ca| certificates().filter(|c| c.is_issued_by(ca)).map(move |c| (ca, c)));
        let voice = Voice::of_key(key, who, ids).and_under(issued);
        Sound { lapsed, names_revocation, ..self.sound(found, voice, materials) }
    }

    fn bundle(&self, found: &Found) -> Result<Sound, Fault> {
        let bundle = Bundle::parse(&found.bytes).map_err(|e| of_bundle(&e))?;
        let mut keys: Vec<&SubjectKey> = self.keys().map(|(key, ..)| key).collect();
        // A hint only says where to begin.
        keys.sort_by_key(|key| !bundle.hints_at(key));
        keys.dedup();
        for key in keys {
            match self.signed_bundle(&bundle, key) {
                Err(BundleError::Dsse(DsseError::NotSigned) | BundleError::NotSigned) => {}
                Err(e) => return Err(of_bundle(&e)),
                Ok(()) => return Ok(self.by_key(found, key)),
            }
        }
        let Material::Certificates(certificates) = bundle.material() else {
            return Err(Fault::new(
                Code::SignatureUntrusted,
                "signed by a key that no anchor of the scope names",
            ));
        };
        let certificates = certificates.iter().map(|der| Certificate::from_der(der));
        let certificates: Vec<Certificate> =
            certificates.collect::<Result<_, _>>().map_err(|e| Fault::new(Code::SignatureMalformed, e))?;
        let identified = self.by_identity(found, &certificates, |leaf| {
            self.signed_bundle(&bundle, leaf.key()).map_err(|e| of_bundle(&e))?;
            let artifact = self.artifact.filter(|_| bundle.is_message()).map(|bytes| &bytes[..]);
            Ok((found.bytes.clone(), bundle.clone(), self.digest.clone(), artifact))
        });
        let identified = match identified {
            Some(Ok(sound)) => return Ok(sound),
            Some(Err(fault)) => Some(fault),
            None => None,
        };
        let chain = self.rooted(&certificates).map_err(|rooted| nearer(identified, rooted))?;
        match self.signed_bundle(&bundle, chain.leaf().key()) {
            Err(BundleError::Dsse(DsseError::NotSigned) | BundleError::NotSigned) => Err(Fault::new(
                Code::SignatureWrong,
                "the signature is not that of the certificate in the bundle",
            )),
            Err(e) => Err(of_bundle(&e)),
            Ok(()) => self.by_chain(found, &chain),
        }
    }

    /// That the key signed the bundle, in the way that `cosign sign` does or over the manifest's bytes, and that no log entry says
    /// otherwise.
    fn signed_bundle(&self, bundle: &Bundle, key: &SubjectKey) -> Result<(), BundleError> {
        if self.attestations {
            bundle.attestation(key, self.digest)?;
            // Nothing here rests on a log; one that is about another signature refuses.
            return match bundle.check_log_entries(key, None) {
                Err(foreign @ BundleError::ForeignEntry(_)) => Err(foreign),
                Ok(()) | Err(_) => Ok(()),
            };
        }
        let artifact = self.artifact.map(|bytes| &bytes[..]).filter(|bytes| self.digest.matches(bytes));
        let entries = match (bundle.signature(key, self.digest), artifact) {
            (Err(BundleError::Content(_)), Some(artifact)) => {
                bundle.verify_message(key, artifact)?;
                bundle.check_log_entries(key, Some(artifact))
            }
            (signed, _) => {
                signed?;
                bundle.check_log_entries(key, None)
            }
        };
        match entries {
            Err(foreign @ BundleError::ForeignEntry(_)) => Err(foreign),
            // Nothing here rests on a log: what cannot be compared proves nothing and disproves nothing.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn simple(&self, found: &Found) -> Result<Sound, Fault> {
        let malformed = |what: &str| Fault::new(Code::SignatureMalformed, what);
        let signature = found.signature.as_deref().ok_or_else(|| malformed("a layer without signature"))?;
        let signature = STANDARD.decode(signature).map_err(|_| malformed("the signature is not base64"))?;
        let mut keys: Vec<&SubjectKey> = self.keys().map(|(key, ..)| key).collect();
        keys.dedup();
        let wrong =
            || Fault::new(Code::SignatureWrong, "the signature is not that of the certificate beside it");
        let read = |key: &SubjectKey| match simple_signing::verify(&found.bytes, &signature, key) {
            Err(SimpleSigningError::NotSigned) => Ok(false),
            Err(e) => Err(Fault::new(Code::SignatureMalformed, e)),
            Ok(read) if read.digest() == self.digest => Ok(true),
            Ok(read) => Err(Fault::new(Code::SignatureArtifact, format!("it is about {}", read.digest()))),
        };
        for key in keys {
            if read(key)? {
                return Ok(self.by_key(found, key));
            }
        }
        let Some(pem) = &found.certificates else {
            return Err(Fault::new(
                Code::SignatureUntrusted,
                "signed by a key that no anchor of the scope names",
            ));
        };
        let certificates = Certificate::from_pem(pem).map_err(|e| malformed(&e.to_string()))?;
        let identified = self.by_identity(found, &certificates, |leaf| {
            if !read(leaf.key())? {
                return Err(wrong());
            }
            let promise =
                found.log_promise.as_deref().ok_or_else(|| keyless::fault(&KeylessError::Unlogged))?;
            let stamp = found.timestamp.as_deref();
            let bytes = from_annotations(&found.bytes, &signature, leaf, promise, stamp);
            let bytes = Bytes::from(bytes.map_err(|e| of_bundle(&e))?);
            let bundle = Bundle::parse(&bytes).map_err(|e| of_bundle(&e))?;
            bundle.check_log_entries(leaf.key(), Some(&found.bytes)).map_err(|e| of_bundle(&e))?;
            Ok((bytes, bundle, Digest::sha256(&found.bytes), Some(&found.bytes[..])))
        });
        let identified = match identified {
            Some(Ok(sound)) => return Ok(sound),
            Some(Err(fault)) => Some(fault),
            None => None,
        };
        let chain = self.rooted(&certificates).map_err(|rooted| nearer(identified, rooted))?;
        match read(chain.leaf().key())? {
            true => self.by_chain(found, &chain),
            false => Err(wrong()),
        }
    }

    fn notary(&self, found: &Found, read: Result<notary::Verified, NotaryError>) -> Result<Sound, Fault> {
        let read = read.map_err(|e| of_notary(&e))?;
        let mut sound = self.by_chain(found, read.chain())?;
        if read.scheme() == SigningScheme::SigningAuthority {
            return Err(Fault::new(
                Code::SignatureScheme,
                "signed by a signing authority; there are no anchors for these",
            ));
        }
        let artifact = read.artifact();
        if artifact.digest != *self.digest {
            return Err(Fault::new(Code::SignatureArtifact, format!("it is about {}", artifact.digest)));
        }
        if let Some(served) = self.served.filter(|served| !read.is_for(served)) {
            let detail = format!(
                "it is about {} bytes of \"{}\"; {} bytes of \"{}\" were served",
                artifact.size, artifact.media_type, served.size, served.media_type
            );
            return Err(Fault::new(Code::SignatureArtifact, detail));
        }
        (sound.signed_at, sound.expires) = (Some(read.signed_at()), read.expires());
        (sound.media_type, sound.size) = (Some(artifact.media_type.clone()), Some(artifact.size));
        Ok(sound)
    }

    /// Certificates of a Sigstore form as a chain: where the CA is left out, as that format has it, it is the anchor's.
    fn rooted(&self, certificates: &[Certificate]) -> Result<Chain, Fault> {
        let last = certificates.last();
        let issued = |ca: &Certificate| last.is_some_and(|c| c.issuer() == ca.subject() && c != ca);
        let (mut fault, mut lapsed) = (None, None);
        for anchor in self.signers {
            let Trusts::Ca { certificate, .. } = &anchor.trusts else { continue };
            let mut chain = certificates.to_vec();
            if !chain.contains(certificate) {
                if !issued(certificate) {
                    continue;
                }
                chain.push(certificate.clone());
            }
            // A CA may have several certificates, one after the other.
            match Chain::notary(chain) {
                Ok(chain) if chain.valid_at(self.now).is_ok() => return Ok(chain),
                Ok(chain) => lapsed = lapsed.or(Some(chain)),
                Err(e) => fault = Some(of_chain(&e)),
            }
        }
        let untrusted = || untrusted_certificate(certificates.first());
        lapsed.ok_or_else(|| fault.unwrap_or_else(untrusted))
    }

    /// A signature by the leaf of a chain: by a CA in it that is trusted, or by the leaf itself. Which CA the anchor names makes no
    /// difference to who it is.
    fn by_chain(&self, found: &Found, chain: &Chain) -> Result<Sound, Fault> {
        let leaf = chain.leaf();
        let issuers = match chain.certificates() {
            [alone] => std::slice::from_ref(alone),
            [_, issuers @ ..] => issuers,
            [] => &[],
        };
        let (mut ids, mut other_subject) = (Vec::new(), None);
        for anchor in self.signers {
            match &anchor.trusts {
                Trusts::Ca { certificate, subjects } if issuers.contains(certificate) => {
                    if subjects.is_empty() || subjects.iter().any(|s| s.matches(leaf)) {
                        ids.push(anchor.id.clone());
                    } else {
                        other_subject = Some(anchor);
                    }
                }
                Trusts::Certificate(certificate) if certificate == leaf => ids.push(anchor.id.clone()),
                _ => {}
            }
        }
        if ids.is_empty() {
            let Some(anchor) = other_subject else { return Err(untrusted_certificate(Some(leaf))) };
            let detail =
                format!("signed by {}, for whom the anchor {} is not", leaf.subject(), anchor.id.as_str());
            return Err(Fault::new(Code::SignatureIdentity, detail));
        }
        let below_the_root = chain.certificates().iter().rev().skip(1);
        let of = |c: &Certificate| c.thumbprints().into_iter().chain(names_of(c.key())).collect::<Vec<_>>();
        let materials = chain.certificates().iter().flat_map(of).collect();
        Ok(Sound {
            // What the signer says of the time saves no certificate.
            lapsed: chain.valid_at(self.now).err().map(|e| Fault::new(Code::SignatureCertificateExpired, e)),
            names_revocation: below_the_root.into_iter().any(Certificate::names_revocation),
            ..self.sound(found, Voice::of_chain(chain, ids), materials)
        })
    }

    pub(super) fn sound(&self, found: &Found, voice: Voice, mut materials: Vec<Digest>) -> Sound {
        let name = name(found);
        materials.extend([found.manifest.clone(), Digest::sha256(&found.bytes), self.digest.clone()]);
        materials.extend(name.clone());
        Sound {
            voice,
            name,
            manifest: found.manifest.clone(),
            form: found.form,
            lapsed: None,
            materials,
            names_revocation: false,
            signed_at: None,
            proven_at: None,
            expires: None,
            media_type: None,
            size: None,
        }
    }
}

impl Heard {
    /// The lists that say what is taken back: the one that stands, or those that were seen before.
    fn lists(&self) -> impl Iterator<Item = &RevocationList> {
        let before = self.before.iter().filter(|_| self.now.is_err());
        self.now.iter().chain(before)
    }
}

impl Bench<'_> {
    /// Whether somebody could say that it was taken back.
    fn asks(&self, anchor: &SignerAnchor, sound: &Sound) -> bool {
        match anchor.rescissions() {
            Rescissions::Nowhere => false,
            Rescissions::Servers => sound.names_revocation,
            Rescissions::Tuf(_) => true,
        }
    }

    /// Whether a signature was taken back, by the lists that its anchors go by. An anchor whose list is not known does not count it.
    pub(in crate::trust) fn standing(&self, sound: &Sound) -> Standing {
        let (mut voice, mut unknown) = (sound.voice.clone(), None);
        for anchor in self.signers.iter().filter(|a| sound.voice.anchors().contains(a.id.as_str())) {
            let why = match anchor.rescissions() {
                _ if !self.asks(anchor, sound) && !self.must_know => continue,
                _ if !self.asks(anchor, sound) => {
                    "it must be known whether it was taken back, and nobody says so for this anchor"
                        .to_owned()
                }
                Rescissions::Nowhere => continue,
                Rescissions::Servers => {
                    "its certificates name servers that may have taken them back, and none is asked"
                        .to_owned()
                }
                Rescissions::Tuf(collection) => match self.lists.get(collection) {
                    Some(heard) => {
                        let taken =
                            heard.lists().find_map(|l| l.takes_back(&sound.materials, sound.proven_at));
                        if let Some((subject, entry)) = taken {
                            return Standing::Rescinded(Fault::taken(collection, subject, entry));
                        }
                        match &heard.now {
                            Ok(_) => continue,
                            Err(why) => format!("the revocation list of {collection}: {why}"),
                        }
                    }
                    None => format!("no TUF anchor is for {collection}, whose revocation list counts"),
                },
            };
            voice.leave(&anchor.id);
            unknown = Some(format!("{}: {why}", sound.voice.who()));
        }
        match unknown.filter(|_| voice.anchors().is_empty()) {
            Some(why) => Standing::Unknown(why),
            None => Standing::Stands(voice),
        }
    }
}

impl Sound {
    /// Whether it had expired at `at`, from the second of its expiry on.
    pub(in crate::trust) fn expired_at(&self, at: UnixTime) -> Option<Fault> {
        let expires = self.expires.filter(|expires| at >= *expires)?;
        let detail = format!("the signature of {} expired at {expires}", self.voice.who());
        Some(Fault::new(Code::SignatureExpired, detail))
    }
}

/// What a key is called: by its SubjectPublicKeyInfo, and where TUF has such keys, by its id there.
pub(super) fn names_of(key: &SubjectKey) -> impl Iterator<Item = Digest> + use<> {
    let id = PublicKey::from_spki(key.spki()).ok().map(|key| key.key_id());
    let id = id.and_then(|id| format!("sha256:{id}").parse().ok());
    [key.fingerprint()].into_iter().chain(id)
}

/// Of what anchors of identities and those of CAs say of one signature: what is more than that it is nobody's.
fn nearer(identified: Option<Fault>, rooted: Fault) -> Fault {
    identified.filter(|fault| fault.code != Code::SignatureUntrusted).unwrap_or(rooted)
}

pub(super) fn untrusted_certificate(leaf: Option<&Certificate>) -> Fault {
    let who = leaf.map_or_else(|| "nobody".to_owned(), |c| format!("{} ({})", c.subject(), c.thumbprint()));
    Fault::new(
        Code::SignatureUntrusted,
        format!("signed by {who}, whose certificate leads to no anchor of the scope"),
    )
}

pub(super) fn of_bundle(e: &BundleError) -> Fault {
    let code = match e {
        BundleError::Dsse(DsseError::NotOne(_)) => Code::SignatureDsse,
        BundleError::Dsse(DsseError::NotSigned) | BundleError::NotSigned => Code::SignatureWrong,
        BundleError::ForeignEntry(_) => Code::SignatureLog,
        BundleError::OtherArtifact(_) => Code::SignatureArtifact,
        BundleError::Attestation(_) => Code::SignaturePredicate,
        _ => Code::SignatureMalformed,
    };
    Fault::new(code, e)
}

fn of_notary(e: &NotaryError) -> Fault {
    let code = match e {
        NotaryError::Chain(e) => return of_chain(e),
        NotaryError::Certificate { .. } => Code::SignatureChain,
        NotaryError::Key(KeyKind::Ed25519 | KeyKind::Rsa { .. }) | NotaryError::Algorithm { .. } => {
            Code::SignatureAlgorithm
        }
        NotaryError::Critical(_) | NotaryError::NotCritical(_) | NotaryError::Plugin(_) => {
            Code::SignatureCritical
        }
        NotaryError::Signature => Code::SignatureWrong,
        _ => Code::SignatureMalformed,
    };
    Fault::new(code, e)
}

fn of_chain(e: &ChainError) -> Fault {
    let code = match e {
        ChainError::NotYet { .. } | ChainError::Expired { .. } => Code::SignatureCertificateExpired,
        ChainError::LeafIsCa
        | ChainError::NotCa(_)
        | ChainError::PathLength { .. }
        | ChainError::Usage { .. }
        | ChainError::Purpose(_) => Code::SignatureUsage,
        _ => Code::SignatureChain,
    };
    Fault::new(code, format!("certificate chain: {e}"))
}
