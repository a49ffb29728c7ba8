//! Two keys must sign snapshot and timestamp: by candidates at the registry, and from sticks that are signed elsewhere.

use std::rc::Rc;

use bulla::client::ceremony::{self, Desk};
use bulla::client::commit::{WorkError, check_next, cosigned};
use bulla::client::memory::Memory;
use bulla::client::renew::Cosign;
use bulla::client::signing::OpenKeys;
use bulla::store::Manage;
use bulla::time::{Clock as _, UnixTime};
use bulla::tuf::proposal::{About, Edit, EditError, Proposal};
use bulla::tuf::{CollectionName, RoleName};
use bytes::Bytes;

use super::{SECOND, START, Stage};
use crate::publishing::{ONLINE, RELEASES, TARGETS, key};

struct At(i64);

impl bulla::time::Clock for At {
    fn now(&self) -> UnixTime {
        UnixTime::from_secs(self.0)
    }
}

/// Both online roles take both keys from now on.
pub(super) async fn two_must_sign(
    store: &dyn Manage,
    collection: &CollectionName,
    anchor: &Bytes,
    memory: &Memory,
) {
    let keys = OpenKeys([1, TARGETS, RELEASES, ONLINE, SECOND].map(key).to_vec());
    let desk = Desk {
        collection,
        anchor,
        store,
        memories: std::slice::from_ref(memory),
        without_memory: false,
        keys: &keys,
        clock: &At(START - 500),
    };
    let edits: Vec<Edit> = [RoleName::timestamp(), RoleName::snapshot()]
        .into_iter()
        .flat_map(|role| {
            let add = Edit::AddKey { role: role.clone(), key: key(SECOND).public_key().clone() };
            [add, Edit::Threshold { role, threshold: 2 }]
        })
        .collect();
    let about = About {
        description: "two must sign".into(),
        by: "owner".into(),
        at: UnixTime::from_secs(START - 500),
    };
    let done = desk.at_once(|_| Ok::<_, EditError>(edits.clone()), &about).await.unwrap();
    assert!(done.worked.unwrap().installed);
}

impl Stage {
    /// What waits goes away on a stick, is signed with the other key by a machine that sees nothing else, and comes back.
    pub(super) async fn stick(&self, home: usize) {
        let left = match self.try_renew(home, &[], Cosign::Travels).await {
            Ok(renewed) => renewed.travels,
            Err(e) => return self.failed("a renewal for a stick", &e),
        };
        let Some((proposal, _)) = left else { return };
        self.start(home).await;
        let mut stick = Proposal::parse(&proposal.to_bytes()).unwrap();
        let now = self.schedule.clock(0).now();
        let whole = match ceremony::carried_by(&stick, &self.root, None, now) {
            Ok((_, whole)) => whole,
            Err(e) => return self.broken(format!("what a stick carries does not verify: {e}")),
        };
        if let Err(e) = check_next(&stick, &whole, now) {
            return self.broken(format!("an honest stick was refused: {e}"));
        }
        let other = OpenKeys(vec![key(ONLINE), key(SECOND)]);
        let base = whole.base(&self.site.name);
        ceremony::sign(&mut stick, &base, &other, None).await.unwrap();
        self.start(home).await;
        match self.try_renew(home, &[], Cosign::Returned(&cosigned(&stick))).await {
            // Something was published meanwhile.
            Ok(_) | Err(WorkError::Returned(_)) => {}
            Err(e) => self.failed("a stick that came back", &e),
        }
    }

    /// A renewal while nobody else is there.
    pub(super) async fn turn(self: Rc<Self>, home: usize, last: bool) {
        let done = match self.try_renew(home, &[], Cosign::Here).await {
            Ok(done) => done,
            Err(e) => return self.broken(format!("a turn with nobody else there: {e}")),
        };
        if last && done.gathering.is_some() {
            self.broken("all have signed in turn, and it still waits".into());
        }
    }

    /// What was submitted is in, or its path was withdrawn, or another value of it is there.
    pub(super) async fn all_is_in(&self) {
        let entries = self.entries().await;
        for wish in self.submitted() {
            if wish.value.is_some() && !entries.contains_key(&wish.path) && !self.may_be_gone(&wish) {
                self.broken(format!("{} is not in after everybody has signed in turn", wish.path));
            }
        }
    }
}
