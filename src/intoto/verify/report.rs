//! What a verification found, whole, also when the answer is no.

use serde::{Serialize, Serializer};

use super::code::{Code, Weight};
use crate::intoto::{ArtifactName, Link, LinkPath, Stem, StepName};
use crate::oci::Digest;
use crate::sig::KeyId;
use crate::time::UnixTime;

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The links fulfil the layout.
    Fulfilled,
    /// They do not.
    NotFulfilled,
    /// An inspection is missing; nothing else is.
    Undecided,
}

/// One thing that was noticed: what, why, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The code.
    pub code: Code,
    /// What it is about.
    pub thing: String,
    /// Why.
    pub reason: String,
    /// What to do next; empty where nothing is to be done.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub next: String,
}

/// A layout and what became of it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Digest of the layout's file.
    #[serde(serialize_with = "text")]
    pub digest: Option<Digest>,
    /// Keys that must have signed the layout, and have.
    #[serde(serialize_with = "texts")]
    pub signed: Vec<KeyId>,
    /// When it expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<UnixTime>,
    /// Step by step.
    pub steps: Vec<StepReport>,
    /// Inspection by inspection.
    pub inspections: Vec<InspectionReport>,
    /// The name under which the last step made what is verified.
    #[serde(serialize_with = "text", skip_serializing_if = "Option::is_none")]
    pub product: Option<ArtifactName>,
    /// What was noticed about the layout itself; what was noticed of a step stands there.
    pub findings: Vec<Finding>,
    /// Materials of the first step, products and command of the last: what the layout comes to.
    #[serde(skip)]
    pub summary: Option<Link>,
}

/// A step.
#[derive(Debug, Clone, Serialize)]
pub struct StepReport {
    /// Its name.
    #[serde(serialize_with = "shown")]
    pub name: StepName,
    /// How many keys must have signed.
    pub threshold: u32,
    /// How many have.
    pub signers: usize,
    /// What they signed.
    pub signed: Vec<Signed>,
    /// What was taken out of the materials, rule by rule.
    pub materials: Vec<Applied>,
    /// The same of the products.
    pub products: Vec<Applied>,
    /// What was noticed.
    pub findings: Vec<Finding>,
}

/// A file that counts.
#[derive(Debug, Clone, Serialize)]
pub struct Signed {
    /// Where it lies.
    #[serde(serialize_with = "shown")]
    pub file: LinkPath,
    /// The key, by the name that the layout gives it.
    #[serde(serialize_with = "shown")]
    pub key: KeyId,
    /// The key id that the signature names, where it is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// Digest of the file.
    #[serde(serialize_with = "shown")]
    pub digest: Digest,
    /// How many materials.
    pub materials: usize,
    /// How many products.
    pub products: usize,
    /// A layout instead of a link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sublayout: Option<Box<Report>>,
}

/// A rule that was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Applied {
    /// The rule.
    pub rule: String,
    /// How many names it took, or found.
    pub count: usize,
    /// The first of them.
    pub names: Vec<String>,
}

/// An inspection.
#[derive(Debug, Clone, Serialize)]
pub struct InspectionReport {
    /// Which.
    #[serde(flatten)]
    pub id: InspectionId,
    /// What it runs.
    pub run: Vec<String>,
    /// What was taken out of the materials, rule by rule.
    pub materials: Vec<Applied>,
    /// The same of the products.
    pub products: Vec<Applied>,
    /// What was noticed.
    pub findings: Vec<Finding>,
}

/// An inspection of a layout or sublayout.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct InspectionId {
    /// The sublayouts above it.
    #[serde(serialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub folders: Vec<Stem>,
    /// Its name.
    #[serde(serialize_with = "shown")]
    pub name: StepName,
}

impl Report {
    /// The answer: one "no" beats any inspection that was not run.
    pub fn outcome(&self) -> Outcome {
        match self.all().map(|f| f.code.weight()).max() {
            Some(Weight::No) => Outcome::NotFulfilled,
            Some(Weight::Open) => Outcome::Undecided,
            Some(Weight::Note) | None => Outcome::Fulfilled,
        }
    }

    /// Every finding, sublayouts included.
    pub fn all(&self) -> Box<dyn Iterator<Item = &Finding> + '_> {
        let steps = self.steps.iter().flat_map(|step| {
            let subs = step.signed.iter().filter_map(|s| s.sublayout.as_deref());
            step.findings.iter().chain(subs.flat_map(Self::all))
        });
        let inspections = self.inspections.iter().flat_map(|i| &i.findings);
        Box::new(self.findings.iter().chain(steps).chain(inspections))
    }

    /// The inspections that are to be run next, in order: with their links the verification is asked again.
    pub fn needs(&self) -> Vec<(&InspectionId, &[String])> {
        let mut needs = Vec::new();
        if self.outcome() == Outcome::Undecided {
            self.collect_needs(&mut needs);
        }
        needs
    }

    fn collect_needs<'a>(&'a self, needs: &mut Vec<(&'a InspectionId, &'a [String])>) {
        for sub in self.steps.iter().flat_map(|s| &s.signed).filter_map(|s| s.sublayout.as_deref()) {
            sub.collect_needs(needs);
        }
        let open =
            self.inspections.iter().filter(|i| i.findings.iter().any(|f| f.code == Code::InspectionOpen));
        needs.extend(open.map(|i| (&i.id, i.run.as_slice())));
    }

    pub(super) fn note(&mut self, code: Code, thing: impl Into<String>, reason: impl Into<String>) {
        self.findings.push(Finding::new(code, thing, reason, ""));
    }
}

impl Finding {
    pub(super) fn new(
        code: Code,
        thing: impl Into<String>,
        reason: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self { code, thing: thing.into(), reason: reason.into(), next: next.into() }
    }
}

fn shown<T: std::fmt::Display, S: Serializer>(value: &T, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(value)
}

fn text<T: std::fmt::Display, S: Serializer>(value: &Option<T>, s: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => s.collect_str(value),
        None => s.serialize_none(),
    }
}

fn texts<S: Serializer>(ids: &[KeyId], s: S) -> Result<S::Ok, S::Error> {
    s.collect_seq(ids.iter().map(KeyId::as_str))
}

fn list<S: Serializer>(folders: &[Stem], s: S) -> Result<S::Ok, S::Error> {
    s.collect_seq(folders.iter().map(Stem::to_string))
}
