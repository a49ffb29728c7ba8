//! The tags of a source, and whether its list of them can be believed: signatures and states are found by it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::at_source;
use crate::oci::{Content, Reference, Selector, Tag};
use crate::store::copy::CopyError;
use crate::store::{Failure, Store, StoreError};

/// The tags of a source.
pub(super) struct Listed {
    /// Those that are listed.
    pub(super) tags: Arc<BTreeSet<Tag>>,
    /// Why there may be others.
    pub(super) unlisted: Option<StoreError>,
}

impl Listed {
    /// Judge the answer to the question for the tags. `selector` is what is copied, `asked` what was asked for; `manifest`
    /// is what `selector` names, where that is known, and is filled in where it was looked for.
    ///
    /// Some registries answer 404 or an empty list where they do not let tags be listed. A list without a tag that is
    /// there is no whole list; nor is an empty one of a repository that holds the bundle.
    pub(super) async fn judge(
        answer: Result<Arc<BTreeSet<Tag>>, StoreError>,
        source: &dyn Store,
        asked: &Selector,
        selector: &Selector,
        manifest: &mut Option<Content>,
    ) -> Result<Self, CopyError> {
        let tags = match answer {
            Ok(tags) => tags,
            Err(e) => {
                return match e.failure {
                    Failure::Denied(_) | Failure::Unauthorized(_) | Failure::Refused { .. } => {
                        Ok(Self { tags: Arc::default(), unlisted: Some(e) })
                    }
                    _ => Err(at_source(e)),
                };
            }
        };
        let lacks = match asked {
            Selector::Tag(tag) => !tags.contains(tag),
            // The digest decides: the tag need not be there.
            Selector::Digest(_) | Selector::Both(..) => tags.is_empty(),
        };
        // In directories and archives the list and the answer for a tag are one file.
        if !lacks || !matches!(source.place(), Reference::Registry(_)) {
            return Ok(Self { tags, unlisted: None });
        }
        if manifest.is_none() {
            *manifest = source.resolve(selector).await.map_err(at_source)?;
        }
        let said = format!("{asked} is there, and the list has {} tags without it", tags.len());
        let lie = || StoreError::new(source.place(), "list tags", Failure::Protocol(said));
        let unlisted = manifest.is_some().then(lie);
        Ok(Self { tags, unlisted })
    }
}
