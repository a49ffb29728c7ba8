//! People with keys, for tests.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};

use super::{Document, Envelope, Form, Key, Link};
use crate::sig::{PublicKey, Scheme};

pub(crate) struct Person(Ed25519KeyPair);

impl Person {
    pub(crate) fn new(seed: u8) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
    }

    pub(crate) fn key(&self) -> Key {
        PublicKey::from_raw(Scheme::Ed25519, self.0.public_key().as_ref()).unwrap().into()
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }

    pub(crate) fn signs(&self, envelope: &mut Envelope) {
        let signature = self.sign(envelope.message());
        envelope.add(&self.key().id(), &signature);
    }
}

pub(crate) fn signed(form: Form, document: &Document, by: &[&Person]) -> Vec<u8> {
    let mut envelope = Envelope::draft(form, document);
    by.iter().for_each(|person| person.signs(&mut envelope));
    envelope.to_bytes()
}

pub(crate) fn attested(link: &Link, by: &Person) -> Vec<u8> {
    let mut envelope = Envelope::draft_attestation(link);
    by.signs(&mut envelope);
    envelope.to_bytes()
}
