//! Reads one JSON value by the letter of RFC 8259, without recursion, and tells how it ended: whole, cut off or broken.

/// How the value at the start of a text ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scan {
    /// A whole value; this is where it ends.
    Whole(usize),
    /// The text ended inside the value: so many bytes of it stand, and the tail completes them.
    Cut { keep: usize, tail: String },
    /// No JSON from here on.
    Broken,
}

/// Reads the value `text` begins with; blanks may stand before it. Half a surrogate pair in a string counts as broken.
pub(super) fn scan(text: &str) -> Scan {
    Scanner { bytes: text.as_bytes(), at: 0, open: Vec::new(), keep: 0 }.run()
}

/// `text` as a whole is one JSON value, with nothing but blanks around it.
pub(super) fn is_whole(text: &str) -> bool {
    matches!(scan(text), Scan::Whole(end) if text.as_bytes()[end..].iter().all(is_blank))
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The closers still owed.
    open: Vec<u8>,
    /// Up to here the text needs nothing but the closers.
    keep: usize,
}

/// What may stand next.
enum Next {
    Value,
    ValueOrEnd,
    KeyOrEnd,
    Key,
    Colon,
    CommaOrEnd,
}

/// How a string, a number or a word ended.
enum Leaf {
    Ended,
    /// The text ended inside it; this much of it can be kept, and this ends it.
    Cut {
        keep: usize,
        tail: &'static str,
    },
    /// The text ended inside it, and nothing of it can be kept.
    Lost,
    Broken,
}

fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

impl Scanner<'_> {
    fn run(mut self) -> Scan {
        let mut next = Next::Value;
        loop {
            self.skip_blanks();
            let Some(byte) = self.peek() else { return self.cut(self.keep, "") };
            next = match next {
                Next::ValueOrEnd if byte == b']' => self.close(),
                Next::KeyOrEnd if byte == b'}' => self.close(),
                Next::CommaOrEnd if self.open.last() == Some(&byte) => self.close(),
                Next::CommaOrEnd if byte == b',' => {
                    self.at += 1;
                    if self.open.last() == Some(&b'}') { Next::Key } else { Next::Value }
                }
                Next::Colon if byte == b':' => {
                    self.at += 1;
                    Next::Value
                }
                Next::Value | Next::ValueOrEnd if byte == b'{' => self.open(b'}', Next::KeyOrEnd),
                Next::Value | Next::ValueOrEnd if byte == b'[' => self.open(b']', Next::ValueOrEnd),
                Next::Value | Next::ValueOrEnd => match self.leaf(byte) {
                    Leaf::Ended => {
                        self.keep = self.at;
                        Next::CommaOrEnd
                    }
                    Leaf::Cut { keep, tail } => return self.cut(keep, tail),
                    Leaf::Lost => return self.cut(self.keep, ""),
                    Leaf::Broken => return Scan::Broken,
                },
                Next::Key | Next::KeyOrEnd if byte == b'"' => match self.string() {
                    Leaf::Ended => Next::Colon,
                    Leaf::Cut { .. } | Leaf::Lost => return self.cut(self.keep, ""),
                    Leaf::Broken => return Scan::Broken,
                },
                _ => return Scan::Broken,
            };
            if self.open.is_empty() {
                return Scan::Whole(self.at);
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while self.peek().is_some_and(|byte| is_blank(&byte)) {
            self.at += 1;
        }
    }

    fn open(&mut self, closer: u8, next: Next) -> Next {
        self.open.push(closer);
        self.at += 1;
        self.keep = self.at;
        next
    }

    fn close(&mut self) -> Next {
        self.open.pop();
        self.at += 1;
        self.keep = self.at;
        Next::CommaOrEnd
    }

    fn cut(&self, keep: usize, tail: &str) -> Scan {
        let closers = self.open.iter().rev().map(|&closer| char::from(closer));
        Scan::Cut { keep, tail: tail.chars().chain(closers).collect() }
    }

    fn leaf(&mut self, byte: u8) -> Leaf {
        match byte {
            b'"' => self.string(),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            _ => self.number(),
        }
    }

    /// Only one word begins so: finishing it invents nothing.
    fn word(&mut self, word: &'static str) -> Leaf {
        let rest = &self.bytes[self.at..];
        if rest.starts_with(word.as_bytes()) {
            self.at += word.len();
            Leaf::Ended
        } else if word.as_bytes().starts_with(rest) {
            Leaf::Cut { keep: self.bytes.len(), tail: &word[rest.len()..] }
        } else {
            Leaf::Broken
        }
    }

    /// A number that touches the end of the text inside a container may have had more digits: it is lost.
    fn number(&mut self) -> Leaf {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let whole_from = self.at;
        let mut sound = self.digits() && (self.bytes[whole_from] != b'0' || self.at == whole_from + 1);
        if sound && self.peek() == Some(b'.') {
            self.at += 1;
            sound = self.digits();
        }
        if sound && matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            sound = self.digits();
        }
        match (self.at == self.bytes.len(), sound) {
            (true, true) if self.open.is_empty() => Leaf::Ended,
            (true, _) => Leaf::Lost,
            (false, true) => Leaf::Ended,
            (false, false) => Leaf::Broken,
        }
    }

    fn digits(&mut self) -> bool {
        let from = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        self.at > from
    }

    /// Reads a string whose quote is next.
    fn string(&mut self) -> Leaf {
        self.at += 1;
        loop {
            match self.peek() {
                None => return Leaf::Cut { keep: self.at, tail: "\"" },
                Some(b'"') => {
                    self.at += 1;
                    return Leaf::Ended;
                }
                Some(b'\\') => match escape(&self.bytes[self.at..]) {
                    Escape::Whole(length) => self.at += length,
                    Escape::Cut => return Leaf::Cut { keep: self.at, tail: "\"" },
                    Escape::Wrong | Escape::Half(_) => return Leaf::Broken,
                },
                Some(0..=0x1f) => return Leaf::Broken,
                Some(_) => self.at += 1,
            }
        }
    }
}

/// What a backslash begins.
pub(super) enum Escape {
    /// A whole escape of so many bytes; both halves of a surrogate pair are one.
    Whole(usize),
    /// The text ends inside it.
    Cut,
    /// Half a surrogate pair, of so many bytes.
    Half(usize),
    /// Nothing JSON knows.
    Wrong,
}

/// Reads the escape `bytes` begin with.
pub(super) fn escape(bytes: &[u8]) -> Escape {
    match bytes.get(1) {
        None => Escape::Cut,
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Escape::Whole(2),
        Some(b'u') => match unit(&bytes[2..]) {
            Unit::Code(0xd800..=0xdbff) => low_half(&bytes[6..]),
            Unit::Code(0xdc00..=0xdfff) => Escape::Half(6),
            Unit::Code(_) => Escape::Whole(6),
            Unit::Cut => Escape::Cut,
            Unit::Wrong => Escape::Wrong,
        },
        Some(_) => Escape::Wrong,
    }
}

/// What must follow the first half of a pair.
fn low_half(bytes: &[u8]) -> Escape {
    match bytes {
        [] | [b'\\'] => Escape::Cut,
        [b'\\', b'u', digits @ ..] => match unit(digits) {
            Unit::Code(0xdc00..=0xdfff) => Escape::Whole(12),
            Unit::Cut => Escape::Cut,
            Unit::Code(_) | Unit::Wrong => Escape::Half(6),
        },
        _ => Escape::Half(6),
    }
}

enum Unit {
    Code(u32),
    Cut,
    Wrong,
}

fn unit(bytes: &[u8]) -> Unit {
    let digits = &bytes[..bytes.len().min(4)];
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return Unit::Wrong;
    }
    if digits.len() < 4 {
        return Unit::Cut;
    }
    let value = |code: u32, digit: &u8| code * 16 + char::from(*digit).to_digit(16).unwrap_or(0);
    Unit::Code(digits.iter().fold(0, value))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn closed(text: &str) -> String {
        match scan(text) {
            Scan::Cut { keep, tail } => format!("{}{tail}", &text[..keep]),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn a_whole_value_ends_where_it_ends() {
        for (text, end) in [("{} x", 2), (" [1, {\"a\": -0.0e-5}],", 20), ("\"a\\u00e9\"", 9), ("12", 2), ("true]", 4)] {
            assert_eq!(scan(text), Scan::Whole(end), "{text}");
        }
    }

    #[test]
    fn what_json_does_not_know_is_broken() {
        let texts = [
            "{a:1}",
            "[1,]",
            "{\"a\":1,}",
            "[01]",
            "[1.]x",
            "[+1]",
            "[\"\\d\"]",
            "[\"a\nb\"]",
            "nul!",
            "[\"\\ud800\"]",
            "}",
            "[1}",
        ];
        for text in texts {
            assert_eq!(scan(text), Scan::Broken, "{text}");
        }
    }

    #[test]
    fn a_cut_value_is_closed_and_nothing_is_guessed() {
        for (text, whole) in [
            ("{", "{}"),
            ("[{\"id\": 1, \"t\": \"be", "[{\"id\": 1, \"t\": \"be\"}]"),
            ("{\"a\": [1, 2], \"de", "{\"a\": [1, 2]}"),
            ("{\"a\": 1, \"b\"", "{\"a\": 1}"),
            ("{\"a\": 1, \"b\":", "{\"a\": 1}"),
            ("{\"a\": 1,", "{\"a\": 1}"),
            ("{\"ok\": tru", "{\"ok\": true}"),
            ("[1, 23", "[1]"),
            ("[1, -", "[1]"),
            ("{\"c\": \"if (a) {", "{\"c\": \"if (a) {\"}"),
            ("[\"a\\", "[\"a\"]"),
            ("[\"a\\u00", "[\"a\"]"),
            ("[\"a\\ud83d\\ude", "[\"a\"]"),
        ] {
            assert_eq!(closed(text), whole);
        }
    }
}
