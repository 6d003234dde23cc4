//! The first bytes of a connection: until they tell which HTTP is spoken, nobody else watches the time.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How an HTTP/2 client begins (RFC 9113, section 3.4); every other beginning is HTTP/1.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream whose reads fail when its first bytes leave open for too long which HTTP they are.
pub struct Opening<S> {
    stream: S,
    /// The time that is left, and how much of the preface has come; gone once it is clear what is spoken.
    open: Option<(Pin<Box<Sleep>>, usize)>,
}

impl<S> Opening<S> {
    pub fn new(stream: S, patience: Duration) -> Opening<S> {
        Opening { stream, open: Some((Box::pin(sleep(patience)), 0)) }
    }

    fn heard(&mut self, bytes: &[u8]) {
        let Some((_, known)) = &mut self.open else { return };
        let rest = &PREFACE[*known..];
        if bytes.len() < rest.len() && rest.starts_with(bytes) {
            *known += bytes.len();
        } else {
            self.open = None;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Opening<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = into.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, into);
        if this.open.is_none() {
            return read;
        }
        match read {
            Poll::Ready(read) => {
                this.heard(&into.filled()[before..]);
                Poll::Ready(read)
            }
            Poll::Pending => match &mut this.open {
                Some((left, _)) => left.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into())),
                None => Poll::Pending,
            },
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Opening<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const PATIENCE: Duration = Duration::from_secs(15);

    /// Whether a stream that begins like this may be silent afterwards.
    async fn may_pause_after(said: &[u8]) -> bool {
        let (mut client, server) = tokio::io::duplex(64);
        let mut server = Opening::new(server, PATIENCE);
        for byte in said {
            client.write_all(&[*byte]).await.unwrap();
            assert_eq!(server.read_u8().await.unwrap(), *byte);
        }
        tokio::time::timeout(PATIENCE * 2, server.read_u8()).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn time_runs_until_it_is_clear_what_is_spoken() {
        for said in ["", "P", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r"] {
            assert!(!may_pause_after(said.as_bytes()).await, "{said:?}");
        }
        for said in ["G", "POST", "PRI * HTTP/1", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0"] {
            assert!(may_pause_after(said.as_bytes()).await, "{said:?}");
        }
    }
}
