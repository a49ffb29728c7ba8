//! Reading: manifests and tags.

use reqwest::header::{ACCEPT, ETAG, HeaderValue};
use reqwest::{Method, StatusCode};

use super::auth::Access;
use super::http::Call;
use super::pages::Pages;
use super::{Registry, answer::Small};
use crate::oci::{
    Content, ContentError, Descriptor, Digest, MAX_MANIFEST_BYTES, ManifestError, Selector, Tag, media_type,
};
use crate::store::Failure;

/// Most tags and pages of a tag list that are read.
const MAX_TAGS: usize = 100_000;
const MAX_TAG_PAGES: usize = 1_000;

impl Registry {
    /// The manifest at a tag or digest; `None` only when the registry says 404.
    pub(super) async fn pull_manifest(&self, selector: &Selector) -> Result<Option<Content>, Failure> {
        let name = match selector {
            Selector::Tag(tag) => tag.to_string(),
            Selector::Digest(digest) | Selector::Both(_, digest) => digest.to_string(),
        };
        Ok(self.pull_named(&name, selector.digest()).await?.map(|(content, _)| content))
    }

    /// The manifest at a name, and its `ETag`.
    pub(super) async fn pull_named(
        &self,
        name: &str,
        wanted: Option<&Digest>,
    ) -> Result<Option<(Content, Option<HeaderValue>)>, Failure> {
        let call = self.manifest_call(Method::GET, name);
        let answer = self.host.small(&call, &self.scopes(Access::Read), MAX_MANIFEST_BYTES).await?;
        match answer.status {
            StatusCode::OK => {
                let etag = answer.headers.get(ETAG).cloned();
                Ok(Some((content_of(answer, wanted)?, etag)))
            }
            StatusCode::NOT_FOUND => Ok(None),
            s if s.is_success() => Err(Failure::Protocol(format!("status {s} for a manifest"))),
            _ => Err(answer.failure()),
        }
    }

    /// A request for a manifest. `Accept` always names every type: docker-registry answers 404 to an index not offered.
    fn manifest_call(&self, method: Method, name: &str) -> Call {
        media_type::ACCEPT_MANIFESTS
            .iter()
            .fold(Call::path(method, self.path(&format!("manifests/{name}"))), |call, accepted| {
                call.header(ACCEPT, HeaderValue::from_static(accepted))
            })
    }

    /// Whether a blob or manifest is there. A HEAD that is not allowed says nothing, so a manifest is then pulled.
    pub(super) async fn head(&self, descriptor: &Descriptor) -> Result<bool, Failure> {
        if !media_type::is_manifest(&descriptor.media_type) {
            return self.has_blob(descriptor).await;
        }
        let digest = &descriptor.digest;
        let call = self.manifest_call(Method::HEAD, &digest.to_string());
        let answer = self.host.small(&call, &self.scopes(Access::Read), 0).await?;
        match answer.status {
            StatusCode::NOT_FOUND => Ok(false),
            StatusCode::METHOD_NOT_ALLOWED => {
                Ok(self.pull_manifest(&Selector::Digest(digest.clone())).await?.is_some())
            }
            s if s.is_success() => Ok(true),
            _ => Err(answer.failure()),
        }
    }

    /// All tags, after `after` where the registry can tell.
    pub(super) async fn list_tags(&self, after: Option<&str>) -> Result<Vec<Tag>, Failure> {
        self.list_tags_from(after, false).await
    }

    /// The same; that there are none is believed at once when `lightly`.
    pub(super) async fn list_tags_from(
        &self,
        after: Option<&str>,
        lightly: bool,
    ) -> Result<Vec<Tag>, Failure> {
        #[derive(serde::Deserialize)]
        struct Page {
            // Some registries say null, but a document without the field is no list.
            #[serde(deserialize_with = "serde::Deserialize::deserialize")]
            tags: Option<Vec<Option<String>>>,
        }
        let query = after.map(|last| {
            let last = percent_encoding::utf8_percent_encode(last, percent_encoding::NON_ALPHANUMERIC);
            format!("?last={last}")
        });
        let mut call = Call::path(Method::GET, self.path(&format!("tags/list{}", query.unwrap_or_default())));
        let (mut pages, mut out, mut first) = (Pages::new(MAX_TAG_PAGES), Vec::new(), true);
        let mut asked_again = lightly;
        loop {
            let answer = self.host.small(&call, &self.scopes(Access::Read), MAX_MANIFEST_BYTES).await?;
            match answer.status {
                StatusCode::OK => {}
                // A repository that does not exist has no tags; the second page of a list is another matter. Signatures and
                // states are found by this list: one wrong answer shall not lose them.
                StatusCode::NOT_FOUND if first && !asked_again => {
                    asked_again = true;
                    continue;
                }
                StatusCode::NOT_FOUND if first => {
                    if after.is_none() {
                        self.memo.note_empty();
                    }
                    return Ok(out);
                }
                StatusCode::NOT_FOUND => {
                    return Err(Failure::Protocol("a page of the tag list is missing".into()));
                }
                _ => return Err(answer.failure()),
            }
            let page: Page = serde_json::from_slice(&answer.body)
                .map_err(|_| Failure::Protocol("the answer is no tag list".into()))?;
            // What is no legal tag cannot be asked for either.
            out.extend(page.tags.into_iter().flatten().flatten().filter_map(|t| t.parse().ok()));
            if out.len() > MAX_TAGS {
                return Err(Failure::TooLarge {
                    what: "the tag list".into(),
                    limit: format!("{MAX_TAGS} tags"),
                });
            }
            first = false;
            match pages.next(&answer, &self.host)? {
                Some(next) => call = next,
                None => return Ok(out),
            }
        }
    }
}

/// The content of an answer. The digest over the bytes decides; what the registry calls it must agree.
fn content_of(answer: Small, wanted: Option<&Digest>) -> Result<Content, Failure> {
    let media_type = answer.media_type().map(str::to_owned);
    let media_type =
        media_type.ok_or_else(|| Failure::Protocol("a manifest without a Content-Type".into()))?;
    let named = answer.header("docker-content-digest").and_then(|d| d.parse::<Digest>().ok());
    if let Some(named) = named
        && !named.matches(&answer.body)
    {
        let got = Digest::of(named.algorithm(), &answer.body);
        return Err(ContentError::Digest { expected: named, got }.into());
    }
    let named = answer.header("docker-content-digest").is_some();
    match wanted {
        // A login page, or a proxy's own document: no registry has such a thing at a tag, nor would it name its digest.
        None if !named && !media_type::is_manifest(&media_type) => {
            Err(ManifestError::UnknownType { digest: Digest::sha256(&answer.body), media_type }.into())
        }
        None => Ok(Content::new(media_type, answer.body)),
        Some(digest) => {
            let descriptor = Descriptor::new(media_type, digest.clone(), answer.body.len() as u64);
            Ok(Content::check(descriptor, answer.body)?)
        }
    }
}
