//! One request goes to a host that has never answered; the others wait for what it learns.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::sync::{Mutex, MutexGuard};

use crate::store::Failure;

/// Open once the host has answered, and any challenge was met: a cold host costs one challenge and one token.
#[derive(Default)]
pub(super) struct Gate {
    open: AtomicBool,
    /// When and how the last lonely request failed: who waited for it fails alike.
    failed: Mutex<Option<(Instant, Failure)>>,
}

/// The right to be the lonely request; nothing once the gate is open. Given up by dropping, also when cancelled.
pub(super) struct Turn<'a> {
    gate: &'a Gate,
    alone: Option<MutexGuard<'a, Option<(Instant, Failure)>>>,
}

impl Gate {
    /// Wait for the gate to open or for the turn to try.
    ///
    /// # Errors
    /// The failure of the request that was waited for.
    pub(super) async fn turn(&self) -> Result<Turn<'_>, Failure> {
        let through = Turn { gate: self, alone: None };
        if self.open.load(Ordering::Acquire) {
            return Ok(through);
        }
        let asked = Instant::now();
        let alone = self.failed.lock().await;
        if self.open.load(Ordering::Acquire) {
            return Ok(through);
        }
        match &*alone {
            Some((at, failure)) if *at > asked => Err(failure.clone()),
            _ => Ok(Turn { gate: self, alone: Some(alone) }),
        }
    }
}

impl Turn<'_> {
    /// The host has answered: let the others go.
    pub(super) fn open(&mut self) {
        self.gate.open.store(true, Ordering::Release);
        self.alone = None;
    }

    /// How it ended, for those who wait.
    pub(super) fn end<T>(self, answer: &Result<T, Failure>) {
        if let (Some(mut alone), Err(failure)) = (self.alone, answer) {
            *alone = Some((Instant::now(), failure.clone()));
        }
    }
}
