//! What goes over the wire: bytes and files in their order, read piece by piece, of a length known before the first byte.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream::{BoxStream, Stream, StreamExt, iter, try_unfold};
use hyper::body::{Body, Frame, SizeHint};

use super::file::LocalFile;

/// Bytes of a file read at a time: divisible by 3, so that the Base64 of the pieces joined is that of the whole.
const STEP: usize = 96 << 10;

/// The body of one HTTP request. Cheap to clone: files are shared and read only when it is sent.
#[derive(Debug, Clone)]
pub struct Payload(Form);

#[derive(Debug, Clone)]
enum Form {
    Whole(Bytes),
    Pieces { pieces: Arc<[Piece]>, length: u64 },
}

/// A stretch of a body.
#[derive(Debug, Clone)]
pub(crate) enum Piece {
    /// As it stands.
    Bytes(Bytes),
    /// The whole file in Base64.
    Base64(Arc<LocalFile>),
    /// So many bytes of the file, from an offset.
    Slice { file: Arc<LocalFile>, from: u64, length: u64 },
}

impl Piece {
    fn length(&self) -> u64 {
        match self {
            Piece::Bytes(bytes) => bytes.len() as u64,
            Piece::Base64(file) => file.size().div_ceil(3) * 4,
            Piece::Slice { length, .. } => *length,
        }
    }
}

impl<T: Into<Bytes>> From<T> for Payload {
    fn from(bytes: T) -> Payload {
        Payload(Form::Whole(bytes.into()))
    }
}

impl Payload {
    pub(crate) fn of(pieces: Vec<Piece>) -> Payload {
        let length = pieces.iter().map(Piece::length).sum();
        Payload(Form::Pieces { pieces: pieces.into(), length })
    }

    /// The whole body, where it is not made of pieces.
    pub fn whole(&self) -> Option<&Bytes> {
        match &self.0 {
            Form::Whole(bytes) => Some(bytes),
            Form::Pieces { .. } => None,
        }
    }

    /// How many bytes it has.
    pub fn length(&self) -> u64 {
        match &self.0 {
            Form::Whole(bytes) => bytes.len() as u64,
            Form::Pieces { length, .. } => *length,
        }
    }

    /// The whole body in memory: for backends that do not stream.
    ///
    /// # Errors
    /// When a file of it cannot be read or has changed.
    pub async fn read(&self) -> io::Result<Bytes> {
        if let Form::Whole(bytes) = &self.0 {
            return Ok(bytes.clone());
        }
        let mut whole = Vec::with_capacity(usize::try_from(self.length()).unwrap_or(0));
        let mut steps = self.steps();
        while let Some(step) = steps.next().await {
            whole.extend_from_slice(&step?);
        }
        Ok(whole.into())
    }

    pub(crate) fn sending(self) -> Sending {
        let left = self.length();
        match self.0 {
            Form::Whole(bytes) => Sending { whole: Some(bytes), steps: None, left },
            Form::Pieces { .. } => Sending { whole: None, steps: Some(self.steps()), left },
        }
    }

    fn steps(&self) -> BoxStream<'static, io::Result<Bytes>> {
        let pieces = match &self.0 {
            Form::Whole(bytes) => vec![Piece::Bytes(bytes.clone())],
            Form::Pieces { pieces, .. } => pieces.to_vec(),
        };
        iter(pieces).flat_map(steps_of).boxed()
    }
}

fn steps_of(piece: Piece) -> BoxStream<'static, io::Result<Bytes>> {
    match piece {
        Piece::Bytes(bytes) => iter([Ok(bytes)]).boxed(),
        Piece::Base64(file) => {
            let left = file.size();
            reading(file, 0, left).map(|step| step.map(|bytes| STANDARD.encode(bytes).into())).boxed()
        }
        Piece::Slice { file, from, length } => reading(file, from, length).map(|step| step.map(Bytes::from)).boxed(),
    }
}

/// A stretch of a file, step by step; each step is read on a thread that may wait, when the one before has been taken.
fn reading(file: Arc<LocalFile>, from: u64, length: u64) -> impl Stream<Item = io::Result<Vec<u8>>> + Send {
    try_unfold((file, None, from, length), |(file, open, at, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let step = move || step(file, open, at, left);
        let (file, open, bytes) = tokio::task::spawn_blocking(step).await.map_err(io::Error::other)??;
        let read = bytes.len() as u64;
        Ok(Some((bytes, (file, Some(open), at + read, left - read))))
    })
}

type Step = (Arc<LocalFile>, File, Vec<u8>);

fn step(file: Arc<LocalFile>, open: Option<File>, at: u64, left: u64) -> io::Result<Step> {
    let mut open = match open {
        Some(open) => open,
        None => {
            let mut open = file.reader().map_err(io::Error::other)?;
            open.seek(SeekFrom::Start(at))?;
            open
        }
    };
    let mut bytes = vec![0; usize::try_from(left).unwrap_or(STEP).min(STEP)];
    open.read_exact(&mut bytes).map_err(|fault| match fault.kind() {
        io::ErrorKind::UnexpectedEof => io::Error::other(file.changed()),
        _ => fault,
    })?;
    Ok((file, open, bytes))
}

/// A payload being sent; knows its exact length, so that `Content-Length` goes out with it.
pub(crate) struct Sending {
    whole: Option<Bytes>,
    steps: Option<BoxStream<'static, io::Result<Bytes>>>,
    left: u64,
}

impl Body for Sending {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let next = match (self.whole.take(), &mut self.steps) {
            (Some(bytes), _) if !bytes.is_empty() => Some(Ok(bytes)),
            (_, Some(steps)) => ready!(steps.poll_next_unpin(cx)),
            (_, None) => None,
        };
        if let Some(Ok(bytes)) = &next {
            self.left = self.left.saturating_sub(bytes.len() as u64);
        }
        Poll::Ready(next.map(|step| step.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use http_body_util::BodyExt;

    use super::*;

    fn file(bytes: &[u8]) -> (tempfile::TempDir, Arc<LocalFile>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clip.bin");
        std::fs::write(&path, bytes).unwrap();
        (folder, Arc::new(LocalFile::open(&path).unwrap()))
    }

    fn noise(length: usize) -> Vec<u8> {
        (0..length).map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8).collect()
    }

    #[tokio::test]
    async fn a_file_in_base64_is_what_encoding_it_whole_would_be_and_as_long_as_told() {
        for length in [1, 2, 3, STEP - 1, STEP, STEP + 1, 2 * STEP + 2] {
            let bytes = noise(length);
            let (_folder, file) = file(&bytes);
            let payload = Payload::of(vec![Piece::Bytes("{\"data\":\"".into()), Piece::Base64(file), Piece::Bytes("\"}".into())]);
            let told = payload.length();
            let sending = payload.sending();
            assert_eq!(sending.size_hint().exact(), Some(told));
            let sent = sending.collect().await.unwrap().to_bytes();
            assert_eq!(sent.len() as u64, told);
            assert_eq!(sent, format!("{{\"data\":\"{}\"}}", STANDARD.encode(&bytes)), "{length}");
        }
    }

    #[tokio::test]
    async fn a_slice_is_that_stretch_of_the_file() {
        let bytes = noise(3 * STEP);
        let (_folder, file) = file(&bytes);
        let slice = |from: usize, length: usize| {
            Payload::of(vec![Piece::Slice { file: file.clone(), from: from as u64, length: length as u64 }])
        };
        for (from, length) in [(0, 3 * STEP), (5, STEP + 7), (3 * STEP - 1, 1)] {
            assert_eq!(slice(from, length).read().await.unwrap(), bytes[from..from + length]);
        }
    }

    #[tokio::test]
    async fn no_step_holds_more_than_a_small_part_of_the_file() {
        let (_folder, file) = file(&noise(20 * STEP));
        let mut steps = Payload::of(vec![Piece::Base64(file)]).steps();
        while let Some(step) = steps.next().await {
            assert!(step.unwrap().len() <= STEP / 3 * 4);
        }
    }

    #[tokio::test]
    async fn a_file_that_changed_ends_the_body_with_an_error() {
        let (_folder, file) = file(&noise(STEP));
        std::fs::write(file.path(), b"other").unwrap();
        let fault = Payload::of(vec![Piece::Base64(file)]).read().await.unwrap_err();
        assert!(fault.to_string().contains("changed while the run"), "{fault}");
    }

    #[tokio::test]
    async fn a_whole_body_goes_out_in_one_frame_and_an_empty_one_in_none() {
        assert_eq!(Payload::from(Bytes::from("abc")).sending().collect().await.unwrap().to_bytes(), "abc");
        assert!(Payload::from(Bytes::new()).sending().is_end_stream());
    }
}
