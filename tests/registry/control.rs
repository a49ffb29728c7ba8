//! `/_test/...`: what a test in another process may ask of the registry. Not recorded, never refused.

use serde_json::{Value, json};

use super::faults::Fault;
use super::http::Server;
use super::lock;
use super::record::{Request, round_trips};
use super::reply::Reply;
use super::script::{LostUpdate, Script};

/// Answers `GET /_test/requests` (JSON), `GET /_test/log` (text), `GET /_test/counts`, and `POST` to
/// `clear`, `behave`, `quirks` (a list as on the command line), `fault` and `lose` (one each, see
/// [`Fault`] and [`LostUpdate`] as text), `revoke-tokens`.
pub fn answer(server: &Server, method: &str, what: &str, body: &[u8]) -> Reply {
    let text = String::from_utf8_lossy(body);
    let done = |result: Result<(), String>| match result {
        Ok(()) => Reply::new(204),
        Err(why) => Reply::new(400).with("content-type", "text/plain").body(why),
    };
    match (method, what) {
        ("GET", "requests") => {
            let list: Vec<Value> = lock(&server.record).list().iter().map(document).collect();
            Reply::json(200, &list.into())
        }
        ("GET", "log") => {
            let lines: String = lock(&server.record).list().iter().map(|r| format!("{r}\n")).collect();
            Reply::new(200).with("content-type", "text/plain").body(lines)
        }
        ("GET", "counts") => Reply::json(200, &counts(server)),
        ("POST", "clear") => {
            lock(&server.record).clear();
            Reply::new(204)
        }
        ("POST", "behave") => {
            lock(&server.inner).script = Script::default();
            Reply::new(204)
        }
        ("POST", "revoke-tokens") => {
            lock(&server.inner).tokens.revoke();
            Reply::new(204)
        }
        ("POST", "quirks") => done(server.change(|quirks| quirks.apply(&text))),
        ("POST", "fault") => {
            done(text.parse::<Fault>().map(|fault| lock(&server.inner).script.faults.push(fault)))
        }
        ("POST", "lose") => {
            done(text.parse::<LostUpdate>().map(|lost| lock(&server.inner).script.lost.push(lost)))
        }
        _ => Reply::not_found(),
    }
}

fn counts(server: &Server) -> Value {
    let (requests, trips) = {
        let record = lock(&server.record);
        (record.list().len(), round_trips(record.list()))
    };
    let inner = lock(&server.inner);
    json!({
        "requests": requests,
        "roundTrips": trips,
        "tokens": inner.tokens.issued(),
        "overwrites": inner.script.overwrites(),
    })
}

fn document(request: &Request) -> Value {
    json!({
        "number": request.number,
        "connection": request.connection,
        "method": request.method,
        "path": request.path,
        "authorization": request.authorization,
        "sent": request.sent,
        "answered": request.answered,
        "status": request.status,
    })
}
