//! A schedule: every store call of every process waits for its turn, turns come in the order of a clock that the schedule moves,
//! and a process may die before or after any call. One seed, one order.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bulla::time::{Clock, UnixTime};
use tokio::sync::{Notify, oneshot};
use tokio::task::{AbortHandle, spawn_local, yield_now};

use crate::states::world::Rng;

/// What a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// A process begins something; nobody dies here.
    Start,
    /// Reads, blobs, bundles, seals: whatever may take its time.
    Other,
    /// A submission or a tag: it lands within the time limit, or never.
    Put,
    /// The state.
    PutState,
}

/// How the schedule treats processes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Habits {
    /// In ten thousand calls: the process dies.
    pub(super) crash: u64,
    /// In ten thousand calls: it sleeps, up to two hours.
    pub(super) sleep: u64,
    /// Seconds, at most, between two things that a process does.
    pub(super) gap: i64,
    /// The first state that this process PUTs takes minutes.
    pub(super) held: Option<usize>,
}

/// Seconds within which a PUT lands: bulla gives up then.
const PUT_TIMEOUT: i64 = 300;

/// The time of the schedule, for a process whose clock is wrong by so much.
#[derive(Debug, Clone)]
pub(super) struct Time(Arc<AtomicI64>, i64);

impl Clock for Time {
    fn now(&self) -> UnixTime {
        UnixTime::from_secs(self.0.load(Ordering::SeqCst) / 1000 + self.1)
    }
}

/// A call that waits for its turn.
struct Waiting {
    process: usize,
    call: Call,
    turn: oneshot::Sender<Turn>,
}

/// A turn: whoever drops `go_on` lets the process die, once it says that it is done.
struct Turn {
    done: oneshot::Sender<()>,
    go_on: oneshot::Receiver<()>,
}

/// What the wrappers of stores share with the schedule.
pub(super) struct Gate {
    shared: Mutex<Shared>,
    moved: Notify,
    millis: Arc<AtomicI64>,
}

struct Shared {
    rng: Rng,
    habits: Habits,
    waiting: BTreeMap<(i64, u64), Waiting>,
    next: u64,
}

/// Processes by number.
#[derive(Default)]
struct Running {
    handles: BTreeMap<usize, AbortHandle>,
    /// What to do when one dies: begin anew with what is left.
    again: BTreeMap<usize, Rc<dyn Fn()>>,
}

/// The schedule of one run.
pub(super) struct Schedule {
    pub(super) gate: Arc<Gate>,
    running: RefCell<Running>,
    /// Calls, and processes that died.
    pub(super) calls: RefCell<u64>,
    pub(super) crashes: RefCell<u64>,
}

impl Gate {
    fn shared(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Random numbers of the run.
    pub(super) fn below(&self, n: usize) -> usize {
        self.shared().rng.below(n)
    }

    pub(super) fn percent(&self, n: u64) -> bool {
        self.shared().rng.percent(n)
    }

    /// Seconds since 1970 as the schedule has it.
    pub(super) fn now(&self) -> i64 {
        self.millis.load(Ordering::SeqCst) / 1000
    }

    /// Do one thing in turn.
    pub(super) async fn pass<T>(&self, process: usize, call: Call, work: impl Future<Output = T>) -> T {
        let (turn, granted) = oneshot::channel();
        {
            let mut shared = self.shared();
            let at = self.millis.load(Ordering::SeqCst) + shared.delay(process, call);
            let tie = shared.next;
            shared.next += 1;
            shared.waiting.insert((at, tie), Waiting { process, call, turn });
        }
        self.moved.notify_one();
        let Ok(turn) = granted.await else { std::future::pending().await };
        let out = work.await;
        let _ = turn.done.send(());
        if turn.go_on.await.is_err() {
            // It dies: what was done is done, and nobody learns of it.
            std::future::pending::<()>().await;
        }
        out
    }
}

impl Shared {
    /// Milliseconds until a call has its turn.
    fn delay(&mut self, process: usize, call: Call) -> i64 {
        let rng = &mut self.rng;
        let asleep = rng.next() % 10_000 < self.habits.sleep;
        let seconds = |rng: &mut Rng, n: i64| (rng.next() % (n as u64 * 1000 + 1)) as i64;
        // Half a second on average, and now and then several.
        let usual = |rng: &mut Rng| (0..3).map(|_| (rng.next() % 600) as i64).min().unwrap_or(0) * 3;
        match call {
            Call::Start if rng.percent(70) => seconds(rng, self.habits.gap),
            Call::Start => seconds(rng, 3),
            Call::PutState if self.habits.held == Some(process) => {
                self.habits.held = None;
                PUT_TIMEOUT * 500 + seconds(rng, PUT_TIMEOUT / 2)
            }
            Call::PutState | Call::Put if asleep => seconds(rng, PUT_TIMEOUT),
            Call::Other if asleep => seconds(rng, 7200),
            _ => usual(rng),
        }
    }
}

impl Schedule {
    pub(super) fn new(seed: u64, start: i64, habits: Habits) -> Rc<Self> {
        let shared = Shared { rng: Rng::new(seed), habits, waiting: BTreeMap::new(), next: 0 };
        Rc::new(Self {
            gate: Arc::new(Gate {
                shared: Mutex::new(shared),
                moved: Notify::new(),
                millis: Arc::new(AtomicI64::new(start * 1000)),
            }),
            running: RefCell::default(),
            calls: RefCell::default(),
            crashes: RefCell::default(),
        })
    }

    /// A clock that is wrong by so many seconds.
    pub(super) fn clock(&self, skew: i64) -> Time {
        Time(self.gate.millis.clone(), skew)
    }

    /// From now on nobody dies or falls asleep.
    pub(super) fn calm(&self) {
        let habits = &mut self.gate.shared().habits;
        (habits.crash, habits.sleep, habits.gap) = (0, 0, 3);
    }

    pub(super) fn forward(&self, seconds: i64) {
        self.gate.millis.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    /// Run `process`, made anew by `make` after it died in half of the cases.
    pub(super) fn spawn<F>(self: &Rc<Self>, process: usize, make: impl Fn() -> F + 'static)
    where
        F: Future<Output = ()> + 'static,
    {
        let schedule = Rc::downgrade(self);
        let make = Rc::new(make);
        let start: Rc<dyn Fn()> = Rc::new(move || {
            let Some(schedule) = schedule.upgrade() else { return };
            let work = make();
            let gate = schedule.gate.clone();
            let ended = Rc::downgrade(&schedule);
            let handle = spawn_local(async move {
                work.await;
                if let Some(schedule) = ended.upgrade() {
                    schedule.running.borrow_mut().handles.remove(&process);
                }
                gate.moved.notify_one();
            });
            schedule.running.borrow_mut().handles.insert(process, handle.abort_handle());
        });
        self.running.borrow_mut().again.insert(process, start.clone());
        start();
    }

    /// Until every process has ended, one call at a time.
    pub(super) async fn run(self: &Rc<Self>) {
        loop {
            // Whoever had its turn goes on to its next call.
            for _ in 0..4 {
                yield_now().await;
            }
            let next = self.gate.shared().waiting.pop_first();
            let Some(((at, _), waiting)) = next else {
                if self.running.borrow().handles.is_empty() {
                    return;
                }
                self.gate.moved.notified().await;
                continue;
            };
            self.gate.millis.fetch_max(at, Ordering::SeqCst);
            *self.calls.borrow_mut() += 1;
            let (dies, after) = {
                let mut shared = self.gate.shared();
                let dies = waiting.call != Call::Start && shared.rng.next() % 10_000 < shared.habits.crash;
                (dies, dies && shared.rng.percent(50))
            };
            if !dies || after {
                let (done, is_done) = oneshot::channel();
                let (go_on, may_go_on) = oneshot::channel();
                // One that was dropped since waits for nothing.
                if waiting.turn.send(Turn { done, go_on: may_go_on }).is_ok()
                    && is_done.await.is_ok()
                    && !after
                {
                    let _ = go_on.send(());
                }
            }
            if dies {
                self.kill(waiting.process);
            }
        }
    }

    fn kill(self: &Rc<Self>, process: usize) {
        *self.crashes.borrow_mut() += 1;
        let handle = self.running.borrow_mut().handles.remove(&process);
        handle.inspect(AbortHandle::abort);
        self.gate.shared().waiting.retain(|_, w| w.process != process);
        let again = self.running.borrow().again.get(&process).cloned();
        if let Some(again) = again.filter(|_| self.gate.percent(50)) {
            again();
        }
    }
}
