//! The list of requests, and how many of them waited for one another.

use std::fmt;

/// Which listener was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// The registry.
    Main,
    /// The second host and port: redirected blobs, foreign uploads, a foreign token realm.
    Second,
}

/// One request, from the arrival of its head to the last byte of its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Position since the last `clear`, from 1.
    pub number: usize,
    /// Who was asked.
    pub listener: Listener,
    /// Which connection carried it; connections count from 1.
    pub connection: u64,
    /// `GET`, `HEAD`, ...
    pub method: String,
    /// Path and query as sent.
    pub path: String,
    /// The scheme in `Authorization`: `basic`, `bearer`.
    pub authorization: Option<String>,
    /// Bytes of the request's body.
    pub sent: usize,
    /// Bytes of the answer's body that were handed to the connection.
    pub answered: usize,
    /// The answer's status; none while it is on its way, or when the connection was reset.
    pub status: Option<u16>,
    /// Tick of the arrival.
    started: u64,
    /// Tick of the end of the answer.
    finished: Option<u64>,
}

impl Request {
    /// Whether this request arrived after the answer to `other` was complete.
    pub fn after(&self, other: &Self) -> bool {
        other.finished.is_some_and(|end| end < self.started)
    }

    /// Whether method and path match; the method may be `*`, the path is a glob.
    pub fn is(&self, method: &str, path: &str) -> bool {
        (method == "*" || self.method == method) && super::faults::glob(path, &self.path)
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>4} {} {} -> ", self.number, self.method, self.path)?;
        match self.status {
            Some(status) => write!(f, "{status}"),
            None => f.write_str("no answer"),
        }
    }
}

/// The longest chain of requests of which each began after the answer to the one before.
///
/// On loopback an answer is often complete before a request that did not wait for it arrives: give
/// the registry a latency of some 20 ms to make the figure mean something.
pub fn round_trips(requests: &[Request]) -> usize {
    let mut depth = vec![0_usize; requests.len()];
    let mut order: Vec<usize> = (0..requests.len()).collect();
    order.sort_by_key(|&i| requests[i].started);
    for (at, &i) in order.iter().enumerate() {
        let before = order[..at].iter().filter(|&&j| requests[i].after(&requests[j]));
        depth[i] = 1 + before.map(|&j| depth[j]).max().unwrap_or(0);
    }
    depth.into_iter().max().unwrap_or(0)
}

/// The most requests that were on their way at one time: arrived, and their answers not complete.
pub fn peak<'a>(requests: impl Iterator<Item = &'a Request>) -> usize {
    let mut ticks = Vec::new();
    for request in requests {
        ticks.push((request.started, 1_isize));
        ticks.extend(request.finished.map(|end| (end, -1)));
    }
    ticks.sort_unstable();
    let now = ticks.iter().scan(0, |now, (_, step)| {
        *now += step;
        Some(*now)
    });
    usize::try_from(now.max().unwrap_or(0)).unwrap_or(0)
}

/// The log; `clear` starts a new one, and answers that belong to the old one are forgotten.
#[derive(Debug, Default)]
pub struct Record {
    generation: u64,
    ticks: u64,
    list: Vec<Request>,
}

/// Names one request of one log.
#[derive(Clone, Copy, Debug)]
pub struct Ticket {
    generation: u64,
    index: usize,
}

impl Record {
    /// Notes the arrival of a request.
    pub fn begin(&mut self, mut request: Request) -> Ticket {
        self.ticks += 1;
        request.started = self.ticks;
        request.number = self.list.len() + 1;
        self.list.push(request);
        Ticket { generation: self.generation, index: self.list.len() - 1 }
    }

    /// Notes the size of the request's body.
    pub fn received(&mut self, ticket: Ticket, sent: usize) {
        if let Some(request) = self.get(ticket) {
            request.sent = sent;
        }
    }

    /// Notes the status.
    pub fn answered(&mut self, ticket: Ticket, status: u16) {
        if let Some(request) = self.get(ticket) {
            request.status = Some(status);
        }
    }

    /// Notes so many more bytes of the answer.
    pub fn handed(&mut self, ticket: Ticket, bytes: usize) {
        if let Some(request) = self.get(ticket) {
            request.answered += bytes;
        }
    }

    /// Notes the end of the answer.
    pub fn end(&mut self, ticket: Ticket) {
        self.ticks += 1;
        let tick = self.ticks;
        if let Some(request) = self.get(ticket) {
            request.finished.get_or_insert(tick);
        }
    }

    /// How many requests are on their way.
    pub fn in_flight(&self) -> usize {
        self.list.iter().filter(|r| r.finished.is_none()).count()
    }

    /// All requests since the last `clear`.
    pub fn list(&self) -> &[Request] {
        &self.list
    }

    /// One request.
    pub fn request(&mut self, ticket: Ticket) -> Option<Request> {
        self.get(ticket).cloned()
    }

    /// Starts a new log.
    pub fn clear(&mut self) {
        self.generation += 1;
        self.list.clear();
    }

    fn get(&mut self, ticket: Ticket) -> Option<&mut Request> {
        (ticket.generation == self.generation).then_some(())?;
        self.list.get_mut(ticket.index)
    }
}

/// A request as it arrives.
pub fn arrival(
    listener: Listener,
    connection: u64,
    method: &str,
    path: &str,
    authorization: Option<String>,
) -> Request {
    Request {
        number: 0,
        listener,
        connection,
        method: method.into(),
        path: path.into(),
        authorization,
        sent: 0,
        answered: 0,
        status: None,
        started: 0,
        finished: None,
    }
}
