//! `thief LAYOUT NAME KEYS DIGEST`: with the releases and online keys in the folder KEYS (and BULLA_PASSWORD) release DIGEST, and
//! drive every version up to 2^53-1. For scripts/demo-ceremony.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::sync::Arc;

use bulla::client::signing::OpenKeys;
use bulla::keys::{KeyFolder, NoPrompt, Password, Passwords, Signer, open};
use bulla::oci::{Digest, Selector};
use bulla::store::Store as _;
use bulla::store::layout::OciDir;
use bulla::time::{Clock as _, SystemClock};
use bulla::tuf::CollectionName;

#[path = "mod.rs"]
mod thief;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [layout, name, folder, digest] = args.as_slice() else {
        panic!("usage: thief LAYOUT NAME KEYS DIGEST");
    };
    let password = Password::new(std::env::var("BULLA_PASSWORD").unwrap().into()).unwrap();
    let passwords = Passwords::new(Some(password), Arc::new(NoPrompt));
    let folder = KeyFolder::new(folder);
    let key = |name: &str| -> Arc<dyn Signer> {
        open(&name.parse().unwrap(), &folder, &passwords).unwrap().signer.into()
    };
    let keys = OpenKeys(vec![key("app-releases"), key("app-online")]);
    let (name, digest): (CollectionName, Digest) = (name.parse().unwrap(), digest.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = OciDir::create(layout).await.unwrap();
        let image = store.resolve(&Selector::Digest(digest)).await.unwrap().unwrap();
        let deed = thief::Deed { release: Some(image.descriptor()), ..thief::Deed::default() };
        thief::steal(&store, &name, &keys, SystemClock.now(), &deed).await;
    });
    println!("released  {name}@{}   version {}", args[3], thief::greatest());
}
