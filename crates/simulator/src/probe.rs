//! Reads a medium's size, length and pages from its bytes as they pass by, keeping no more than their beginning.

use crate::media::Facts;

const HEAD: usize = 64 * 1024;

/// Looks at a stream of bytes once; never holds more than 64 KiB of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Probe {
    bytes: u64,
    head: Vec<u8>,
    film: Film,
    pages: Pages,
}

impl Probe {
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        let room = HEAD - self.head.len();
        self.head.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.film.feed(self.bytes, bytes);
        if self.head.starts_with(b"%PDF") {
            self.pages.feed(bytes);
        }
        self.bytes += bytes.len() as u64;
    }

    pub(crate) fn facts(&self) -> Facts {
        let head = &self.head;
        let pixels = png(head).or_else(|| jpeg(head)).or_else(|| webp(head));
        let sound = wav(head, self.bytes).or_else(|| flac(head)).or_else(|| mp3(head, self.bytes));
        Facts {
            bytes: self.bytes,
            is_image: pixels.is_some() || begins_like_an_image(head),
            pixels,
            seconds: sound.or_else(|| self.film.seconds()),
            pages: head.starts_with(b"%PDF").then(|| self.pages.count().max(1)),
        }
    }
}

fn begins_like_an_image(head: &[u8]) -> bool {
    let heic =
        head.get(4..8) == Some(b"ftyp") && matches!(head.get(8..12), Some(b"heic" | b"heix" | b"mif1" | b"heif" | b"msf1"));
    heic || head.starts_with(b"\xFF\xD8\xFF")
}

fn be16(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?)))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn png(head: &[u8]) -> Option<(u32, u32)> {
    let is_png = head.starts_with(b"\x89PNG\r\n\x1a\n") && head.get(12..16) == Some(b"IHDR");
    if is_png { Some((be32(head, 16)?, be32(head, 20)?)) } else { None }
}

/// Walks the markers to the frame header.
fn jpeg(head: &[u8]) -> Option<(u32, u32)> {
    let mut at = head.starts_with(b"\xFF\xD8").then_some(2)?;
    loop {
        let marker = (*head.get(at)? == 0xFF).then(|| head.get(at + 1))??;
        match marker {
            0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => return Some((be16(head, at + 7)?, be16(head, at + 5)?)),
            0xFF => at += 1,
            0x01 | 0xD0..=0xD9 => at += 2,
            _ => at += 2 + be16(head, at + 2)? as usize,
        }
    }
}

fn webp(head: &[u8]) -> Option<(u32, u32)> {
    let is_webp = head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP");
    match (is_webp, head.get(12..16)?) {
        (true, b"VP8X") => Some((1 + (le32(head, 24)? & 0xFF_FFFF), 1 + (le32(head, 27)? & 0xFF_FFFF))),
        (true, b"VP8 ") => le32(head, 26).map(|both| (both & 0x3FFF, both >> 16 & 0x3FFF)),
        (true, b"VP8L") => le32(head, 21).map(|both| (1 + (both & 0x3FFF), 1 + (both >> 14 & 0x3FFF))),
        _ => None,
    }
}

/// The length of a recording from the byte rate in its header.
fn wav(head: &[u8], bytes: u64) -> Option<f64> {
    let is_wav = head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WAVE");
    let rate = is_wav.then(|| le32(head, 28))?.filter(|rate| *rate > 0)?;
    Some(bytes.saturating_sub(44) as f64 / f64::from(rate))
}

fn flac(head: &[u8]) -> Option<f64> {
    let rate = head.starts_with(b"fLaC").then(|| be32(head, 18))?? >> 12;
    let samples = u64::from(be32(head, 18)? & 0xF) << 32 | u64::from(be32(head, 22)?);
    (rate > 0 && samples > 0).then(|| samples as f64 / f64::from(rate))
}

/// The length of an MP3 of constant bit rate, from its first frame.
fn mp3(head: &[u8], bytes: u64) -> Option<f64> {
    const KILOBITS: [[u64; 15]; 2] = [
        [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
        [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
    ];
    let tag = if head.starts_with(b"ID3") {
        let size = head.get(6..10)?.iter().fold(0, |size, byte| size << 7 | usize::from(byte & 0x7F));
        10 + size
    } else {
        0
    };
    let frame = head.get(tag..tag + 4)?;
    let is_layer_three = frame[0] == 0xFF && frame[1] & 0xE6 == 0xE2;
    let newer = usize::from(frame[1] & 0x08 == 0);
    let kilobits = is_layer_three.then(|| KILOBITS[newer].get(usize::from(frame[2] >> 4)))??;
    (*kilobits > 0).then(|| (bytes - tag as u64) as f64 * 8.0 / (*kilobits as f64 * 1_000.0))
}

/// Walks the boxes of an MP4 to the one that tells the length, wherever it lies.
#[derive(Clone, Debug)]
enum Film {
    Box { at: u64, header: Vec<u8> },
    Length { at: u64, header: Vec<u8> },
    Known(f64),
    Strange,
}

impl Default for Film {
    fn default() -> Self {
        Self::Box { at: 0, header: Vec::new() }
    }
}

impl Film {
    /// `mvhd` in its longer form.
    const LENGTH: usize = 48;

    fn feed(&mut self, from: u64, bytes: &[u8]) {
        let wanted = |at: u64, header: &mut Vec<u8>, size: usize| {
            let next = (at + header.len() as u64).checked_sub(from)?;
            let rest = bytes.get(usize::try_from(next).ok()?..)?;
            header.extend_from_slice(&rest[..rest.len().min(size.saturating_sub(header.len()))]);
            (header.len() >= size).then_some(())
        };
        loop {
            *self = match self {
                Self::Box { at, header } => match wanted(*at, header, 8) {
                    Some(()) if be32(header, 0) != Some(1) => Self::after_box(*at, header),
                    Some(()) if wanted(*at, header, 16).is_some() => Self::after_box(*at, header),
                    _ => return,
                },
                Self::Length { at, header } => match wanted(*at, header, Self::LENGTH) {
                    Some(()) => Self::of_length(header).map_or(Self::Strange, Self::Known),
                    None => return,
                },
                Self::Known(_) | Self::Strange => return,
            }
        }
    }

    fn after_box(at: u64, header: &[u8]) -> Self {
        let small = be32(header, 0).map(u64::from).unwrap_or_default();
        let large = u64::from(be32(header, 8).unwrap_or_default()) << 32 | u64::from(be32(header, 12).unwrap_or_default());
        let size = if small == 1 { large } else { small };
        match header.get(4..8) {
            Some(b"moov") => Self::Length { at: at + 8, header: Vec::new() },
            Some(kind) if size >= 8 && (at > 0 || kind == b"ftyp") => {
                Self::Box { at: at.saturating_add(size), header: Vec::new() }
            }
            _ => Self::Strange,
        }
    }

    fn of_length(header: &[u8]) -> Option<f64> {
        let long = (header.get(4..8) == Some(b"mvhd")).then(|| header.get(8))?? == &1;
        let (scale, length) = if long {
            (be32(header, 28)?, u64::from(be32(header, 32)?) << 32 | u64::from(be32(header, 36)?))
        } else {
            (be32(header, 20)?, u64::from(be32(header, 24)?))
        };
        (scale > 0).then(|| length as f64 / f64::from(scale))
    }

    fn seconds(&self) -> Option<f64> {
        if let Self::Known(seconds) = self { Some(*seconds) } else { None }
    }
}

/// Counts the page objects of a PDF.
#[derive(Clone, Debug, Default)]
struct Pages {
    found: u64,
    carried: Vec<u8>,
}

impl Pages {
    /// Longer than a page's mark with some white space in it.
    const MARK: usize = 24;

    fn feed(&mut self, bytes: &[u8]) {
        let mut all = std::mem::take(&mut self.carried);
        all.extend_from_slice(bytes);
        let end = all.len().saturating_sub(Self::MARK);
        self.found += marks(&all, end);
        self.carried = all.split_off(end);
    }

    fn count(&self) -> u64 {
        self.found + marks(&self.carried, self.carried.len())
    }
}

/// How many page marks begin before `end`.
fn marks(bytes: &[u8], end: usize) -> u64 {
    let begins = (0..end).filter(|at| bytes[*at] == b'/' && bytes[*at..].starts_with(b"/Type"));
    let is_page = |at: &usize| {
        let rest = bytes[at + 5..].trim_ascii_start();
        rest.starts_with(b"/Page") && !rest.get(5).is_some_and(u8::is_ascii_alphabetic)
    };
    begins.filter(is_page).count() as u64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    /// The facts of the same bytes in one piece, and in pieces of every awkward size.
    fn facts(bytes: &[u8]) -> Facts {
        let read = |size: usize| {
            let mut probe = Probe::default();
            bytes.chunks(size).for_each(|chunk| probe.feed(chunk));
            probe.facts()
        };
        let whole = read(bytes.len().max(1));
        for size in [1, 3, 7, 20] {
            assert_eq!(read(size), whole, "in pieces of {size}");
        }
        whole
    }

    fn film(before: usize, scale: u32, length: u32) -> Vec<u8> {
        let mut film = b"\0\0\0\x10ftypisom\0\0\0\0".to_vec();
        film.extend(u32::try_from(8 + before).unwrap().to_be_bytes());
        film.extend(b"mdat");
        film.resize(film.len() + before, 7);
        film.extend(b"\0\0\0\x74moov\0\0\0\x6Cmvhd\0\0\0\0\0\0\0\0\0\0\0\0");
        film.extend(scale.to_be_bytes());
        film.extend(length.to_be_bytes());
        film.resize(film.len() + 84, 0);
        film
    }

    #[test]
    fn the_size_of_an_image_is_read() {
        let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        png.extend([0, 0, 3, 32, 0, 0, 2, 88]);
        assert_eq!(facts(&png).pixels, Some((800, 600)));
        let jpeg = b"\xFF\xD8\xFF\xE0\0\x04ab\xFF\xC0\0\x11\x08\x02\x58\x03\x20\x03";
        assert_eq!(facts(jpeg).pixels, Some((800, 600)));
        let webp = b"RIFF\0\0\0\0WEBPVP8X\x0A\0\0\0\0\0\0\0\x1F\x03\0\x57\x02\0\0";
        assert_eq!(facts(webp).pixels, Some((800, 600)));
        assert!(!facts(b"AAAA and no image").is_image && facts(b"\0\0\0\x18ftypheic").is_image);
    }

    #[test]
    fn the_length_of_a_film_is_found_before_and_behind_its_pictures() {
        assert_eq!(facts(&film(0, 1_000, 12_500)).seconds, Some(12.5));
        assert_eq!(facts(&film(100_000, 600, 6_000)).seconds, Some(10.0));
        assert_eq!(facts(b"no film at all, but long enough").seconds, None);
    }

    #[test]
    fn the_length_of_a_recording_is_read() {
        let mut wav = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3E\0\0".to_vec();
        wav.extend(32_000u32.to_le_bytes());
        wav.resize(44 + 64_000, 0);
        assert_eq!(facts(&wav).seconds, Some(2.0));
        let mut mp3 = b"\xFF\xFB\x90\0".to_vec();
        mp3.resize(16_000, 0);
        assert_eq!(facts(&mp3).seconds, Some(1.0));
    }

    #[test]
    fn the_pages_of_a_document_are_counted_and_not_the_list_of_them() {
        let pdf = b"%PDF-1.4\n1 0 obj<</Type/Pages/Count 2>>\n<</Type /Page/A 1>>\n<< /Type\n/Page >>\n%%EOF";
        assert_eq!(facts(pdf).pages, Some(2));
        assert_eq!(facts(b"%PDF-1.7 compressed").pages, Some(1));
    }
}
