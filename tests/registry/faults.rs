//! Scripted faults: which requests they hit, and what they do to them.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;

/// Which of the matching requests are meant; the first one is 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Nth {
    /// All of them.
    #[default]
    Every,
    /// This one alone.
    Only(u64),
    /// The first so many.
    First(u64),
    /// This one and all that follow.
    From(u64),
}

impl Nth {
    /// Whether the `n`th match is meant.
    pub fn hits(self, n: u64) -> bool {
        match self {
            Self::Every => true,
            Self::Only(k) => n == k,
            Self::First(k) => n <= k,
            Self::From(k) => n >= k,
        }
    }
}

/// `2`, `<=2`, `>=2` or `*`.
impl FromStr for Nth {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |n: &str| n.parse::<u64>().map_err(|_| format!("{text}: n, <=n, >=n or *"));
        match text {
            "*" => Ok(Self::Every),
            _ if text.starts_with("<=") => number(&text[2..]).map(Self::First),
            _ if text.starts_with(">=") => number(&text[2..]).map(Self::From),
            _ => number(text).map(Self::Only),
        }
    }
}

/// What happens to a request or its answer.
#[derive(Clone, Debug)]
pub enum Action {
    /// An error document with this status and code.
    Status { status: u16, code: String, retry_after: Option<String> },
    /// Exactly this answer.
    Answer { status: u16, content_type: String, body: Bytes },
    /// The full length is announced; the connection closes after so many bytes of the body.
    Truncate(usize),
    /// A well-formed answer that holds only so many bytes of the body.
    Shorten(usize),
    /// TCP reset after so many bytes of the answer, headers included; 0: no answer.
    Reset(u64),
    /// TCP reset after so many bytes of the request's body were read.
    ResetRequest(usize),
    /// One bit of the body is flipped.
    WrongBytes,
    /// After the body, blanks follow for ever.
    Endless,
    /// The answer waits.
    Delay(Duration),
    /// The request waits, before anything is done, until the gate opens.
    Hold(Arc<Gate>),
    /// A header is set, or taken away.
    Header { name: String, value: Option<String> },
    /// 307 to this address.
    Redirect(String),
}

/// A scripted fault. It counts the requests that match from the moment it is installed.
#[derive(Clone, Debug)]
pub struct Fault {
    method: String,
    path: String,
    nth: Nth,
    performed: bool,
    early: bool,
    action: Action,
    seen: u64,
}

/// What a fault does to one request.
#[derive(Clone, Debug)]
pub struct Hit {
    pub action: Action,
    /// The request takes effect all the same.
    pub performed: bool,
    /// The answer comes before the request's body was read.
    pub early: bool,
}

impl Fault {
    /// For requests by method (`*`: any) and a glob over path and query: `*` stands for any text, so
    /// `/v2/a/*` is a prefix. Without a further word the answer is 500.
    pub fn on(method: &str, path: &str) -> Self {
        Self {
            method: method.into(),
            path: path.into(),
            nth: Nth::Every,
            performed: false,
            early: false,
            action: Action::Status { status: 500, code: "UNKNOWN".into(), retry_after: None },
            seen: 0,
        }
    }

    /// For the `n`th request of all, counted from now.
    pub fn at(n: u64) -> Self {
        Self::on("*", "*").nth(Nth::Only(n))
    }

    /// Restricts the fault to some of the matching requests.
    pub fn nth(mut self, nth: Nth) -> Self {
        self.nth = nth;
        self
    }

    /// The request takes effect although its answer says otherwise; a delay or gate stands before the answer only.
    pub fn performed(mut self) -> Self {
        self.performed = true;
        self
    }

    /// The answer comes, and the connection closes, before the request's body was read.
    pub fn early(mut self) -> Self {
        self.early = true;
        self
    }

    /// An error document with this status and the usual code for it.
    pub fn status(self, status: u16) -> Self {
        let code = match status {
            401 => "UNAUTHORIZED",
            403 => "DENIED",
            404 => "MANIFEST_UNKNOWN",
            405 => "UNSUPPORTED",
            429 => "TOOMANYREQUESTS",
            _ => "UNKNOWN",
        };
        self.action(Action::Status { status, code: code.into(), retry_after: None })
    }

    /// 429 with `Retry-After`: seconds, or an HTTP date.
    pub fn too_many(self, retry_after: &str) -> Self {
        let retry_after = Some(retry_after.into());
        self.action(Action::Status { status: 429, code: "TOOMANYREQUESTS".into(), retry_after })
    }

    /// Any other action.
    pub fn action(mut self, action: Action) -> Self {
        self.action = action;
        self
    }

    /// Counts the request, and says what happens to it.
    pub fn hit(&mut self, method: &str, path: &str) -> Option<Hit> {
        if (self.method != "*" && !self.method.eq_ignore_ascii_case(method)) || !glob(&self.path, path) {
            return None;
        }
        self.seen += 1;
        let hit = Hit { action: self.action.clone(), performed: self.performed, early: self.early };
        self.nth.hits(self.seen).then_some(hit)
    }
}

/// `METHOD GLOB [#n | #<=n | #>=n] [performed] [early] ACTION`, where the action is `status=503`,
/// `too-many=2`, `truncate=9`, `shorten=9`, `reset=0`, `reset-request=9`, `wrong-bytes`, `endless`,
/// `delay=250` (milliseconds) or `redirect=http://...`.
impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let (Some(method), Some(path)) = (words.next(), words.next()) else {
            return Err(format!("{text}: METHOD GLOB ACTION"));
        };
        words.try_fold(Self::on(method, path), |fault, word| fault.word(word))
    }
}

impl Fault {
    fn word(self, word: &str) -> Result<Self, String> {
        if let Some(nth) = word.strip_prefix('#') {
            return Ok(self.nth(nth.parse()?));
        }
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let number = || value.parse::<u64>().map_err(|_| format!("{word}: needs a number"));
        let size = || number().map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        Ok(match name {
            "performed" => self.performed(),
            "early" => self.early(),
            "status" => self.status(value.parse().map_err(|_| format!("{word}: needs a status"))?),
            "too-many" => self.too_many(value),
            "truncate" => self.action(Action::Truncate(size()?)),
            "shorten" => self.action(Action::Shorten(size()?)),
            "reset" => self.action(Action::Reset(number()?)),
            "reset-request" => self.action(Action::ResetRequest(size()?)),
            "wrong-bytes" => self.action(Action::WrongBytes),
            "endless" => self.action(Action::Endless),
            "delay" => self.action(Action::Delay(Duration::from_millis(number()?))),
            "redirect" => self.action(Action::Redirect(value.into())),
            _ => return Err(format!("unknown fault {word}")),
        })
    }
}

/// Holds requests, so that a test can act while one is on its way.
#[derive(Debug)]
pub struct Gate {
    arrived: Semaphore,
    open: Semaphore,
}

impl Default for Gate {
    fn default() -> Self {
        Self { arrived: Semaphore::new(0), open: Semaphore::new(0) }
    }
}

impl Gate {
    /// Returns when a request (one more than at the last call) waits at the gate.
    pub async fn arrived(&self) {
        if let Ok(permit) = self.arrived.acquire().await {
            permit.forget();
        }
    }

    /// Lets all requests through, now and later.
    pub fn open(&self) {
        self.open.close();
    }

    /// Waits at the gate.
    pub async fn pass(&self) {
        self.arrived.add_permits(1);
        let _closed = self.open.acquire().await;
    }
}

/// Whether `text` matches `pattern`, in which `*` stands for any text.
pub fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|head| text.strip_prefix(head)) else { return false };
    let mut last = None;
    for part in parts {
        if let Some(middle) = last.replace(part) {
            let Some(at) = rest.find(middle) else { return false };
            rest = &rest[at + middle.len()..];
        }
    }
    last.map_or(rest.is_empty(), |tail| rest.ends_with(tail))
}
