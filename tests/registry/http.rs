//! From an accepted connection to an answer: recording, faults, the token endpoint, dispatch.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper::{Response, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::auth::{self, Auth, Tokens};
use super::call::{Call, Route, pairs};
use super::faults::{Action, Hit};
use super::quirks::Quirks;
use super::record::{Listener, Record, Ticket, arrival};
use super::reply::Reply;
use super::script::Script;
use super::state::State;
use super::wire::{Cut, Watched, Wire, full};
use super::{answer, blobs, control, lock};

/// Everything that requests share.
#[derive(Debug, Default)]
pub struct Inner {
    pub state: State,
    pub script: Script,
    pub quirks: Quirks,
    pub auth: Auth,
    pub tokens: Tokens,
}

/// The server, shared by its listeners.
#[derive(Debug)]
pub struct Server {
    pub inner: Mutex<Inner>,
    pub record: Arc<Mutex<Record>>,
    /// `http://127.0.0.1:5000`
    pub base: String,
    /// The same of the second listener.
    pub second: String,
    pub connections: AtomicU64,
    /// The quirk of this name, where connections see it without a lock.
    pub rate: Arc<AtomicU64>,
}

impl Server {
    /// Changes the quirks.
    pub fn change<T>(&self, change: impl FnOnce(&mut Quirks) -> T) -> T {
        let mut inner = lock(&self.inner);
        let result = change(&mut inner.quirks);
        self.rate.store(inner.quirks.rate, Ordering::SeqCst);
        result
    }
}

type Parts = hyper::http::request::Parts;

/// Accepts until the task is dropped, and with it all connections.
pub async fn accept(server: Arc<Server>, listener: TcpListener, side: Listener, tls: Option<TlsAcceptor>) {
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((tcp, _)) = accepted else { continue };
                let _ = tcp.set_nodelay(true);
                let cut = Arc::new(Cut::new(server.rate.clone()));
                let wire = Wire::new(tcp, cut.clone());
                let number = server.connections.fetch_add(1, Ordering::SeqCst) + 1;
                let connection = Connection { server: server.clone(), side, number, cut };
                let tls = tls.clone();
                running.spawn(async move {
                    match tls {
                        None => connection.serve(wire).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(wire).await {
                                connection.serve(stream).await;
                            }
                        }
                    }
                });
            }
            Some(_) = running.join_next(), if !running.is_empty() => {}
        }
    }
}

/// One connection.
#[derive(Clone, Debug)]
struct Connection {
    server: Arc<Server>,
    side: Listener,
    number: u64,
    cut: Arc<Cut>,
}

impl Connection {
    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let service = service_fn(move |request| {
            let connection = self.clone();
            async move { connection.request(request).await }
        });
        let builder = auto::Builder::new(TokioExecutor::new());
        // Clients that go away are the normal case here.
        let _ = builder.serve_connection(TokioIo::new(stream), service).await;
    }

    async fn request(&self, request: hyper::Request<Incoming>) -> io::Result<Response<Watched>> {
        let (parts, mut body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
        let method = parts.method.as_str();
        if let Some(what) = parts.uri.path().strip_prefix("/_test/") {
            let (received, _) = receive(&mut body, None).await;
            let reply = control::answer(&self.server, method, what, &received);
            let length = reply.body.len();
            return Ok(answer::plain(reply, Some(length), |body| Watched::new(full(body), None)));
        }
        let scheme = parts.headers.get(header::AUTHORIZATION).map(|v| {
            let text = String::from_utf8_lossy(v.as_bytes()).to_ascii_lowercase();
            text.split(' ').next().unwrap_or_default().to_owned()
        });
        let ticket = lock(&self.server.record).begin(arrival(self.side, self.number, method, &path, scheme));
        let mut watch = Ended { server: &self.server, ticket: Some(ticket) };
        let (hits, latency, most) = {
            let mut inner = lock(&self.server.inner);
            let hits = inner.script.hits(method, &path);
            (hits, inner.quirks.latency_ms, inner.quirks.in_flight_max)
        };
        let crowded = most.is_some_and(|most| lock(&self.server.record).in_flight() > most);
        tokio::time::sleep(Duration::from_millis(latency)).await;
        if crowded {
            let (received, _) = receive(&mut body, None).await;
            lock(&self.server.record).received(ticket, received.len());
            let reply = Reply::error(429, "TOOMANYREQUESTS", "too many at a time").with("retry-after", "0");
            let reply = self.conclude(ticket, &parts, None, Some(reply));
            watch.ticket = None;
            return Ok(self.respond(ticket, &parts, &[], reply));
        }
        pause(&hits, false).await;

        let instead = answer::scripted(&hits);
        if let Some((reply, _)) = instead.as_ref().filter(|(_, hit)| hit.early) {
            let reply = self.conclude(ticket, &parts, None, Some(reply.clone()));
            watch.ticket = None;
            return Ok(self.respond(ticket, &parts, &hits, reply));
        }
        let limit = hits.iter().find_map(|hit| match hit.action {
            Action::ResetRequest(bytes) => Some(bytes),
            _ => None,
        });
        let (received, whole) = receive(&mut body, limit).await;
        lock(&self.server.record).received(ticket, received.len());
        if !whole {
            self.keep(&parts, received);
            return Err(self.reset());
        }
        let silent = hits.iter().find(|hit| matches!(hit.action, Action::Reset(0)));
        if silent.is_some_and(|hit| !hit.performed) {
            return Err(self.reset());
        }
        let performed = instead.as_ref().is_none_or(|(_, hit)| hit.performed);
        let reply =
            self.conclude(ticket, &parts, performed.then_some(received), instead.map(|(reply, _)| reply));
        if silent.is_some() {
            return Err(self.reset());
        }
        pause(&hits, true).await;
        watch.ticket = None;
        Ok(self.respond(ticket, &parts, &hits, reply))
    }

    /// Performs the request when its body is given, and calls the hook in the same step, so that
    /// nobody comes between; a reply that is given is the answer all the same.
    fn conclude(&self, ticket: Ticket, parts: &Parts, body: Option<Bytes>, instead: Option<Reply>) -> Reply {
        let mut inner = lock(&self.server.inner);
        let performed = body.map(|body| self.perform(&mut inner, parts, body));
        let reply = instead.or(performed).unwrap_or_else(Reply::not_found);
        let request = {
            let mut record = lock(&self.server.record);
            record.answered(ticket, reply.status);
            record.request(ticket)
        };
        if let (Some(hook), Some(request)) = (inner.script.hook.clone(), request) {
            hook(&request, &mut inner.state);
        }
        reply
    }

    /// Lets the endpoint answer.
    fn perform(&self, inner: &mut Inner, parts: &Parts, body: Bytes) -> Reply {
        let Inner { state, script, quirks, auth, tokens } = inner;
        let mut call = self.call(state, script, quirks, parts, body);
        let path = parts.uri.path();
        if path == "/token" {
            return auth::token(auth, tokens, quirks, &call);
        }
        if self.side == Listener::Second {
            return second(&mut call, path);
        }
        let route = Route::parse(path);
        match auth::check(auth, tokens, &route, &call) {
            Ok(()) => route.answer(&mut call),
            Err(refusal) => refusal,
        }
    }

    fn respond(&self, ticket: Ticket, parts: &Parts, hits: &[Hit], reply: Reply) -> Response<Watched> {
        let quirks = lock(&self.server.inner).quirks.clone();
        let watch = Some((ticket, self.server.record.clone()));
        answer::respond(&quirks, hits, &self.cut, parts.method == "HEAD", reply, watch)
    }

    fn reset(&self) -> io::Error {
        self.cut.after(0);
        io::ErrorKind::ConnectionReset.into()
    }

    /// Keeps the part of a PATCH that arrived before the connection broke.
    fn keep(&self, parts: &Parts, body: Bytes) {
        let mut inner = lock(&self.server.inner);
        let Inner { state, script, quirks, .. } = &mut *inner;
        let mut call = self.call(state, script, quirks, parts, body);
        match (Route::parse(parts.uri.path()), call.method) {
            (Route::Upload(_, id), _) if call.quirks.breaks_end_sessions => {
                call.state.uploads.remove(&id);
            }
            (Route::Upload(repo, id), "PATCH") => blobs::keep(&mut call, &repo, &id),
            _ => {}
        }
    }

    fn call<'a>(
        &'a self,
        state: &'a mut State,
        script: &'a mut Script,
        quirks: &'a Quirks,
        parts: &'a Parts,
        body: Bytes,
    ) -> Call<'a> {
        Call {
            state,
            script,
            quirks,
            base: &self.server.base,
            second: &self.server.second,
            method: parts.method.as_str(),
            query: pairs(parts.uri.query().unwrap_or_default()),
            headers: &parts.headers,
            body,
        }
    }
}

/// Waits as the hits say, before a request is performed or after it.
async fn pause(hits: &[Hit], performed: bool) {
    for hit in hits.iter().filter(|hit| hit.performed == performed) {
        match &hit.action {
            Action::Delay(time) => tokio::time::sleep(*time).await,
            Action::Hold(gate) => gate.pass().await,
            _ => {}
        }
    }
}

/// Notes the end of requests that get no answer.
struct Ended<'a> {
    server: &'a Server,
    ticket: Option<Ticket>,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            lock(&self.server.record).end(ticket);
        }
    }
}

/// The second listener: signed blob addresses and uploads, both without credentials.
fn second(call: &mut Call<'_>, path: &str) -> Reply {
    if call.header("authorization").is_some() {
        return Reply::new(400).with("content-type", "application/xml").body(
            "<Error><Code>InvalidArgument</Code><Message>Only one auth mechanism allowed</Message></Error>",
        );
    }
    if let Some((repo, digest)) = path.strip_prefix("/store/").and_then(|rest| rest.rsplit_once('/')) {
        return match call.state.blob(repo, digest, call.quirks.blobs_global) {
            Some(blob) if call.query("signature") == Some("a/b+c") => blobs::content(call, digest, blob),
            Some(_) => Reply::new(403).body("the signature is wrong"),
            None => Reply::new(404),
        };
    }
    match Route::parse(path) {
        route @ Route::Upload(..) => route.answer(call),
        _ => Reply::not_found(),
    }
}

/// Reads a body, up to a limit at which the connection is to break; `false` when it is not whole.
async fn receive(body: &mut Incoming, limit: Option<usize>) -> (Bytes, bool) {
    let expected = body.size_hint().exact().unwrap_or(0).min(1 << 28);
    let mut data = Vec::with_capacity(usize::try_from(expected).unwrap_or(0));
    if limit == Some(0) {
        return (Bytes::new(), false);
    }
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return (data.into(), false) };
        let Some(chunk) = frame.data_ref() else { continue };
        data.extend_from_slice(chunk);
        if let Some(limit) = limit.filter(|limit| data.len() >= *limit) {
            data.truncate(limit);
            return (data.into(), false);
        }
    }
    (data.into(), true)
}
