//! The contract over the stores that need no server.

use bulla::store::archive::OciArchive;
use bulla::store::layout::OciDir;
use bulla::store::memory::MemoryStore;

use super::bundles::scratch;
use super::contract;

#[tokio::test(flavor = "multi_thread")]
async fn memory_keeps_the_contract() {
    let store = MemoryStore::new("memory.example/test".parse().unwrap());
    contract::all(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oci_layout_keeps_the_contract() {
    let dir = scratch();
    let store = OciDir::create(dir.path().join("new/layout")).await.unwrap();
    contract::all(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_keeps_the_contract() {
    let dir = scratch();
    let store = OciArchive::create(dir.path().join("new.tar")).await.unwrap();
    contract::all(&store).await;
}
