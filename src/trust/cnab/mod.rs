//! CNAB bundles: whether index and `bundle.json` say the same, down to every image, and what level of CNAB-Sec that reaches
//! (docs/cnab.md). Pure.

mod bundle_json;
mod index;
mod judge;
mod level;
mod relocation;

pub use bundle_json::{BundleJson, BundleJsonError, Image, MAX_BUNDLE_JSON};
pub use index::{
    COMPONENT_NAME, CnabConfigError, CnabIndex, CnabIndexError, MANIFEST_TYPE, MAX_IMAGES, bundle_json_of,
};
pub use judge::{CnabAnswer, CnabFiles, CnabReport, FileHash, Mismatch, compare, look};
pub(super) use judge::{Whole, judge, listed, thick_unlisted};
pub use level::{Level as CnabLevel, Provenance, Reached};
pub use relocation::{MAX_RELOCATION, Misplaced, RelocationError, RelocationMap};

#[cfg(test)]
pub(crate) mod tests;
