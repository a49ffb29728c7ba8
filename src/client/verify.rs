//! `verify`: the driver of [`crate::trust::Verification`]. It fetches, saves, and decides nothing.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::try_join_all;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::attestations::Attestations;
use super::inside;
use super::memory::{Memory, MemoryError};
use super::places::Places;
use super::signatures::Search;
use super::state::{self, Kind, MAX_STATE_FILE_COUNT, MAX_STATE_FILES, SIGNED_AT, StateError};
use super::stores::spot;
use crate::oci::{Content, Descriptor, Manifest, Reference, Selector, media_type};
use crate::store::{Failure, Listing, Store, StoreError};
use crate::time::UnixTime;
use crate::trust::cnab::{CnabFiles, CnabIndex};
use crate::trust::signatures::is_vague;
use crate::trust::{
    Anchor, Answer, BundleAnswer, Check, Code, MAX_SEALS, Origin, PredicateType, Question, Report, Rule,
    Scope, SealsAnswer, Source, StateAnswer, Step, Subject, TrustFile, Verification, Want, rescinding,
    sources,
};
use crate::tuf::{CollectionName, Files, Limits};

/// Most files that are fetched for all seals of a bundle together, past those embedded in their manifests.
const MAX_SEAL_REQUESTS: usize = 1024;
/// Most bytes of them.
const MAX_SEAL_BYTES: u64 = 64 * 1024 * 1024;

/// Everything that a verification needs beside the reference.
pub struct Verifier<'a> {
    /// Opens the places.
    pub places: &'a dyn Places,
    /// Anchors and statements.
    pub trust: &'a TrustFile,
    /// The folder of memories.
    pub memory: &'a Path,
    /// The one time of the verification.
    pub now: UnixTime,
    /// Whether that time was set by hand.
    pub clock_override: bool,
    /// The states that were looked at: one look serves a whole run.
    pub looked: &'a Looked,
}

/// What is asked beside what the trust files ask.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// Files that must belong to the CNAB bundle that it is.
    pub files: CnabFiles,
    /// Attestations of these types must be there, by anybody whom the scope trusts.
    pub attestations: Vec<PredicateType>,
}

/// States as they were found in this run: those of organisations at places that anchors name, and in a run that verifies many
/// references all of them.
#[derive(Debug, Default)]
pub struct Looked {
    all: bool,
    known: Mutex<HashMap<(String, CollectionName), Slot>>,
}

/// What was found of one state; whoever looks holds it.
type Slot = Arc<tokio::sync::Mutex<Option<StateAnswer>>>;

impl Looked {
    /// For a run that does nothing but verify: each state is looked at once.
    pub fn once() -> Self {
        Self { all: true, known: Mutex::default() }
    }

    /// The state that was found there, or is found now. Whoever asks while another is looking waits for that.
    async fn at(
        &self,
        place: &Reference,
        collection: &CollectionName,
        again: bool,
        look: impl Future<Output = StateAnswer>,
    ) -> StateAnswer {
        let key = (place.at(None).to_string(), collection.clone());
        let slot = self.known.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().clone();
        // What could not be looked at is looked at again.
        let kept = |a: &StateAnswer| matches!(a, StateAnswer::Found(_) | StateAnswer::Absent);
        if again {
            let answer = look.await;
            *slot.lock().await = Some(answer.clone()).filter(kept);
            return answer;
        }
        let mut slot = slot.lock().await;
        if let Some(known) = slot.clone() {
            return known;
        }
        let answer = look.await;
        *slot = Some(answer.clone()).filter(kept);
        answer
    }
}

/// Why there is no report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Neither tag nor digest.
    #[error("{0} names no bundle: a tag or a digest is missing")]
    NoSelector(Reference),
    /// `--as` with a registry reference.
    #[error("{0} has a name already; another one is only for OCI layouts")]
    AlreadyNamed(Reference),
    /// An OCI layout, no name given, and not exactly one collection anchored.
    #[error("{reference} does not say whose bundle it is, and {} repositories are anchored", .anchored.len())]
    Ambiguous {
        /// The reference.
        reference: Reference,
        /// The anchored repositories.
        anchored: Vec<String>,
    },
    /// The memory cannot be read or written.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The place cannot be used at all.
    #[error(transparent)]
    Place(#[from] StoreError),
}

impl Verifier<'_> {
    /// Verify one reference; `named` is what `--as` says.
    ///
    /// # Errors
    /// Usage, or a memory or place that cannot be used. "Not trusted" and "could not decide" are reports.
    pub async fn verify(
        &self,
        reference: &Reference,
        named: Option<&Subject>,
    ) -> Result<Report, VerifyError> {
        self.verify_with(reference, named, &Asked::default()).await
    }

    /// The same, where more is asked.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub async fn verify_with(
        &self,
        reference: &Reference,
        named: Option<&Subject>,
        asked: &Asked,
    ) -> Result<Report, VerifyError> {
        let selector =
            reference.selector().ok_or_else(|| VerifyError::NoSelector(reference.clone()))?.clone();
        let subject = self.subject(reference, &selector, named)?;
        let mut rule = match selector.digest() {
            Some(_) => self.trust.rule_by_digest(&subject),
            None => self.trust.rule(&subject),
        };
        let by = Origin { file: "--attestation".to_owned(), ..Origin::default() };
        for predicate_type in &asked.attestations {
            rule.also_attested(predicate_type.clone(), by.clone());
        }
        rule.tuf = rule.tuf.into_iter().map(at_one_spelling).collect();
        let mut notes: Vec<Check> = Vec::new();
        let rescinders = self.rescinders(&rule);
        for source in sources(&rule.tuf).into_iter().chain(rescinders.iter().map(rescinding)) {
            for place in source.state_at.iter().filter(|p| !may_ask(reference, p)) {
                let detail = format!("{place} was not asked: {reference} is offline");
                let note = Check::note(Code::StatePlaceSkipped, detail);
                if !notes.contains(&note) {
                    notes.push(note);
                }
            }
        }
        let question = Question {
            reference: reference.to_string(),
            rule,
            digest: selector.digest().cloned(),
            rescinders,
            acknowledged: self.trust.acknowledged.clone(),
            now: self.now,
            clock_override: self.clock_override,
            notes,
            files: asked.files.clone(),
            limits: Limits::default(),
        };
        let remembered = |source: &Source| Memory::in_dir(self.memory, &source.collection).chains();
        let mut verification = Verification::start(question, remembered)?;
        let store = match verification.step() {
            Step::Done(report) => return Ok(*report),
            _ => self.places.open(reference).await?,
        };
        let mut seen = BTreeSet::new();
        let (search, attestations) = (tokio::sync::Mutex::new(None), tokio::sync::Mutex::new(None));
        loop {
            match verification.step() {
                Step::Need(wants) => {
                    // What is asked for a second time is to be looked at again.
                    let again: Vec<bool> = wants
                        .iter()
                        .map(|want| matches!(want, Want::State { source } if !seen.insert(*source)))
                        .collect();
                    let wants = wants.into_iter().zip(again);
                    let at = At {
                        reference,
                        selector: &selector,
                        store: &*store,
                        search: &search,
                        attestations: &attestations,
                    };
                    let fetch = |(want, again)| self.fetch(want, again, &at, &verification);
                    let answers = try_join_all(wants.map(fetch)).await?;
                    verification.feed(answers);
                }
                Step::Save { source, remembered } => {
                    if let Some(source) = verification.source(source) {
                        let memory = Memory::in_dir(self.memory, &source.collection);
                        memory.save(source.root.bytes(), &remembered)?;
                    }
                    verification.saved();
                }
                Step::Done(report) => return Ok(*report),
            }
        }
    }

    fn subject(
        &self,
        reference: &Reference,
        selector: &Selector,
        named: Option<&Subject>,
    ) -> Result<Subject, VerifyError> {
        match (reference, named) {
            (Reference::Registry(_), Some(_)) => Err(VerifyError::AlreadyNamed(reference.clone())),
            (Reference::Registry(r), None) => {
                Ok(Subject { repository: r.repository.clone(), tag: selector.tag().cloned() })
            }
            (Reference::Layout(_) | Reference::Archive(_), Some(named)) => {
                let tag = named.tag.clone().or_else(|| selector.tag().cloned());
                Ok(Subject { repository: named.repository.clone(), tag })
            }
            (Reference::Layout(_) | Reference::Archive(_), None) => {
                let anchored: Vec<String> = self.anchored().into_iter().collect();
                match (anchored.len(), anchored.first().and_then(|s| s.parse().ok())) {
                    (1, Some(repository)) => Ok(Subject { repository, tag: selector.tag().cloned() }),
                    _ => Err(VerifyError::Ambiguous { reference: reference.clone(), anchored }),
                }
            }
        }
    }

    /// The scopes of the TUF anchors, and the repositories of the others: a wider one names no bundle.
    fn anchored(&self) -> BTreeSet<String> {
        let files = || std::iter::once(self.trust).chain(self.trust.system());
        let tuf = files().flat_map(|f| &f.anchors).map(|a| &a.scope);
        let signers = files().flat_map(|f| &f.signers).filter_map(|a| match &a.scope {
            Scope::Repository(repository) => Some(repository.to_string()),
            Scope::Tag(repository, _) => Some(repository.to_string()),
            Scope::Any | Scope::Registry(_) | Scope::Prefix(_) => None,
        });
        tuf.map(ToString::to_string).chain(signers).collect()
    }

    /// The TUF anchors of the collections that say which signatures were taken back: the system's before the user's.
    fn rescinders(&self, rule: &Rule) -> Vec<Anchor> {
        let counts = |id| rule.required.signers().any(|line| line.from.contains(id));
        let signed = rule.checks.signature.is_kept() || !rule.required.attestations.is_empty();
        let asked = rule.checks.rescinded.is_kept() && signed;
        let signers = rule.signers.iter().filter(|signer| asked && counts(&signer.id));
        let collections: BTreeSet<&CollectionName> =
            signers.filter_map(|signer| signer.rescissions().collection()).collect();
        let anchors = || self.trust.system().into_iter().chain([self.trust]).flat_map(|f| &f.anchors);
        let of = |collection: &CollectionName| anchors().find(|a| a.collection == *collection).cloned();
        collections.into_iter().filter_map(of).map(at_one_spelling).collect()
    }

    async fn fetch(
        &self,
        want: Want,
        again: bool,
        at: &At<'_>,
        verification: &Verification,
    ) -> Result<Answer, VerifyError> {
        let of = |number: usize| verification.source(number);
        let At { reference, selector, store, search, .. } = *at;
        Ok(match want {
            Want::Bundle => Answer::Bundle(bundle(store, selector).await),
            Want::Cnab { index, .. } => Answer::Cnab(inside::read(store, &index).await),
            Want::Signatures { digest, thumbprints, anew } => {
                let mut search = search.lock().await;
                let found: &mut Search = match &mut *search {
                    Some(found) if !anew && *found.subject() == digest => found,
                    other => other.insert(Search::new(&digest, thumbprints)),
                };
                Answer::Signatures(found.next(store).await)
            }
            Want::State { source } => Answer::State(match of(source) {
                Some(source) if source.own_place_last => {
                    self.organisation(reference, store, source, again).await
                }
                Some(source) => self.state(reference, store, source, again).await,
                None => StateAnswer::Absent,
            }),
            Want::Memory { source } => Answer::Memory(match of(source) {
                Some(source) => Memory::in_dir(self.memory, &source.collection).chains()?,
                None => Vec::new(),
            }),
            Want::Attestations { digest, types, anew } => {
                let listed = {
                    let mut search = search.lock().await;
                    let found: &mut Search = match &mut *search {
                        Some(found) if *found.subject() == digest => found,
                        other => other.insert(Search::new(&digest, BTreeSet::new())),
                    };
                    found.list(store).await
                };
                let mut attestations = at.attestations.lock().await;
                let found: &mut Attestations = match &mut *attestations {
                    Some(found) if !anew && *found.subject() == digest => found,
                    other => other.insert(Attestations::new(&digest)),
                };
                Answer::Attestations(found.next(store, &types, listed).await)
            }
            Want::Seals { subject } => {
                let search = search.lock().await;
                let listed = search.as_ref().filter(|s: &&Search| *s.subject() == subject.digest);
                Answer::Seals(seals(store, &subject, listed.and_then(Search::listing)).await)
            }
        })
    }

    /// The first place that has a state: the bundle's own, then those that the anchor lists. Junk at one place, which anybody
    /// who may push there could have put, does not hide the next. Where the source names the only place, no other is asked.
    async fn state(
        &self,
        reference: &Reference,
        store: &dyn Store,
        source: &Source,
        again: bool,
    ) -> StateAnswer {
        // Alone, a reference sees each place as it is now.
        let again = again || !self.looked.all;
        if let Some(only) = &source.at {
            return match may_ask(reference, only) {
                true => self.place_state(only, source, again).await,
                false => StateAnswer::Unreadable(format!("{only} was not asked: {reference} is offline")),
            };
        }
        let mut junk = None;
        let own = store_state(store, source);
        let own = self.looked.at(&store.place(), &source.collection, again, own).await;
        match own {
            StateAnswer::Absent => {}
            StateAnswer::Invalid(_) => junk = Some(own),
            StateAnswer::Found(_) | StateAnswer::Unreadable(_) => return own,
        }
        for place in source.state_at.iter().filter(|p| may_ask(reference, p)) {
            let answer = self.place_state(place, source, again).await;
            match answer {
                StateAnswer::Absent => {}
                StateAnswer::Invalid(_) => junk = junk.or(Some(answer)),
                StateAnswer::Found(_) | StateAnswer::Unreadable(_) => return answer,
            }
        }
        junk.unwrap_or(StateAnswer::Absent)
    }

    /// An organisation's state: at the places that its anchor names, and where they have none, at the bundle's own. Those who push
    /// bundles are others than those who write the organisation's state, and must not choose which one is seen.
    async fn organisation(
        &self,
        reference: &Reference,
        store: &dyn Store,
        source: &Source,
        again: bool,
    ) -> StateAnswer {
        let mut junk = None;
        for place in source.state_at.iter().filter(|p| may_ask(reference, p)) {
            let answer = self.place_state(place, source, again).await;
            match answer {
                StateAnswer::Absent => {}
                StateAnswer::Invalid(_) => junk = junk.or(Some(answer)),
                StateAnswer::Found(_) | StateAnswer::Unreadable(_) => return answer,
            }
        }
        let own = store_state(store, source);
        let again = again || !self.looked.all;
        match self.looked.at(&store.place(), &source.collection, again, own).await {
            StateAnswer::Absent => junk.unwrap_or(StateAnswer::Absent),
            answer => answer,
        }
    }

    async fn place_state(&self, place: &Reference, source: &Source, again: bool) -> StateAnswer {
        let look = async {
            match self.places.open(place).await {
                Ok(store) => store_state(&*store, source).await,
                Err(e) => StateAnswer::Unreadable(e.to_string()),
            }
        };
        self.looked.at(place, &source.collection, again, look).await
    }
}

/// Where one reference is verified.
struct At<'a> {
    reference: &'a Reference,
    selector: &'a Selector,
    store: &'a dyn Store,
    /// The search for its signatures, once there is one.
    search: &'a tokio::sync::Mutex<Option<Search>>,
    /// That for its attestations.
    attestations: &'a tokio::sync::Mutex<Option<Attestations>>,
}

/// The places that sources name, each in one spelling: one that is named in two ways is still one place.
fn at_one_spelling(mut anchor: Anchor) -> Anchor {
    for at in anchor.sources.iter_mut().filter_map(|source| source.at.as_mut()) {
        match at {
            Reference::Layout(layout) => layout.dir = spot(&layout.dir),
            Reference::Archive(archive) => archive.file = spot(&archive.file),
            Reference::Registry(_) => {}
        }
    }
    anchor
}

/// From an OCI layout or archive no connection is opened.
fn may_ask(reference: &Reference, place: &Reference) -> bool {
    !reference.is_local() || place.is_local()
}

async fn bundle(store: &dyn Store, selector: &Selector) -> BundleAnswer {
    match store.resolve(selector).await {
        Ok(Some(content)) => {
            let (parts, unreadable, cnab) = match Manifest::parse(&content) {
                Ok(manifest) => {
                    let cnab = CnabIndex::of(&manifest).transpose();
                    (manifest.manifests.into_iter().map(|d| d.digest).collect(), None, cnab)
                }
                Err(e) => (Vec::new(), Some(e.to_string()), None),
            };
            BundleAnswer::Found { bundle: content.descriptor().clone(), parts, unreadable, cnab }
        }
        Ok(None) => BundleAnswer::Absent,
        Err(e) if e.is_not_found() => BundleAnswer::Absent,
        Err(StoreError { failure: Failure::Content(why), .. }) => BundleAnswer::WrongContent(why.to_string()),
        Err(e) => BundleAnswer::Failed(e.to_string()),
    }
}

async fn store_state(store: &dyn Store, source: &Source) -> StateAnswer {
    match state::fetch_state(store, &source.collection).await {
        Ok(Some(read)) => StateAnswer::Found(read.files),
        Ok(None) => StateAnswer::Absent,
        Err(StateError::Store(e)) if e.is_not_found() => StateAnswer::Absent,
        Err(StateError::Store(e)) => StateAnswer::Unreadable(e.to_string()),
        Err(e @ StateError::Invalid { .. }) => StateAnswer::Invalid(e.to_string()),
    }
}

/// The seals on a bundle, newest first by their own hint. Where the signatures were looked for, what refers to the bundle is known
/// already; of entries that say no type each may be one.
async fn seals(
    store: &dyn Store,
    subject: &Descriptor,
    known: Option<&Result<Listing, StoreError>>,
) -> SealsAnswer {
    let plain = |listing: &Listing| {
        let is_seal = |d: &Descriptor| d.artifact_type.as_deref() == Some(media_type::BULLA_SEAL);
        let told = !listing.by_tag && !listing.entries.iter().any(is_vague);
        told.then(|| listing.entries.iter().filter(|d| is_seal(d)).cloned().collect::<Vec<_>>())
    };
    let mut listed = match known {
        Some(Err(e)) => return SealsAnswer::Unreadable(e.to_string()),
        Some(Ok(listing)) if plain(listing).is_some() => plain(listing).unwrap_or_default(),
        _ => match store.referrers(&subject.digest, Some(media_type::BULLA_SEAL)).await {
            Ok(listed) => listed,
            Err(e) => return SealsAnswer::Unreadable(e.to_string()),
        },
    };
    listed.sort_by(|a, b| {
        let hint = |d: &Descriptor| d.annotation(SIGNED_AT).map(str::to_owned);
        hint(b).cmp(&hint(a)).then_with(|| a.digest.cmp(&b.digest))
    });
    let mut more = listed.len() > MAX_SEALS;
    listed.truncate(MAX_SEALS);
    let manifests = stream::iter(listed).map(|d| seal_manifest(store, subject, d)).buffered(8);
    let manifests: Vec<_> = match manifests.try_collect().await {
        Ok(manifests) => manifests,
        Err(why) => return SealsAnswer::Unreadable(why),
    };
    // Whoever may push may hang up as many large ones as the list holds.
    let (mut requests, mut bytes) = (MAX_SEAL_REQUESTS, MAX_SEAL_BYTES);
    let within = |found: &Result<(Content, usize, u64), String>| {
        let Ok((_, files, size)) = found else { return true };
        let left = requests.checked_sub(*files).zip(bytes.checked_sub(*size));
        left.inspect(|left| (requests, bytes) = *left).is_some()
    };
    let (within, past): (Vec<_>, Vec<_>) = manifests.into_iter().partition(within);
    more |= !past.is_empty();
    let read = stream::iter(within).map(|found| async move {
        match found {
            Ok((manifest, ..)) => seal(store, &manifest).await,
            Err(why) => Ok(Err(why)),
        }
    });
    match read.buffered(4).try_collect().await {
        Ok(seals) => SealsAnswer::Read { seals, more },
        Err(why) => SealsAnswer::Unreadable(why),
    }
}

/// The manifest of a seal, with number and bytes of the files to fetch for it; or why it is none. The outer error is a
/// failure to look.
async fn seal_manifest(
    store: &dyn Store,
    subject: &Descriptor,
    listed: Descriptor,
) -> Result<Result<(Content, usize, u64), String>, String> {
    let manifest = match store.resolve(&Selector::Digest(listed.digest.clone())).await {
        Ok(Some(manifest)) => manifest,
        Ok(None) => return Ok(Err(format!("the seal {} is listed, and not there", listed.digest))),
        Err(e) if e.is_the_items_own() => return Ok(Err(e.to_string())),
        Err(e) => return Err(e.to_string()),
    };
    let parsed = match Manifest::parse(&manifest) {
        Ok(parsed) => parsed,
        Err(e) => return Ok(Err(e.to_string())),
    };
    if parsed.subject.is_none_or(|s| s.digest != subject.digest) {
        return Ok(Err(format!("the seal {} does not refer to this bundle", listed.digest)));
    }
    let apart = parsed.layers.iter().filter(|layer| layer.inline().is_none());
    let (files, size) = apart.fold((0, 0u64), |(n, sum), layer| (n + 1, sum.saturating_add(layer.size)));
    if files > MAX_STATE_FILE_COUNT || size > MAX_STATE_FILES {
        return Ok(Err(format!("the seal {} is too large", listed.digest)));
    }
    Ok(Ok((manifest, files, size)))
}

/// The files of a seal, or why it is none. The outer error is a failure to look.
async fn seal(store: &dyn Store, manifest: &Content) -> Result<Result<Files, String>, String> {
    match state::read(store, manifest, Kind::Seal).await {
        Ok(read) => Ok(Ok(read.files)),
        Err(StateError::Store(e)) if e.is_the_items_own() => Ok(Err(e.to_string())),
        Err(StateError::Store(e)) => Err(e.to_string()),
        Err(e @ StateError::Invalid { .. }) => Ok(Err(e.to_string())),
    }
}
