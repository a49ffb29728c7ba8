//! People with keys, for tests.

use std::collections::BTreeMap;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};

use super::verify::{InspectionId, Parameters, Report, Request, Weight, verify};
use super::{
    Artifacts, Document, Envelope, Form, Hashes, Inspection, Key, Layout, Link, LinkPath, Rule, Stem, Step,
};
use crate::oci::Digest;
use crate::sig::{PublicKey, Scheme};
use crate::time::UnixTime;

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

/// The words of a rule, written in one line.
pub(crate) fn rules(lines: &[&str]) -> Vec<Rule> {
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    lines.iter().map(|line| Rule::from_words(&words(line)).unwrap()).collect()
}

/// Artifacts written as `name=content`.
pub(crate) fn artifacts(list: &[&str]) -> Artifacts {
    let one = |text: &&str| {
        let (name, content) = text.split_once('=').unwrap();
        (name.parse().unwrap(), Hashes::of(&Digest::sha256(content.as_bytes())))
    };
    list.iter().map(one).collect()
}

pub(crate) fn link(step: &str, materials: &[&str], products: &[&str]) -> Link {
    let mut link = Link::new(step.parse().unwrap());
    (link.materials, link.products) = (artifacts(materials), artifacts(products));
    link
}

/// A layout under construction, and what is handed in for it.
pub(crate) struct World {
    pub(crate) owner: Person,
    pub(crate) layout: Layout,
    pub(crate) links: BTreeMap<LinkPath, Vec<u8>>,
    /// Further files, which may lie at the same places.
    pub(crate) beside: Vec<(LinkPath, Vec<u8>)>,
    pub(crate) parameters: Parameters,
    pub(crate) inspections: BTreeMap<InspectionId, Link>,
    pub(crate) product: Option<Digest>,
    pub(crate) now: UnixTime,
    pub(crate) form: Form,
}

impl World {
    /// A layout without steps, which is refused as it is.
    pub(crate) fn new() -> Self {
        let now = UnixTime::from_secs(1_700_000_000);
        let layout = Layout {
            expires: now.plus(1),
            readme: String::new(),
            keys: BTreeMap::new(),
            steps: Vec::new(),
            inspections: Vec::new(),
        };
        Self {
            owner: Person::new(100),
            layout,
            links: BTreeMap::new(),
            beside: Vec::new(),
            parameters: Parameters::new(),
            inspections: BTreeMap::new(),
            product: None,
            now,
            form: Form::Classic,
        }
    }

    /// `tag` by 1, `build` by 2, `package` by 3, each bound to the one before.
    pub(crate) fn chain() -> Self {
        let mut world = Self::new();
        let bound = |from: &str| vec![format!("MATCH * WITH PRODUCTS FROM {from}"), "DISALLOW *".to_owned()];
        let lines = |list: &[String]| rules(&list.iter().map(String::as_str).collect::<Vec<_>>());
        world.step("tag", 1, &[1], rules(&["DISALLOW *"]), rules(&["CREATE *", "DISALLOW *"]));
        world.step("build", 1, &[2], lines(&bound("tag")), rules(&["CREATE app", "ALLOW *.c", "DISALLOW *"]));
        world.step(
            "package",
            1,
            &[3],
            lines(&bound("build")),
            rules(&["CREATE app.tar", "ALLOW app", "ALLOW *.c"]),
        );
        world.link(1, &link("tag", &[], &["a.c=1"]));
        world.link(2, &link("build", &["a.c=1"], &["a.c=1", "app=2"]));
        world.link(3, &link("package", &["a.c=1", "app=2"], &["a.c=1", "app=2", "app.tar=3"]));
        world.product = Some(Digest::sha256(b"3"));
        world
    }

    pub(crate) fn step(
        &mut self,
        name: &str,
        threshold: u32,
        by: &[u8],
        materials: Vec<Rule>,
        products: Vec<Rule>,
    ) {
        let pubkeys = by.iter().map(|seed| self.layout.add_key(Person::new(*seed).key())).collect();
        self.layout.steps.push(Step {
            name: name.parse().unwrap(),
            threshold,
            pubkeys,
            expected_command: Vec::new(),
            expected_materials: materials,
            expected_products: products,
        });
    }

    pub(crate) fn inspection(&mut self, name: &str, materials: &[&str], products: &[&str]) {
        self.layout.inspections.push(Inspection {
            name: name.parse().unwrap(),
            run: vec!["look".into()],
            expected_materials: rules(materials),
            expected_products: rules(products),
        });
    }

    /// Where somebody's link of a step lies.
    pub(crate) fn at(by: u8, step: &str) -> LinkPath {
        let id = Person::new(by).key().id();
        LinkPath::new(Stem::new(step.parse().unwrap(), id.as_str()).unwrap())
    }

    pub(crate) fn link(&mut self, by: u8, link: &Link) {
        let bytes = signed(self.form, &Document::Link(link.clone()), &[&Person::new(by)]);
        self.links.insert(Self::at(by, link.name.as_str()), bytes);
    }

    pub(crate) fn file(&self) -> Vec<u8> {
        signed(self.form, &Document::Layout(self.layout.clone()), &[&self.owner])
    }

    pub(crate) fn verify(&self) -> Report {
        self.verify_file(&self.file(), &[self.owner.key()])
    }

    pub(crate) fn verify_file(&self, layout: &[u8], keys: &[Key]) -> Report {
        let links: Vec<_> = self.links.clone().into_iter().chain(self.beside.clone()).collect();
        verify(&Request {
            layout,
            keys,
            links: &links,
            parameters: &self.parameters,
            inspections: &self.inspections,
            product: self.product.as_ref(),
            now: self.now,
        })
    }

    /// The codes of all findings that are no notes.
    pub(crate) fn codes(&self) -> Vec<&'static str> {
        codes(&self.verify())
    }
}

pub(crate) fn codes(report: &Report) -> Vec<&'static str> {
    report.all().filter(|f| f.code.weight() != Weight::Note).map(|f| f.code.as_str()).collect()
}
