//! Writes a text as JSON, stretch by stretch: most of a prompt needs no escape and is copied as it stands.

/// Bytes looked at together.
const STRETCH: usize = 32;

/// Adds `text` in quotes, with the escapes that `serde_json` writes.
pub(crate) fn push(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    for stretch in text.as_bytes().chunks(STRETCH) {
        // Without a way out in the middle this is a few instructions for all of them.
        if stretch.iter().fold(false, |found, &byte| found | needs_escape(byte)) {
            stretch.iter().for_each(|&byte| push_byte(out, byte));
        } else {
            out.extend_from_slice(stretch);
        }
    }
    out.push(b'"');
}

fn needs_escape(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

fn push_byte(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let letter = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0c => b'f',
        b'\r' => b'r',
        0x00..0x20 => {
            out.extend_from_slice(b"\\u00");
            return out.extend([HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
        _ => return out.push(byte),
    };
    out.extend([b'\\', letter]);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn every_text_is_written_as_serde_json_writes_it() {
        let all: String = (0..0x2500).filter_map(char::from_u32).collect();
        let long = format!("{}\"{}\\é\n{}", "a".repeat(31), "b".repeat(40), "𝄞\u{7f}\u{2028}/".repeat(20));
        for text in ["", "a", "\"", &all, &long] {
            let mut out = Vec::new();
            push(&mut out, text);
            assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string(text).unwrap());
        }
    }
}
