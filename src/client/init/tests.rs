use super::*;
use crate::client::fixture::{DAY, Home, NOW, create, key, name, request};
use crate::client::state;
use crate::client::whole::{Whole, walk};
use crate::store::Store;
use crate::store::memory::MemoryStore;
use crate::tuf::Limits;

fn store(at: &str) -> MemoryStore {
    MemoryStore::new(at.parse().unwrap())
}

async fn live(store: &MemoryStore, root: &Bytes) -> Whole {
    let read = state::fetch_state(store, &name()).await.unwrap().unwrap();
    let chain = walk(root, &name(), &[&read.files], &Limits::default()).unwrap();
    Whole::judge(&chain, &read.files, &name(), NOW, &Limits::default()).unwrap()
}

#[tokio::test]
async fn the_first_state_is_whole_and_remembered() {
    let (store, home) = (store("ex.com/org/app"), Home::new(&[]));
    let created = create(&store, &home).await.unwrap();
    let whole = live(&store, &created.root).await;
    let roles: Vec<_> = whole.roles().keys().map(RoleName::as_str).collect();
    assert_eq!(roles, ["targets", "targets/releases", "targets/revocations"]);
    let delegations = whole.trusted().targets().role().delegations();
    assert_eq!(delegations[0].name, RoleName::revocations());
    assert!(delegations.iter().all(|d| d.terminating));
    let found = whole.trusted().find("ex.com/org/app/revocations.json", whole.files()).unwrap();
    let (_, target) = found.target.unwrap();
    assert_eq!(target.check(whole.files().target("ex.com/org/app/revocations.json").unwrap()), Ok(()));
    assert_eq!(whole.trusted().timestamp().version().get(), NOW.secs() as u64);
    let lives: Vec<_> = created.deadlines.iter().map(|(at, _)| (at.secs() - NOW.secs()) / DAY).collect();
    assert_eq!(lives, [7, 30, 90, 90, 365, 365]);
    assert_eq!(fs::read(home.root_file()).unwrap(), created.root);
    let remembered = home.memory().load(&created.root).unwrap().unwrap();
    assert_eq!(remembered.files, *whole.files());
    assert_eq!(created.anchors.len(), 1);
    assert!(matches!(&created.next[3], NextStep::Deadline { role, .. } if *role == RoleName::timestamp()));
}

#[tokio::test]
async fn refuses_where_a_state_lies_and_where_one_is_remembered() {
    let (store, home) = (store("ex.com/org/app"), Home::new(&[]));
    create(&store, &home).await.unwrap();
    assert!(matches!(create(&store, &Home::new(&[])).await, Err(InitError::Exists { .. })));
    let elsewhere = MemoryStore::new("ex.com/org/other".parse().unwrap());
    assert!(matches!(create(&elsewhere, &home).await, Err(InitError::Remembered { .. })));
    assert_eq!(elsewhere.counts(), (0, 0));
}

#[tokio::test]
async fn an_existing_root_file_stops_it_before_anything_is_pushed() {
    let (store, home) = (store("ex.com/org/app"), Home::new(&[]));
    fs::write(home.root_file(), "mine").unwrap();
    let failed = create(&store, &home).await.unwrap_err();
    assert!(matches!(failed, InitError::RootFile { kind: io::ErrorKind::AlreadyExists, .. }));
    assert_eq!(store.counts(), (0, 0));
    assert_eq!(fs::read(home.root_file()).unwrap(), b"mine");
    assert!(!home.memory().path().exists());
}

#[tokio::test]
async fn thresholds_and_shared_keys() {
    let (store, home) = (store("mirror.example/x/app"), Home::new(&[]));
    let (file, memories) = (home.root_file(), [home.memory()]);
    let with = |keys: &[u8], threshold: u32| {
        let mut r = request(&store, &file, &memories);
        (r.root_keys, r.root_threshold) = (keys.iter().map(|k| key(*k)).collect(), threshold);
        r
    };
    for (keys, threshold, distinct) in [(&[1, 1][..], 2, 1), (&[1], 0, 1), (&[1, 9], 3, 2)] {
        let e = init(with(keys, threshold)).await.unwrap_err();
        assert_eq!(e, InitError::Threshold { threshold, keys: distinct });
    }
    for (key, role) in [(Home::ONLINE, RoleName::timestamp()), (Home::RELEASES, RoleName::releases())] {
        let e = init(with(&[1, key], 1)).await.unwrap_err();
        assert!(matches!(e, InitError::SharedRootKey { role: r, .. } if r == role));
    }
    for (other, role) in [(Home::ONLINE, RoleName::timestamp()), (Home::RELEASES, RoleName::releases())] {
        let mut r = with(&[1], 1);
        r.targets_key = key(other);
        r.shared_root_key = Some("does not allow this".into());
        let e = init(r).await.unwrap_err();
        assert!(matches!(e, InitError::SharedTargetsKey { role: r, .. } if r == role));
    }
    let mut shared = with(&[1, 9, Home::ONLINE], 2);
    shared.shared_root_key = Some("a test".into());
    let created = init(shared).await.unwrap();
    let whole = live(&store, &created.root).await;
    let extra = whole.trusted().root().extra().unwrap();
    assert_eq!(extra.shared_root_key.as_deref(), Some("a test"));
    assert_eq!((created.root_keys, whole.trusted().root().role().root_keys().threshold), ((3, 2), 2));
    let scopes: Vec<_> = created.anchors.iter().map(|a| a.scope.to_string()).collect();
    assert_eq!(scopes, ["ex.com/org/app", "mirror.example/x/app"]);
    assert_eq!(created.anchors[0].state_at, [store.place()]);
}
