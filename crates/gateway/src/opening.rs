//! The first bytes of a connection: they tell which HTTP is spoken, and are then read like all the others.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::time::timeout;

/// How an HTTP/2 client begins (RFC 9113, section 3.4); every other beginning is HTTP/1.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Which HTTP a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoken {
    Http1,
    Http2,
}

/// A stream that was listened to: what it said then is read from it once more.
pub struct Heard<S> {
    stream: S,
    said: [u8; PREFACE.len()],
    /// What of that has come, and how much of it was read again.
    known: u8,
    read: u8,
}

/// Listens until it is clear what is spoken.
///
/// # Errors
/// When that stays open for longer than `patience`, or the stream fails.
pub async fn listen<S: AsyncRead + Unpin>(stream: S, patience: Duration) -> io::Result<(Spoken, Heard<S>)> {
    let mut heard = Heard { stream, said: [0; PREFACE.len()], known: 0, read: 0 };
    let spoken = timeout(patience, heard.listen()).await??;
    Ok((spoken, heard))
}

impl<S: AsyncRead + Unpin> Heard<S> {
    async fn listen(&mut self) -> io::Result<Spoken> {
        loop {
            let known = usize::from(self.known);
            let count = self.stream.read(&mut self.said[known..]).await?;
            // No more than the preface has are read, and those are few.
            self.known += count as u8;
            match &self.said[..known + count] {
                said if said == PREFACE => return Ok(Spoken::Http2),
                said if count == 0 || !PREFACE.starts_with(said) => return Ok(Spoken::Http1),
                _ => {}
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.read == this.known {
            return Pin::new(&mut this.stream).poll_read(cx, into);
        }
        let rest = &this.said[usize::from(this.read)..usize::from(this.known)];
        let again = &rest[..rest.len().min(into.remaining())];
        into.put_slice(again);
        this.read += again.len() as u8;
        if this.read == this.known && into.remaining() > 0 {
            // Read together with what follows: a reader that got so little would make room for more. A fault shows again.
            let _ = Pin::new(&mut this.stream).poll_read(cx, into);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
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
    use tokio::io::AsyncWriteExt as _;

    const PATIENCE: Duration = Duration::from_secs(15);

    /// What is spoken by who says this piece by piece; nothing where that stays open.
    async fn spoken(said: &[u8]) -> Option<Spoken> {
        let (mut client, server) = tokio::io::duplex(64);
        let saying = async {
            for byte in said {
                client.write_all(&[*byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
            client
        };
        let (client, heard) = tokio::join!(saying, listen(server, PATIENCE));
        let (spoken, mut heard) = heard.ok()?;
        drop(client);
        let mut again = Vec::new();
        heard.read_to_end(&mut again).await.unwrap();
        assert_eq!(again, said, "nothing of it is lost");
        Some(spoken)
    }

    #[tokio::test(start_paused = true)]
    async fn time_runs_until_it_is_clear_what_is_spoken() {
        for said in ["", "P", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r"] {
            assert_eq!(spoken(said.as_bytes()).await, None, "{said:?}");
        }
        for said in ["G", "POST", "PRI * HTTP/1"] {
            assert_eq!(spoken(said.as_bytes()).await, Some(Spoken::Http1), "{said:?}");
        }
        for said in ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0"] {
            assert_eq!(spoken(said.as_bytes()).await, Some(Spoken::Http2), "{said:?}");
        }
    }

    #[tokio::test]
    async fn the_first_bytes_are_read_together_with_what_follows() {
        let (mut client, server) = tokio::io::duplex(64);
        let said = b"GET / HTTP/1.1\r\nhost: a\r\nx: yz\r\n\r\n";
        client.write_all(said).await.unwrap();
        let (_, mut heard) = listen(server, PATIENCE).await.unwrap();
        assert_eq!(heard.read(&mut [0; 100]).await.unwrap(), said.len());
    }
}
