//! Writing: manifests and deletion.

use std::time::Instant;

use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};

use super::Registry;
use super::answer::{MAX_ERROR_BYTES, Small};
use super::auth::Access;
use super::http::Call;
use crate::oci::{Algorithm, Content, Digest, MAX_MANIFEST_BYTES, Selector, Tag};
use crate::store::Failure;

/// How often a manifest is put again whose blobs the registry says it does not have.
const UNSEEN: u32 = 2;

impl Registry {
    /// PUT a manifest at its tag, or else at its digest; bytes as they are.
    pub(super) async fn put_manifest(&self, manifest: &Content, tag: Option<&Tag>) -> Result<(), Failure> {
        if manifest.bytes().len() as u64 > MAX_MANIFEST_BYTES {
            let limit = format!("{MAX_MANIFEST_BYTES} bytes");
            return Err(Failure::TooLarge { what: format!("manifest {}", manifest.digest()), limit });
        }
        // A tag alone lets the registry choose the algorithm, and it chooses sha256.
        let mut noted = false;
        if tag.is_none() || manifest.digest().algorithm() != Algorithm::Sha256 {
            noted |= self.put_at(manifest, &manifest.digest().to_string()).await?;
        }
        if let Some(tag) = tag {
            noted |= self.put_at(manifest, tag.as_str()).await?;
        }
        self.memo.note_own(manifest, noted);
        Ok(())
    }

    /// PUT a list of referrers at its tag, not after `until`; `false` when another one stands there than the condition
    /// names.
    pub(super) async fn put_list(
        &self,
        list: &Content,
        tag: &Tag,
        condition: Option<(HeaderName, HeaderValue)>,
        until: Option<Instant>,
    ) -> Result<bool, Failure> {
        if list.bytes().len() as u64 > MAX_MANIFEST_BYTES {
            let limit = format!("{MAX_MANIFEST_BYTES} bytes");
            return Err(Failure::TooLarge { what: format!("the list of referrers {tag}"), limit });
        }
        let mut call = self.put_call(list, tag.as_str())?.until(until);
        call.headers.extend(condition);
        let answer = self.host.small(&call, &self.scopes(Access::Write), MAX_ERROR_BYTES).await?;
        match answer.status {
            StatusCode::PRECONDITION_FAILED => Ok(false),
            _ => put_answered(&answer, list).map(|()| true),
        }
    }

    /// Whether the registry says that it took note of the subject.
    async fn put_at(&self, manifest: &Content, name: &str) -> Result<bool, Failure> {
        let call = self.put_call(manifest, name)?;
        let mut tries = 0;
        let answer = loop {
            let answer = self.host.small(&call, &self.scopes(Access::Write), MAX_ERROR_BYTES).await?;
            tries += 1;
            // docker-registry, while somebody else pushes the same blob, does not see what it had a moment ago.
            if tries > UNSEEN || !answer.status.is_client_error() || !answer.has_code("MANIFEST_BLOB_UNKNOWN")
            {
                break answer;
            }
            tokio::time::sleep(self.host.config().retry.backoff(tries)).await;
        };
        put_answered(&answer, manifest)?;
        Ok(answer.header("oci-subject").is_some())
    }

    fn put_call(&self, manifest: &Content, name: &str) -> Result<Call, Failure> {
        let media_type = HeaderValue::from_str(manifest.media_type())
            .map_err(|_| Failure::Protocol("a media type that no header can carry".into()))?;
        Ok(Call::path(Method::PUT, self.path(&format!("manifests/{name}")))
            .header(CONTENT_TYPE, media_type)
            .body(manifest.bytes().clone()))
    }

    /// Delete a tag, or a manifest by digest; `false` where the registry does not do that.
    pub(super) async fn remove(&self, what: &Selector) -> Result<bool, Failure> {
        let name = match what {
            Selector::Tag(tag) | Selector::Both(tag, _) => tag.to_string(),
            Selector::Digest(digest) => digest.to_string(),
        };
        let call = Call::path(Method::DELETE, self.path(&format!("manifests/{name}")));
        let answer = self.host.small(&call, &self.scopes(Access::Delete), MAX_ERROR_BYTES).await?;
        match answer.status {
            s if s.is_success() || s == StatusCode::NOT_FOUND => {
                what.digest().iter().for_each(|d| self.memo.forget(d));
                Ok(true)
            }
            StatusCode::BAD_REQUEST | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
                Ok(false)
            }
            _ if answer.has_code("UNSUPPORTED") => Ok(false),
            _ => Err(answer.failure()),
        }
    }
}

fn put_answered(answer: &Small, manifest: &Content) -> Result<(), Failure> {
    match answer.status {
        // No Location is asked for: ECR sends none. But 200 alone is what a login page answers as well.
        StatusCode::OK | StatusCode::NO_CONTENT
            if answer.header("location").is_none() && answer.header("docker-content-digest").is_none() =>
        {
            Err(Failure::Protocol(format!("status {} for a manifest that was pushed", answer.status)))
        }
        StatusCode::CREATED | StatusCode::OK | StatusCode::ACCEPTED | StatusCode::NO_CONTENT => {
            named_otherwise(answer, manifest.digest())
        }
        StatusCode::NOT_FOUND => Err(Failure::Refused { status: 404, text: text_of(answer) }),
        _ => Err(answer.failure()),
    }
}

/// An error when the registry says that it stored something else. Another algorithm says nothing
/// (docker-registry names the sha256 of what was pushed as sha512).
pub(super) fn named_otherwise(answer: &Small, digest: &Digest) -> Result<(), Failure> {
    let named = answer.header("docker-content-digest").and_then(|d| d.parse::<Digest>().ok());
    match named.filter(|n| n.algorithm() == digest.algorithm() && n != digest) {
        Some(other) => Err(Failure::Protocol(format!("pushed {digest}, stored as {other}"))),
        None => Ok(()),
    }
}

fn text_of(answer: &Small) -> String {
    match super::answer::failure_of(StatusCode::BAD_REQUEST, &answer.body) {
        Failure::Refused { text, .. } => text,
        other => other.to_string(),
    }
}
