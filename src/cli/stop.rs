//! SIGTERM and SIGINT, for a command that runs until somebody says stop.

use std::io;

use tokio::sync::watch;

/// How often this process was told to stop.
#[derive(Debug, Clone)]
pub(super) struct Stop(watch::Receiver<u32>);

impl Stop {
    /// Listen from now on; the signals no longer end the process by themselves. Inside a runtime only.
    ///
    /// # Errors
    /// The system does not let this process listen.
    pub(super) fn listen() -> io::Result<Self> {
        let (said, heard) = watch::channel(0);
        let mut signals = Signals::new()?;
        tokio::spawn(async move {
            loop {
                signals.next().await;
                said.send_modify(|times: &mut u32| *times = times.saturating_add(1));
            }
        });
        Ok(Self(heard))
    }

    /// Wait until it was said this many times.
    pub(super) async fn said(&self, times: u32) {
        // The other end lives as long as the runtime.
        let _ = self.0.clone().wait_for(|said| *said >= times).await;
    }
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}
