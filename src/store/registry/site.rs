//! A tree of files behind a URL, read file by file: what a web server serves, with the limits and certificates of registries.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::{StatusCode, Url};

use super::RegistryConfig;
use super::tls::{Clients, Pool};
use super::trouble::causes;
use crate::store::{Failure, StoreError};

/// A tree of files behind a URL.
pub struct Site {
    clients: Clients,
    base: Url,
    patience: Duration,
}

impl Site {
    /// The tree at `url` (http or https); nothing is asked yet.
    ///
    /// # Errors
    /// It is no such URL.
    pub fn at(config: RegistryConfig, url: &str) -> Result<Self, StoreError> {
        let failed = |why: String| StoreError {
            place: url.to_owned(),
            what: "open the tree".to_owned(),
            failure: Failure::Setup(why),
        };
        let mut base = Url::parse(url).map_err(|e| failed(e.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(failed("no http or https URL".to_owned()));
        }
        if !base.username().is_empty() || base.password().is_some() || base.query().is_some() {
            return Err(failed("a URL with a user or a query is not supported".to_owned()));
        }
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let patience = config.timeouts.request;
        Ok(Self { clients: Clients::new(Arc::new(config)), base, patience })
    }

    /// A file of at most `max` bytes, by its path as a URL writes it; `None` only when the server says 404.
    ///
    /// # Errors
    /// Any other answer, no answer, or a file that is larger.
    pub async fn get(&self, path: &str, max: u64) -> Result<Option<Bytes>, StoreError> {
        let failed = |failure: Failure| StoreError {
            place: self.base.to_string(),
            what: format!("get {path}"),
            failure,
        };
        // A leading "./": a colon in the first segment would read as a scheme.
        let url = self.base.join(&format!("./{path}")).map_err(|e| failed(Failure::Setup(e.to_string())))?;
        let client = self.clients.get(&url, Pool::Small, true).map_err(failed)?;
        let work = async {
            let sent = client.get(url).send().await;
            let mut answer = sent.map_err(|e| match e.is_connect() {
                true => Failure::Unreachable(causes(&e)),
                false => Failure::Interrupted(causes(&e)),
            })?;
            let status = answer.status();
            match status {
                StatusCode::OK => {}
                StatusCode::NOT_FOUND => return Ok(None),
                s if s.is_server_error() => {
                    return Err(Failure::Server { status: s.as_u16(), text: String::new() });
                }
                s => return Err(Failure::Refused { status: s.as_u16(), text: String::new() }),
            }
            let mut bytes = Vec::new();
            while let Some(piece) = answer.chunk().await.map_err(|e| Failure::Interrupted(causes(&e)))? {
                if (bytes.len() + piece.len()) as u64 > max {
                    return Err(Failure::TooLarge {
                        what: "the file".to_owned(),
                        limit: format!("{max} bytes"),
                    });
                }
                bytes.extend_from_slice(&piece);
            }
            Ok(Some(bytes.into()))
        };
        let late = |_| Failure::Interrupted(format!("not there after {} s", self.patience.as_secs()));
        tokio::time::timeout(self.patience, work).await.map_err(|e| failed(late(e)))?.map_err(failed)
    }
}
