//! Every kind of fault at every request of verify, publish, renew and copy: the command ends in success, which is read back
//! past bulla, or in an error; after an error no reader sees anything half done, and the same command run again converges.

mod copying;
mod matrix;
mod signing;

use std::sync::Mutex;

use async_trait::async_trait;
use bulla::store::registry::RegistryConfig;

use self::copying::{Copying, End};
use self::matrix::matrix;
use self::signing::{Publishing, Renewing, Stage, Verifying};
use super::publishing::{ONLINE, RELEASES, REPO};
use crate::registry::Registry as Server;

/// How a command ended.
enum Ended {
    /// Exit 0.
    Success,
    /// Exit 0, and the result names what was not there.
    Partly(String),
    /// Any other exit, with its words.
    Error(String),
}

/// A command on a stage that can be set up again.
#[async_trait]
trait Scene: Sync {
    /// The registries whose requests are counted.
    fn servers(&self) -> Vec<&Server>;
    /// Everything as it was at first.
    async fn reset(&mut self);
    /// The command; a second call of it finds what the first one left, at home too.
    async fn run(&self, config: RegistryConfig) -> Ended;
    /// What is not as a success promises.
    async fn missing(&self) -> Vec<String>;
    /// What a reader sees that is half done.
    async fn half(&self) -> Vec<String>;
}

const SHORT: u64 = 2;

#[tokio::test(flavor = "multi_thread")]
async fn publish_with_the_api() {
    let stage = Stage::new(false, &[RELEASES, ONLINE]).await;
    matrix("publish, API", &mut Publishing(stage), SHORT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn publish_without_the_api() {
    let stage = Stage::new(true, &[RELEASES, ONLINE]).await;
    matrix("publish, no API", &mut Publishing(stage), SHORT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn renew_with_the_api() {
    matrix("renew, API", &mut Renewing::new(false).await, SHORT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn renew_without_the_api() {
    matrix("renew, no API", &mut Renewing::new(true).await, SHORT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_what_is_trusted_and_what_is_not() {
    for (selector, good) in [(":old", true), ("", true), (":wrong", false), (":unlisted", false)] {
        let mut stage = Stage::new(false, &[RELEASES]).await;
        let (c, old) = (&stage.c, stage.old.digest().to_string());
        // A tag that somebody moved to an older or foreign bundle, and one that the collection does not know.
        c.publish(&c.owner, c.image("current").digest(), &["wrong"]).await.unwrap();
        c.server.set_tag(REPO, "wrong", Some(&old));
        c.server.set_tag(REPO, "unlisted", Some(&stage.image.digest().to_string()));
        stage.start = c.server.store(|s| s.clone());
        let selector = if selector.is_empty() { format!("@{old}") } else { selector.to_owned() };
        let name = format!("verify {}", if good { "what is trusted" } else { "what is not" });
        matrix(&name, &mut Verifying { stage, selector, good, said: Mutex::default() }, 8).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_between_registries() {
    for (from, to) in [(End::Api, End::Api), (End::Api, End::Fallback), (End::Fallback, End::Fallback)] {
        let name = |end| if end == End::Api { "API" } else { "no API" };
        let name = format!("copy, {} to {}", name(from), name(to));
        matrix(&name, &mut Copying::new(from, to).await, SHORT).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_to_and_from_a_layout() {
    for (name, from, to) in [
        ("copy, API to layout", End::Api, End::Layout),
        ("copy, no API to layout", End::Fallback, End::Layout),
        ("copy, layout to API", End::Layout, End::Api),
        ("copy, layout to no API", End::Layout, End::Fallback),
    ] {
        matrix(name, &mut Copying::new(from, to).await, SHORT).await;
    }
}
