//! Reads a streamed answer as it arrives: server-sent events or a JSON list, errors in the middle, an end that never came.

use serde_json::Value;

use crate::error::{self, Fault};
use crate::response::{Answer, Fold, ResponseError, Usage, head};

/// Takes the bytes of a stream in any pieces and gives its chunks, then the whole answer.
///
/// ```
/// use tidegate_gemini::stream::StreamReader;
/// let mut reader = StreamReader::default();
/// let event = b"data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"wren\"}]},\"finishReason\":\"STOP\"}]}\r\n\r\n";
/// let chunks = reader.feed(event)?;
/// assert_eq!(chunks[0].text.as_deref(), Some("wren"));
/// assert_eq!(reader.finish()?.text.as_deref(), Some("wren"));
/// # Ok::<(), tidegate_gemini::stream::StreamError>(())
/// ```
#[derive(Debug, Default)]
pub struct StreamReader {
    mode: Mode,
    buffer: Vec<u8>,
    data: String,
    objects: Objects,
    fold: Fold,
    chunks: usize,
}

/// One piece of a streamed answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    /// The chunk's own JSON, as it came.
    pub json: String,
    /// The visible text it adds.
    pub text: Option<String>,
}

/// Why a stream gave no whole answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StreamError {
    /// The server reported an error, before or amid the chunks.
    #[error("the stream carries an error: {}", .0.message)]
    Fault(Box<Fault>),
    /// The stream ended without a finish reason: the answer is not whole.
    #[error("the stream ended after {chunks} chunks without a finish reason")]
    Unfinished {
        /// How many chunks had come.
        chunks: usize,
    },
    /// Something in it is no answer.
    #[error(transparent)]
    Unreadable(#[from] ResponseError),
}

/// How the stream is framed. It begins as events and turns to bare objects at the first line that is one.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum Mode {
    #[default]
    Events,
    Objects,
}

impl StreamReader {
    /// Takes the next bytes and gives the chunks they complete.
    ///
    /// # Errors
    /// When the stream carries an error or something that is no answer. Nothing more should be fed then.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Chunk>, StreamError> {
        let mut chunks = Vec::new();
        if self.mode == Mode::Objects {
            self.scan(bytes, &mut chunks)?;
            return Ok(chunks);
        }
        self.buffer.extend_from_slice(bytes);
        let buffer = std::mem::take(&mut self.buffer);
        let mut rest = buffer.as_slice();
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            if begins_object(rest) {
                break;
            }
            let line = String::from_utf8_lossy(&rest[..end]).into_owned();
            rest = &rest[end + 1..];
            self.line(line.trim_end_matches('\r'), &mut chunks)?;
        }
        if begins_object(rest) {
            self.mode = Mode::Objects;
            self.scan(rest, &mut chunks)?;
        } else {
            self.buffer = rest.to_vec();
        }
        Ok(chunks)
    }

    /// The whole answer, once the stream has ended.
    ///
    /// # Errors
    /// When no finish reason came, or the last piece is an error or cut off.
    pub fn finish(mut self) -> Result<Answer, StreamError> {
        let mut last = Vec::new();
        let tail = String::from_utf8_lossy(&std::mem::take(&mut self.buffer)).into_owned();
        self.line(tail.trim_end_matches('\r'), &mut last)?;
        self.line("", &mut last)?;
        if !self.fold.is_finished() {
            return Err(StreamError::Unfinished { chunks: self.chunks });
        }
        Ok(self.fold.answer())
    }

    /// The cost so far; the API repeats running totals in every chunk.
    pub fn usage(&self) -> &Usage {
        self.fold.usage()
    }

    fn line(&mut self, line: &str, chunks: &mut Vec<Chunk>) -> Result<(), StreamError> {
        if let Some(data) = line.strip_prefix("data:") {
            if !self.data.is_empty() {
                self.data.push('\n');
            }
            self.data.push_str(data.strip_prefix(' ').unwrap_or(data));
            return Ok(());
        }
        if line.trim().is_empty() {
            let data = std::mem::take(&mut self.data);
            return if data.is_empty() || data == "[DONE]" { Ok(()) } else { self.chunk(data, chunks) };
        }
        let field = line.split(':').next().unwrap_or_default();
        match field {
            "" | "event" | "id" | "retry" => Ok(()),
            _ if line.trim_start().starts_with('<') => Err(ResponseError::Html { head: head(line) }.into()),
            // A line cut before its colon is the end of a connection, which `finish` reports.
            _ if "data".starts_with(field) => Ok(()),
            _ => Err(ResponseError::NotJson { head: head(line) }.into()),
        }
    }

    fn scan(&mut self, bytes: &[u8], chunks: &mut Vec<Chunk>) -> Result<(), StreamError> {
        for object in self.objects.feed(bytes) {
            self.chunk(object, chunks)?;
        }
        Ok(())
    }

    fn chunk(&mut self, json: String, chunks: &mut Vec<Chunk>) -> Result<(), StreamError> {
        let value: Value = match serde_json::from_str(&json) {
            Ok(value) => value,
            Err(error) if error.is_eof() => return Err(StreamError::Unfinished { chunks: self.chunks }),
            Err(_) => return Err(ResponseError::NotJson { head: head(&json) }.into()),
        };
        if error::in_value(&value) {
            return Err(StreamError::Fault(Box::new(error::read(200, None, None, json.as_bytes()))));
        }
        self.chunks += 1;
        let text = self.fold.add(&value);
        chunks.push(Chunk { json, text });
        Ok(())
    }
}

/// Whether the text begins with a JSON object or list: a streamed list, or an error printed without its `data:`.
fn begins_object(bytes: &[u8]) -> bool {
    matches!(bytes.iter().find(|byte| !byte.is_ascii_whitespace()), Some(b'{' | b'['))
}

/// Cuts whole objects out of bytes, whatever stands between them: brackets, commas, white space.
#[derive(Debug, Default)]
struct Objects {
    open: Vec<u8>,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Objects {
    fn feed(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut whole = Vec::new();
        for byte in bytes {
            if self.depth > 0 || *byte == b'{' {
                self.open.push(*byte);
            }
            self.step(*byte);
            if self.depth == 0 && !self.open.is_empty() {
                whole.push(String::from_utf8_lossy(&std::mem::take(&mut self.open)).into_owned());
            }
        }
        whole
    }

    fn step(&mut self, byte: u8) {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.in_string => self.escaped = true,
            b'"' if self.depth > 0 => self.in_string = !self.in_string,
            b'{' if !self.in_string => self.depth += 1,
            b'}' if !self.in_string => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const EVENT: &str =
        "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"{\\\"}\"}]},\"finishReason\":\"STOP\"}]}\n\n";

    #[test]
    fn a_chunk_is_given_as_soon_as_its_event_is_whole() {
        let mut reader = StreamReader::default();
        let (most, last) = EVENT.split_at(EVENT.len() - 1);
        assert_eq!(reader.feed(most.as_bytes()).unwrap(), []);
        let chunks = reader.feed(last.as_bytes()).unwrap();
        assert_eq!(chunks.len(), 1);
        assert_eq!(chunks[0].text.as_deref(), Some("{\"}"));
        assert_eq!(format!("data: {}\n\n", chunks[0].json), EVENT);
    }

    #[test]
    fn the_cost_is_known_while_the_answer_still_runs() {
        let mut reader = StreamReader::default();
        reader.feed(b"data: {\"usageMetadata\":{\"promptTokenCount\":8,\"totalTokenCount\":8}}\n\n").unwrap();
        reader.feed(b"data: {\"usageMetadata\":{\"promptTokenCount\":8,\"totalTokenCount\":11}}\n\n").unwrap();
        assert_eq!(reader.usage().total_tokens, 11);
        assert_eq!(reader.finish(), Err(StreamError::Unfinished { chunks: 2 }));
    }

    #[test]
    fn one_event_may_spread_over_several_data_lines() {
        let mut reader = StreamReader::default();
        let event = "data: {\"candidates\":\ndata: [{\"finishReason\":\"STOP\"}]}\n\n";
        assert_eq!(reader.feed(event.as_bytes()).unwrap().len(), 1);
    }

    #[test]
    fn a_stream_cut_at_any_byte_is_unfinished_until_the_last_event_is_whole() {
        for end in 0..EVENT.len() - 2 {
            let mut reader = StreamReader::default();
            reader.feed(&EVENT.as_bytes()[..end]).unwrap();
            let cut = reader.finish();
            assert!(matches!(cut, Err(StreamError::Unfinished { chunks: 0 })), "cut after {end} bytes: {cut:?}");
        }
    }
}
