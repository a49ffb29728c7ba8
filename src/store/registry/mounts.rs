//! Mounts (distribution-spec "Mounting a blob from another repository"), and the sessions that come in their place.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use reqwest::header::{CONTENT_LENGTH, HeaderValue};
use reqwest::{Method, StatusCode};

use super::answer::MAX_ERROR_BYTES;
use super::auth::Scopes;
use super::http::Call;
use super::push::named_otherwise;
use super::upload::Session;
use super::{Registry, api_host};
use crate::oci::{Descriptor, Digest, Repository};
use crate::store::Failure;

/// Most sessions that wait for their push.
const MAX_OFFERED: usize = 64;

/// Sessions that were opened instead of a mount, for the push of the same blob to the same repository; and those of
/// uploads that were dropped on their way.
#[derive(Default)]
pub(super) struct Offered {
    sessions: Mutex<HashMap<(String, Digest), Session>>,
    abandoned: Mutex<Vec<(String, Session)>>,
}

impl Offered {
    /// Keep a session; gives back one that nobody will use.
    fn keep(&self, repository: &str, digest: &Digest, session: Session) -> Option<Session> {
        let mut all = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (repository.to_owned(), digest.clone());
        if all.len() >= MAX_OFFERED && !all.contains_key(&key) {
            return Some(session);
        }
        all.insert(key, session)
    }

    /// The session for a blob, if one was offered.
    pub(super) fn take(&self, repository: &str, digest: &Digest) -> Option<Session> {
        let mut all = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&(repository.to_owned(), digest.clone()))
    }

    /// Nobody will use this session of a repository any more.
    pub(super) fn abandon(&self, repository: &str, session: Session) {
        let mut all = self.abandoned.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < MAX_OFFERED {
            all.push((repository.to_owned(), session));
        }
    }

    /// All sessions that are kept, for whatever reason.
    pub(super) fn drain(&self) -> Vec<(String, Session)> {
        let mut left = std::mem::take(&mut *self.abandoned.lock().unwrap_or_else(PoisonError::into_inner));
        let mut offered = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        left.extend(offered.drain().map(|((repository, _), session)| (repository, session)));
        left
    }
}

impl Registry {
    /// Mount a blob. Any refusal means: push it. A session that the registry opens instead is kept for that push.
    pub(super) async fn mount_blob(&self, blob: &Descriptor, from: &Repository) -> Result<bool, Failure> {
        if api_host(from.host()) != api_host(self.repository.host()) || from.name() == self.repository.name()
        {
            return Ok(false);
        }
        let scopes = Scopes::mount(self.repository.name(), from.name());
        let encoded = percent_encoding::utf8_percent_encode(from.name(), percent_encoding::NON_ALPHANUMERIC);
        let path = self.path(&format!("blobs/uploads/?mount={}&from={encoded}", blob.digest));
        let call = Call::path(Method::POST, path).header(CONTENT_LENGTH, HeaderValue::from(0));
        let answer = match self.host.small(&call, &scopes, MAX_ERROR_BYTES).await {
            Err(Failure::Unauthorized(_) | Failure::Denied(_)) => return Ok(false),
            other => other?,
        };
        match answer.status {
            StatusCode::CREATED => named_otherwise(&answer, &blob.digest).map(|()| true),
            StatusCode::ACCEPTED => {
                if let Ok(session) = Session::opened(&self.host, &answer) {
                    let unused = self.host.offered.keep(self.repository.name(), &blob.digest, session);
                    if let Some(unused) = unused {
                        self.cancel(&unused).await;
                    }
                }
                Ok(false)
            }
            StatusCode::TOO_MANY_REQUESTS => Err(answer.failure()),
            s if s.is_client_error() => Ok(false),
            _ => Err(answer.failure()),
        }
    }
}
