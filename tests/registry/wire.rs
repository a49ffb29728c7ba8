//! Bytes on the wire: connections that can be cut, and bodies that end too early, or never.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::record::{Record, Ticket};

/// The type of all answers' bodies.
pub type Outgoing = BoxBody<Bytes, io::Error>;

/// Lets a request handler cut its connection.
#[derive(Debug)]
pub struct Cut {
    left: AtomicU64,
    reset: AtomicBool,
    /// Bytes per second in each direction, shared by all connections; 0: no limit.
    rate: Arc<AtomicU64>,
}

impl Cut {
    /// A connection that is not cut, at a rate that may change.
    pub fn new(rate: Arc<AtomicU64>) -> Self {
        Self { left: AtomicU64::new(u64::MAX), reset: AtomicBool::new(false), rate }
    }

    /// The connection is reset (RST, not FIN) after so many more bytes were written.
    pub fn after(&self, bytes: u64) {
        self.reset.store(true, Ordering::SeqCst);
        self.left.store(bytes, Ordering::SeqCst);
    }
}

/// A TCP connection that obeys a `Cut`.
#[derive(Debug)]
pub struct Wire {
    tcp: TcpStream,
    cut: Arc<Cut>,
    reading: Pace,
    writing: Pace,
}

/// The pause after a piece, at a limited rate.
#[derive(Debug, Default)]
struct Pace(Option<Pin<Box<Sleep>>>);

impl Pace {
    /// Waits for the end of the pause, and says how many bytes may move next.
    fn poll(&mut self, cx: &mut Context<'_>, rate: u64) -> Poll<usize> {
        if let Some(pause) = &mut self.0 {
            ready!(pause.as_mut().poll(cx));
            self.0 = None;
        }
        // A hundredth of a second's worth at a time.
        Poll::Ready(if rate == 0 {
            usize::MAX
        } else {
            usize::try_from(rate / 100).unwrap_or(usize::MAX).max(1)
        })
    }

    fn moved(&mut self, bytes: usize, rate: u64) {
        if rate > 0 && bytes > 0 {
            let micros = (bytes as u64).saturating_mul(1_000_000) / rate;
            self.0 = Some(Box::pin(tokio::time::sleep(Duration::from_micros(micros))));
        }
    }
}

impl Wire {
    /// Wraps a connection.
    pub fn new(tcp: TcpStream, cut: Arc<Cut>) -> Self {
        Self { tcp, cut, reading: Pace::default(), writing: Pace::default() }
    }

    /// How many of these bytes may still go out.
    fn allowed(&self, wanted: usize) -> io::Result<usize> {
        match self.cut.left.load(Ordering::SeqCst) {
            u64::MAX => Ok(wanted),
            0 => Err(io::ErrorKind::ConnectionReset.into()),
            left => Ok(wanted.min(usize::try_from(left).unwrap_or(usize::MAX))),
        }
    }

    fn rate(&self) -> u64 {
        self.cut.rate.load(Ordering::SeqCst)
    }

    fn wrote(&mut self, n: usize, rate: u64) {
        if self.cut.left.load(Ordering::SeqCst) != u64::MAX {
            self.cut.left.fetch_sub(n as u64, Ordering::SeqCst);
        }
        self.writing.moved(n, rate);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.cut.reset.load(Ordering::SeqCst) {
            // Failure leaves an ordinary close, which the client sees as an end of stream.
            let _ = self.tcp.set_zero_linger();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let rate = self.rate();
        let most = ready!(self.reading.poll(cx, rate));
        if most >= buf.remaining() {
            let before = buf.filled().len();
            ready!(Pin::new(&mut self.tcp).poll_read(cx, buf))?;
            self.reading.moved(buf.filled().len() - before, rate);
            return Poll::Ready(Ok(()));
        }
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(most));
        ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut part))?;
        let read = part.filled().len();
        buf.advance(read);
        self.reading.moved(read, rate);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let rate = self.rate();
        let most = ready!(self.writing.poll(cx, rate));
        let allowed = self.allowed(buf.len().min(most))?;
        let written = ready!(Pin::new(&mut self.tcp).poll_write(cx, &buf[..allowed]))?;
        self.wrote(written, rate);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.rate() == 0 && self.cut.left.load(Ordering::SeqCst) == u64::MAX {
            return Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs);
        }
        let first = bufs.iter().find(|b| !b.is_empty()).map_or(&[][..], |b| &**b);
        self.poll_write(cx, first)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

/// The whole body.
pub fn full(bytes: Bytes) -> Outgoing {
    Full::new(bytes).map_err(|never| match never {}).boxed()
}

/// The whole body, of which nobody knows the length before its end.
pub fn unsized_body(bytes: Bytes) -> Outgoing {
    let stream = futures::stream::iter([Ok::<_, io::Error>(Frame::data(bytes))]);
    BodyExt::boxed(StreamBody::new(stream))
}

/// The body, and then the end of the connection although more was announced.
pub fn truncated(bytes: Bytes) -> Outgoing {
    let stream = futures::stream::unfold(Some(bytes), |step| async {
        match step {
            Some(bytes) => Some((Ok(Frame::data(bytes)), None)),
            None => {
                // Lets hyper flush what it has before it learns that there is no more.
                tokio::time::sleep(Duration::from_millis(20)).await;
                Some((Err(io::ErrorKind::ConnectionAborted.into()), None))
            }
        }
    });
    BodyExt::boxed(StreamBody::new(stream))
}

/// The body, and then blanks for ever.
pub fn endless(bytes: Bytes) -> Outgoing {
    let stream = futures::stream::unfold(bytes, |bytes| async {
        let blanks = Bytes::from_static(&[b' '; 16 * 1024]);
        Some((Ok::<_, io::Error>(Frame::data(bytes)), blanks))
    });
    BodyExt::boxed(StreamBody::new(stream))
}

/// The request whose answer is watched; none for nobody's.
pub type Watch = Option<(Ticket, Arc<Mutex<Record>>)>;

/// Tells the record when the answer is complete, or given up.
pub struct Watched {
    inner: Outgoing,
    done: Watch,
}

impl Watched {
    /// Watches a body.
    pub fn new(inner: Outgoing, done: Watch) -> Self {
        let mut watched = Self { inner, done };
        if watched.inner.is_end_stream() {
            watched.finish();
        }
        watched
    }

    fn finish(&mut self) {
        if let Some((ticket, record)) = self.done.take() {
            super::lock(&record).end(ticket);
        }
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if let (Poll::Ready(Some(Ok(frame))), Some((ticket, record))) = (&polled, &self.done) {
            super::lock(record).handed(*ticket, frame.data_ref().map_or(0, Bytes::len));
        }
        // The last frame counts as the end: a client may act on it before hyper asks again.
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) || self.inner.is_end_stream() {
            self.finish();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.finish();
    }
}
