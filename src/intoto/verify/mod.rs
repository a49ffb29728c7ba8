//! Verification (specification 5.2; the order is that of the reference). Pure: documents, keys, the time and the links of
//! inspections come in, a [`Report`] comes out. An answer is a value.

mod code;
mod parameters;
mod queue;
mod report;
mod step;
mod unpack;

use std::collections::BTreeMap;

use super::{Envelope, Inspection, Key, Layout, Link, LinkPath, Side, Stem, StepName};
use crate::oci::Digest;
use crate::time::UnixTime;

pub use code::{Code, Weight};
pub use parameters::{ParameterError, Parameters, substitute};
pub use report::{Applied, Finding, InspectionId, InspectionReport, Outcome, Report, Signed, StepReport};
pub use unpack::{UNPACK, unpack};

use queue::{Links, Work};
use step::Chosen;

/// Deepest nesting of sublayouts. The reference follows them until the system's limit of links ends it.
pub const MAX_DEPTH: usize = 8;
/// Most links and sublayouts that are read in one verification, and most bytes of them.
pub const MAX_DOCUMENTS: usize = 1024;
/// See [`MAX_DOCUMENTS`].
pub const MAX_BYTES: usize = 128 << 20;
/// Most characters of names that are held against patterns, repetitions included: a sublayout is a functionary's, and its rules
/// cost whoever verifies.
pub const MAX_WORK: u64 = 100_000_000;

/// What is verified.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The layout's file.
    pub layout: &'a [u8],
    /// The keys that must have signed it: every one, and there must be one.
    pub keys: &'a [Key],
    /// Links and sublayouts with where they lie. Two may lie at one place: eight digits of a key id can be had by trying.
    pub links: &'a [(LinkPath, Vec<u8>)],
    /// Values for the outermost layout; without any, braces in it are braces.
    pub parameters: &'a Parameters,
    /// The links of inspections that were run.
    pub inspections: &'a BTreeMap<InspectionId, Link>,
    /// What the last step must have made.
    pub product: Option<&'a Digest>,
    /// The one time of the verification.
    pub now: UnixTime,
}

/// Verify links against a layout.
pub fn verify(request: &Request<'_>) -> Report {
    let mut by_step = ByStep::new();
    for (path, bytes) in request.links {
        by_step.entry((path.folders(), path.stem().step())).or_default().push((path, bytes));
    }
    by_step.values_mut().for_each(|files| files.sort_unstable());
    let work = Work::new(MAX_WORK);
    let mut run = Run { by_step, inspections: request.inspections, now: request.now, read: (0, 0), work };
    let mut report = Report { digest: Some(Digest::sha256(request.layout)), ..Report::default() };
    match Envelope::parse(request.layout) {
        Ok(envelope) => {
            let parameters = Some(request.parameters).filter(|p| !p.is_empty());
            run.layout(&mut report, &envelope, request.keys, parameters, &[]);
            product(&mut report, request.product);
        }
        Err(error) => report.note(Code::LayoutMalformed, "the layout", error.to_string()),
    }
    report
}

/// The files of links by folder and step, each with its bytes.
type ByStep<'a> = BTreeMap<(&'a [Stem], &'a StepName), Vec<(&'a LinkPath, &'a [u8])>>;

/// One verification: what is the same at every depth.
struct Run<'a> {
    by_step: ByStep<'a>,
    inspections: &'a BTreeMap<InspectionId, Link>,
    now: UnixTime,
    /// Documents and bytes so far.
    read: (usize, usize),
    work: Work,
}

impl Run<'_> {
    /// A layout and all below it. What it comes to stands in `report.summary` when every step has its links.
    fn layout(
        &mut self,
        report: &mut Report,
        envelope: &Envelope,
        keys: &[Key],
        parameters: Option<&Parameters>,
        folders: &[Stem],
    ) {
        let Some(layout) = self.accepted(report, envelope, keys, parameters) else { return };
        for (id, key) in &layout.keys {
            if let super::ListedKey::Unusable(why, _) = key {
                report.note(Code::LayoutKeyUnusable, format!("key {}", id.short()), why.to_string());
            }
        }
        let mut chosen: Vec<Chosen> = Vec::new();
        for step in &layout.steps {
            let (step_report, found) = self.step(&layout, step, folders);
            report.steps.push(step_report);
            chosen.extend(found);
        }
        // Without the links of every step the rules of the others would fail for that reason alone.
        if chosen.len() < layout.steps.len() {
            return;
        }
        let links: Links<'_> = chosen.iter().map(|c| (c.name.as_str(), &c.link)).collect();
        for (step, report) in layout.steps.iter().zip(&mut report.steps) {
            let Some(link) = links.get(step.name.as_str()) else { continue };
            let item = format!("step {}", step.name);
            let materials =
                queue::run(&item, Side::Materials, &step.expected_materials, link, &links, &mut self.work);
            let products =
                queue::run(&item, Side::Products, &step.expected_products, link, &links, &mut self.work);
            (report.materials, report.products) = (materials.applied, products.applied);
            report.findings.extend(materials.findings.into_iter().chain(products.findings));
        }
        self.inspect(report, &layout, &links, folders);
        if let (Some(first), Some(last)) = (chosen.first(), chosen.last()) {
            report.summary = Some(Link {
                materials: first.link.materials.clone(),
                environment: serde_json::Map::new(),
                ..last.link.clone()
            });
        }
    }

    /// The layout, when it is signed, not expired, and its parameters are there.
    fn accepted(
        &self,
        report: &mut Report,
        envelope: &Envelope,
        keys: &[Key],
        parameters: Option<&Parameters>,
    ) -> Option<Layout> {
        if keys.is_empty() {
            let next = "name the keys of whoever makes the layout";
            report.findings.push(Finding::new(
                Code::LayoutKeys,
                "the layout",
                "no key was given to check it with",
                next,
            ));
            return None;
        }
        let mut whole = true;
        for key in keys {
            if envelope.signed_by(key).is_some() {
                report.signed.push(key.id());
                continue;
            }
            whole = false;
            let named = envelope.signatures().iter().find(|s| s.keyid().is_some_and(|id| key.is_named(id)));
            let reason = match named {
                Some(s) if s.is_gpg() => "its signature is a GPG signature, which is not read",
                Some(_) => "its signature is over something else",
                None => "it has not signed",
            };
            let next = "get the layout from its owner again, or check that this is the owner's key";
            let thing = format!("the layout, key {}", key.id().short());
            report.findings.push(Finding::new(Code::LayoutSignature, thing, reason, next));
        }
        if !whole {
            return None;
        }
        let layout = match envelope.unverified().and_then(super::Document::into_layout) {
            Ok(layout) => layout,
            Err(error) => {
                report.note(Code::LayoutMalformed, "the layout", error.to_string());
                return None;
            }
        };
        report.expires = Some(layout.expires);
        if layout.is_expired(self.now) {
            let reason = format!("it expired at {}", layout.expires);
            let next = "its owner signs it again with a later date; links stay as they are";
            report.findings.push(Finding::new(Code::LayoutExpired, "the layout", reason, next));
            return None;
        }
        match parameters.map(|p| substitute(&layout, p)) {
            None => Some(layout),
            Some(Ok(layout)) => Some(layout),
            Some(Err(error)) => {
                report.note(Code::LayoutParameter, "the layout", error.to_string());
                None
            }
        }
    }

    /// Inspections come after the steps: nothing is run for what is refused already.
    fn inspect(&mut self, report: &mut Report, layout: &Layout, steps: &Links<'_>, folders: &[Stem]) {
        let refused = report.outcome() == Outcome::NotFulfilled;
        let id = |i: &Inspection| InspectionId { folders: folders.to_vec(), name: i.name.clone() };
        let mut links = steps.clone();
        for inspection in &layout.inspections {
            if let Some(link) = self.inspections.get(&id(inspection)) {
                links.insert(inspection.name.as_str(), link);
            }
        }
        let all = links.len() == layout.steps.len() + layout.inspections.len();
        for inspection in &layout.inspections {
            let mut own = InspectionReport {
                id: id(inspection),
                run: inspection.run.clone(),
                materials: Vec::new(),
                products: Vec::new(),
                findings: Vec::new(),
            };
            let item = format!("inspection {}", inspection.name);
            match links.get(inspection.name.as_str()) {
                _ if refused => {}
                None => own.findings.push(Finding::new(
                    Code::InspectionOpen,
                    item,
                    format!("{} was not run", inspection.run.join(" ")),
                    "have inspections run, if the owner of the layout may run programs here",
                )),
                Some(link) if link.return_value() != Some(0) => {
                    let reason = match link.return_value() {
                        Some(code) => format!("{} ended with {code}", inspection.run.join(" ")),
                        None => format!("{} did not end by itself", inspection.run.join(" ")),
                    };
                    own.findings.push(Finding::new(Code::InspectionFailed, item, reason, ""));
                }
                Some(link) if all => {
                    let materials = queue::run(
                        &item,
                        Side::Materials,
                        &inspection.expected_materials,
                        link,
                        &links,
                        &mut self.work,
                    );
                    let products = queue::run(
                        &item,
                        Side::Products,
                        &inspection.expected_products,
                        link,
                        &links,
                        &mut self.work,
                    );
                    (own.materials, own.products) = (materials.applied, products.applied);
                    own.findings.extend(materials.findings.into_iter().chain(products.findings));
                }
                Some(_) => {}
            }
            report.inspections.push(own);
        }
    }
}

/// in-toto itself never asks whether the product at hand is the one that the links are about.
fn product(report: &mut Report, wanted: Option<&Digest>) {
    let Some(summary) = &report.summary else { return };
    let Some(wanted) = wanted else {
        let reason = "the links fulfil the layout, which says nothing about any file at hand";
        report.note(Code::ProductUnasked, "the product", reason);
        return;
    };
    let found = summary.products.iter().find(|(_, hashes)| hashes.holds(wanted));
    match found.map(|(name, _)| name.clone()) {
        Some(name) => report.product = Some(name),
        None => {
            let last = report.steps.last().map(|s| s.name.to_string()).unwrap_or_default();
            report.findings.push(Finding::new(
                Code::Product,
                wanted.to_string(),
                format!("the last step, {last}, did not make it"),
                "these links are about something else: another version, or another file",
            ));
        }
    }
}
