//! Signatures in the forms of other tools: hung on registries with and without the referrers API and in OCI layouts, by several
//! signers at once, and carried by copies.

mod costs;
mod places;
mod races;

use std::collections::BTreeMap;

use bulla::client::sign::{Form, Hung, Pen, SignError, Subject, Terms, sign, subjects};
use bulla::keys::{KeyFolder, KeyRef, MemorySigner, NoPrompt, Password, Passwords, Signer, open};
use bulla::oci::{Content, Reference, Selector};
use bulla::sig::Scheme;
use bulla::sig::x509::{Certificate, Chain};
use bulla::store::{Manage, Store};
use bulla::time::UnixTime;

pub(super) const FORMS: [Form; 4] = [Form::Sigstore, Form::Notation, Form::NotationCose, Form::CosignTag];
pub(super) const NAME: &str = "registry.example.com/team/app";

pub(super) fn now() -> UnixTime {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

/// A key, with a chain if it has one.
pub(super) struct Signatory {
    pub(super) signer: Box<dyn Signer>,
    pub(super) chain: Option<Chain>,
}

impl Signatory {
    pub(super) fn fresh() -> Self {
        Self { signer: Box::new(MemorySigner::generate(Scheme::EcdsaP256).unwrap()), chain: None }
    }

    /// One of `testdata/signatures/notation`.
    pub(super) fn certified(kind: &str) -> Self {
        let data = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/signatures/notation");
        let given = Some(Password::new("password".to_owned().into()).unwrap());
        let passwords = Passwords::new(given, std::sync::Arc::new(NoPrompt));
        let key = KeyRef::File(format!("{data}/{kind}.key.pem").into());
        let signer = open(&key, &KeyFolder::new("/nonexistent"), &passwords).unwrap().signer;
        let pem = std::fs::read_to_string(format!("{data}/{kind}.chain.pem")).unwrap();
        Self { signer, chain: Some(Chain::notary(Certificate::from_pem(&pem).unwrap()).unwrap()) }
    }

    /// One that can sign in that form.
    pub(super) fn of(form: Form) -> Self {
        if form.needs_chain() { Self::certified("p256") } else { Self::fresh() }
    }

    pub(super) fn pen(&self, form: Form, change: impl FnOnce(&mut Terms)) -> Pen<'_> {
        let chain = self.chain.clone().filter(|_| form.needs_chain());
        let mut terms = Terms { form, chain, lifetime: None, annotations: BTreeMap::new(), now: now() };
        change(&mut terms);
        Pen::new(&*self.signer, terms).unwrap()
    }
}

pub(super) async fn subject(store: &dyn Store, bundle: &Content) -> Subject {
    let selector = Selector::Digest(bundle.digest().clone());
    let reference: Reference = store.place().at(Some(selector.clone()));
    subjects(store, &reference, &selector, false).await.unwrap().pop().unwrap()
}

/// Sign one bundle.
pub(super) async fn once(
    store: &dyn Manage,
    pen: &Pen<'_>,
    bundle: &Content,
    force: bool,
) -> Result<Hung, SignError> {
    let subject = subject(store, bundle).await;
    sign(store, pen, &[subject], force, Some(NAME)).await.pop().unwrap()
}
