//! Takes gzip, zstd and a byte order mark off a stream; the content tells, not the name.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use super::gzip::Members;

pub(super) type Reader = Box<dyn BufRead + Send>;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

/// The plain bytes of a stream.
pub(super) fn unpacked(stream: Box<dyn Read + Send>) -> io::Result<Reader> {
    let (head, stream) = head(stream)?;
    let packed = Cursor::new(head.clone()).chain(stream);
    let (head, plain) = if head.starts_with(&GZIP) {
        self::head(Box::new(Members::new(packed)))?
    } else if head.starts_with(&ZSTD) {
        self::head(Box::new(zstd::stream::read::Decoder::new(packed)?))?
    } else {
        let (head, stream) = packed.into_inner();
        (head.into_inner(), stream)
    };
    let text = head.strip_prefix(&MARK).unwrap_or(&head).to_vec();
    Ok(Box::new(BufReader::with_capacity(64 * 1024, Cursor::new(text).chain(plain))))
}

/// The first bytes of a stream, taken off it.
fn head(mut stream: Box<dyn Read + Send>) -> io::Result<(Vec<u8>, Box<dyn Read + Send>)> {
    let mut head = Vec::with_capacity(ZSTD.len());
    stream.by_ref().take(ZSTD.len() as u64).read_to_end(&mut head)?;
    Ok((head, stream))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::io::Write;

    use super::*;

    fn read(bytes: Vec<u8>) -> String {
        let mut text = String::new();
        unpacked(Box::new(Cursor::new(bytes))).unwrap().read_to_string(&mut text).unwrap();
        text
    }

    fn gzip(text: &str) -> Vec<u8> {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(text.as_bytes()).unwrap();
        packer.finish().unwrap()
    }

    #[test]
    fn plain_gzip_and_zstd_read_the_same() {
        assert_eq!(read(b"hello\n".to_vec()), "hello\n");
        assert_eq!(read(gzip("hello\n")), "hello\n");
        assert_eq!(read(zstd::encode_all(&b"hello\n"[..], 1).unwrap()), "hello\n");
        assert_eq!(read(b"hi".to_vec()), "hi");
        assert_eq!(read(Vec::new()), "");
    }

    #[test]
    fn files_packed_one_after_the_other_are_read_to_the_end() {
        let mut both = gzip("one\n");
        both.extend(gzip("two\n"));
        assert_eq!(read(both), "one\ntwo\n");
    }

    #[test]
    fn what_follows_a_gzip_file_and_is_none_is_an_error_that_says_so() {
        let mut packed = gzip("one\n");
        packed.extend(b"garbage");
        let mut text = String::new();
        let error = unpacked(Box::new(Cursor::new(packed))).unwrap().read_to_string(&mut text).unwrap_err();
        assert_eq!(error.to_string(), "after its gzip part stands something that is no gzip; pack it again");
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_text() {
        assert_eq!(read("\u{feff}x".into()), "x");
        assert_eq!(read(gzip("\u{feff}xyz")), "xyz");
    }

    #[test]
    fn a_cut_gzip_file_is_an_error() {
        let mut cut = gzip(&"hello ".repeat(100));
        cut.truncate(cut.len() - 8);
        let mut text = String::new();
        let failed = unpacked(Box::new(Cursor::new(cut))).and_then(|mut reader| reader.read_to_string(&mut text));
        assert!(failed.is_err());
    }
}
