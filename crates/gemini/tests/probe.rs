//! What is found out about media of every format, from files put together here field by field.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{Cursor, Read, Seek, SeekFrom, Write as _};

use proptest::prelude::*;
use tidegate_gemini::media::{self, Facts, probe, sniff};

fn facts(bytes: &[u8]) -> Facts {
    let mime = sniff(bytes).unwrap_or("video/mp4");
    probe(&mut Cursor::new(bytes), bytes.len() as u64, mime)
}

fn close(seconds: Option<f64>, expected: f64) {
    let seconds = seconds.expect("a length");
    assert!((seconds - expected).abs() < expected * 0.02, "{seconds} is not about {expected}");
}

fn riff(kind: &[u8; 4], chunks: &[(&[u8; 4], Vec<u8>)]) -> Vec<u8> {
    let mut body = kind.to_vec();
    for (name, data) in chunks {
        body.extend_from_slice(*name);
        body.extend((data.len() as u32).to_le_bytes());
        body.extend(data);
        body.extend(vec![0; data.len() % 2]);
    }
    [b"RIFF".as_slice(), &(body.len() as u32).to_le_bytes(), &body].concat()
}

fn wav(data: usize) -> Vec<u8> {
    let format = [&[1, 0, 1, 0][..], &16_000u32.to_le_bytes(), &32_000u32.to_le_bytes(), &[2, 0, 16, 0]].concat();
    riff(b"WAVE", &[(b"fmt ", format), (b"LIST", vec![1, 2, 3]), (b"data", vec![0; data])])
}

fn atom(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32 + 8).to_be_bytes()[..], kind, body].concat()
}

fn track(number: u32, handler: &[u8; 4]) -> Vec<u8> {
    let tkhd = atom(b"tkhd", &[&[0; 12][..], &number.to_be_bytes(), &[0; 68]].concat());
    let mdhd = atom(b"mdhd", &[&[0; 12][..], &90_000u32.to_be_bytes(), &[0; 8]].concat());
    let hdlr = atom(b"hdlr", &[&[0; 8][..], handler, &[0; 13]].concat());
    atom(b"trak", &[tkhd, atom(b"mdia", &[mdhd, hdlr].concat())].concat())
}

fn moov(scale: u32, units: u32, sound: bool) -> Vec<u8> {
    let mvhd = atom(b"mvhd", &[&[0; 12][..], &scale.to_be_bytes(), &units.to_be_bytes(), &[0; 80]].concat());
    let sound = if sound { track(2, b"soun") } else { Vec::new() };
    atom(b"moov", &[mvhd, track(1, b"vide"), sound].concat())
}

fn mp4(sound: bool) -> Vec<u8> {
    [atom(b"ftyp", b"isom\0\0\0\0isom"), atom(b"mdat", &[0; 5_000]), moov(1_000, 7_300, sound)].concat()
}

fn fragmented() -> Vec<u8> {
    let mut film = [atom(b"ftyp", b"iso5\0\0\0\0iso5"), moov(1_000, 0, true)].concat();
    for fragment in 0..10u32 {
        let tfhd = atom(b"tfhd", &[&[0; 4][..], &1u32.to_be_bytes()].concat());
        let tfdt = atom(b"tfdt", &[&[0; 4][..], &(fragment * 180_000).to_be_bytes()].concat());
        film.extend(atom(b"moof", &atom(b"traf", &[tfhd, tfdt].concat())));
        film.extend(atom(b"mdat", &[7; 100]));
    }
    film
}

fn element(id: &[u8], body: &[u8]) -> Vec<u8> {
    [id, &[0x08, 0, 0, 0], body]
        .concat()
        .into_iter()
        .enumerate()
        .map(|(at, byte)| match at.checked_sub(id.len()) {
            Some(place @ 0..4) => ((0x1000_0000u32 | body.len() as u32) >> (24 - 8 * place)) as u8,
            _ => byte,
        })
        .collect()
}

fn webm(duration: Option<f64>) -> Vec<u8> {
    let head = element(b"\x1a\x45\xdf\xa3", &element(b"\x42\x82", b"webm"));
    let duration = duration.map(|units| element(b"\x44\x89", &units.to_be_bytes())).unwrap_or_default();
    let info = element(b"\x15\x49\xa9\x66", &[element(b"\x2a\xd7\xb1", &1_000_000u32.to_be_bytes()), duration].concat());
    let tracks = [element(b"\xae", &element(b"\x83", &[1])), element(b"\xae", &element(b"\x83", &[2]))].concat();
    let cluster = |time: u32| element(b"\x1f\x43\xb6\x75", &[element(b"\xe7", &time.to_be_bytes()), vec![0; 50]].concat());
    let body = [info, element(b"\x16\x54\xae\x6b", &tracks), cluster(0), cluster(4_000), cluster(7_300)].concat();
    // A live recording does not know its end.
    [head, b"\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff".to_vec(), body].concat()
}

fn mp3(frames: usize, first: &[u8]) -> Vec<u8> {
    // 128 kbit/s at 44.1 kHz: 417 bytes a frame.
    let mut frame = vec![0; 417];
    frame[..4].copy_from_slice(b"\xff\xfb\x90\x00");
    let mut sound = [b"ID3\x04\0\0\0\0\x01\x00".as_slice(), &[0; 128]].concat();
    for number in 0..frames {
        let mut frame = frame.clone();
        if number == 0 {
            frame[36..36 + first.len()].copy_from_slice(first);
        }
        sound.extend(frame);
    }
    sound
}

fn aac(frames: usize) -> Vec<u8> {
    let length = 300usize;
    let head = [0xff, 0xf1, 0x50, 0x80 | (length >> 11) as u8, (length >> 3) as u8, (length << 5) as u8 | 0x1f, 0xfc];
    let frame = [&head[..], &vec![0; length - 7]].concat();
    frame.repeat(frames)
}

fn flac() -> Vec<u8> {
    let packed = 44_100u64 << 44 | 1 << 41 | 15 << 36 | 441_000;
    [b"fLaC\0\0\0\x22".as_slice(), &[0; 10], &packed.to_be_bytes(), &[0; 16]].concat()
}

fn ogg() -> Vec<u8> {
    let page = |granule: u64, body: &[u8]| {
        [b"OggS\0\0".as_slice(), &granule.to_le_bytes(), &[0; 12], &[1, body.len() as u8], body].concat()
    };
    let head = [b"OpusHead\x01\x02".as_slice(), &312u16.to_le_bytes(), &48_000u32.to_le_bytes(), &[0; 3]].concat();
    [page(0, &head), page(48_000, &[1; 90]), page(480_312, &[2; 90]), page(u64::MAX, &[3; 9])].concat()
}

fn aiff() -> Vec<u8> {
    // 44,100 as 80 bits: exponent 16383 + 15, mantissa from its top bit.
    let rate = b"\x40\x0e\xac\x44\0\0\0\0\0\0";
    let common = [&[0, 1][..], &441_000u32.to_be_bytes(), &[0, 16], rate].concat();
    let body = [b"AIFF".as_slice(), b"COMM", &18u32.to_be_bytes(), &common].concat();
    [b"FORM".as_slice(), &(body.len() as u32).to_be_bytes(), &body].concat()
}

fn avi() -> Vec<u8> {
    let header = [&40_000u32.to_le_bytes()[..], &[0; 12], &250u32.to_le_bytes(), &[0; 36]].concat();
    riff(b"AVI ", &[(b"avih", header), (b"strh", b"auds".to_vec())])
}

fn flv() -> Vec<u8> {
    let tag = |millis: u32| {
        let [high, a, b, c] = millis.to_be_bytes();
        [&[9, 0, 0, 5, a, b, c, high, 0, 0, 0][..], &[0; 5], &16u32.to_be_bytes()].concat()
    };
    [b"FLV\x01\x05\0\0\0\x09\0\0\0\0".as_slice(), &tag(0), &tag(16_777_216 + 10_000)].concat()
}

fn wmv() -> Vec<u8> {
    let mut head = b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\0\xaa\0\x62\xce\x6c\0\0\0\0\0\0\0\0\0\0\0\0\x01\x02".to_vec();
    head.extend(b"\xa1\xdc\xab\x8c\x47\xa9\xcf\x11\x8e\xe4\x00\xc0\x0c\x20\x53\x65");
    head.extend([0; 48]);
    head.extend(131_000_000u64.to_le_bytes());
    head.extend([0; 8]);
    head.extend(3_100u64.to_le_bytes());
    head
}

fn jpeg() -> Vec<u8> {
    let frame = b"\xff\xc2\0\x11\x08\x02\xd0\x05\x00\x03\x01\x22\0";
    [b"\xff\xd8\xff\xe1\0\x10".as_slice(), &[0xc0; 14], b"\xff", frame, &[0; 40]].concat()
}

fn heic() -> Vec<u8> {
    let ispe = |width: u32, height: u32| atom(b"ispe", &[&[0; 4][..], &width.to_be_bytes(), &height.to_be_bytes()].concat());
    let sizes = atom(b"ipco", &[ispe(512, 512), ispe(4_032, 3_024), ispe(320, 240)].concat());
    [atom(b"ftyp", b"heic\0\0\0\0mif1"), atom(b"meta", &[vec![0; 4], atom(b"iprp", &sizes)].concat())].concat()
}

fn pdf(body: &str) -> Vec<u8> {
    format!("%PDF-1.7\n%\u{e2}\n{body}\ntrailer << /Root 1 0 R >>\n%%EOF").into_bytes()
}

const TREE: &str = "1 0 obj << /Type /Catalog /Pages 2 0 R /Outlines << /Type /Outlines /Count 90 >> >> endobj
2 0 obj << /Kids [3 0 R 9 0 R] /MediaBox << /X 1 >> /Count 12 /Type/Pages >> endobj
3 0 obj <</Type /Pages/Count 7/Kids[4 0 R]/Parent 2 0 R>> endobj 4 0 obj << /Type /Page >> endobj";

fn packed(objects: &str) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(objects.as_bytes()).unwrap();
    let stream = encoder.finish().unwrap();
    let head = format!("5 0 obj << /Type /ObjStm /N 3 /First 20 /Filter /FlateDecode /Length {} >> stream\r\n", stream.len());
    [b"%PDF-1.7\n".as_slice(), head.as_bytes(), &stream, b"\nendstream endobj\n%%EOF"].concat()
}

#[test]
fn pictures_tell_their_size() {
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x07\x80\0\0\x04\x38\x08\x06\0\0\0";
    let bmp =
        [b"BM".as_slice(), &[9, 9, 0, 0], &[0; 4], &[54, 0, 0, 0, 40, 0, 0, 0, 64, 1, 0, 0], &(-240i32).to_le_bytes()].concat();
    let lossy = riff(b"WEBP", &[(b"VP8 ", b"\0\0\0\x9d\x01\x2a\x40\x01\xf0\x00".to_vec())]);
    let lossless = riff(b"WEBP", &[(b"VP8L", [&[0x2f][..], &(319u32 | 239 << 14).to_le_bytes()].concat())]);
    let extended = riff(b"WEBP", &[(b"VP8X", vec![0, 0, 0, 0, 0x3f, 1, 0, 0xef, 0, 0])]);
    assert_eq!(facts(png).dimensions, Some((1_920, 1_080)));
    assert_eq!(facts(&jpeg()).dimensions, Some((1_280, 720)));
    assert_eq!(facts(&heic()).dimensions, Some((4_032, 3_024)));
    for picture in [&b"GIF89a\x40\x01\xf0\x00\0\0"[..], &bmp, &lossy, &lossless, &extended] {
        assert_eq!(facts(picture).dimensions, Some((320, 240)), "{picture:?}");
    }
}

#[test]
fn sound_tells_its_length() {
    close(facts(&wav(320_000)).seconds, 10.0);
    close(facts(&flac()).seconds, 10.0);
    close(facts(&ogg()).seconds, 10.0);
    close(facts(&aiff()).seconds, 10.0);
    close(facts(&aac(431)).seconds, 10.0);
    close(facts(&mp3(383, b"")).seconds, 10.0);
    close(facts(&mp3(3, b"Xing\0\0\0\x01\0\0\x01\x7f")).seconds, 10.0);
}

#[test]
fn a_long_file_of_frames_is_reckoned_from_its_first_part() {
    let hour = 137_813;
    close(facts(&mp3(hour, b"")).seconds, 3_600.0);
    close(facts(&aac(155_039)).seconds, 3_600.0);
}

#[test]
fn a_recording_that_was_never_closed_lasts_as_long_as_its_data() {
    let mut sound = wav(320_000);
    let at = sound.windows(4).position(|window| window == b"data").unwrap();
    for length in [[0; 4], [0xff; 4]] {
        sound[at + 4..at + 8].copy_from_slice(&length);
        close(facts(&sound).seconds, 10.0);
    }
}

#[test]
fn film_tells_its_length_and_whether_it_is_silent() {
    for (film, seconds, sound) in [
        (mp4(true), 7.3, Some(true)),
        (mp4(false), 7.3, Some(false)),
        (fragmented(), 20.0, Some(true)),
        (webm(Some(7_300.0)), 7.3, Some(true)),
        (webm(None), 7.3, Some(true)),
        (avi(), 10.0, Some(true)),
        (wmv(), 10.0, Some(false)),
        (flv(), 16_787.2, Some(true)),
    ] {
        let facts = facts(&film);
        close(facts.seconds, seconds);
        assert_eq!(facts.has_sound, sound, "{}", facts.mime);
    }
}

#[test]
fn pages_are_found_in_trees_packed_or_not_and_by_counting() {
    let pages = |bytes: Vec<u8>| facts(&bytes).pages;
    assert_eq!(pages(pdf(TREE)), Some(12));
    assert_eq!(pages(packed(TREE)), Some(12));
    assert_eq!(pages(pdf("1 0 obj <</Linearized 1 /L 5 /N 31 /T 9>> endobj")), Some(31));
    assert_eq!(pages(pdf("4 0 obj <</Type/Page>> endobj 5 0 obj << /Type /Page /X 1 >> endobj /Type /PageLabel")), Some(2));
    assert_eq!(pages(pdf("nothing that tells")), None);
    let far = [pdf(TREE), vec![b' '; 9 << 20], b"9 0 obj << /Type /Pages /Count 40 >> endobj".to_vec()].concat();
    assert_eq!(pages(far), Some(40));
}

#[test]
fn a_text_is_counted_and_a_long_one_reckoned() {
    let text = "abcd".repeat(100);
    let of = |text: &str| probe(&mut Cursor::new(text), text.len() as u64, "text/plain; charset=utf-8").text_tokens;
    assert_eq!(of(&text), Some(100));
    assert_eq!(of(&"abcd".repeat(1 << 20)), Some(1 << 20));
}

/// Counts what is read of a file of two gigabytes whose table stands at its end.
struct Sparse {
    tail: Vec<u8>,
    at: u64,
    read: u64,
}

const GIGABYTES: u64 = 2 << 30;

impl Read for Sparse {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let head = [&1u32.to_be_bytes()[..], b"mdat", &(GIGABYTES - 20).to_be_bytes()].concat();
        let ftyp = atom(b"ftyp", b"isom\0\0\0\0isom");
        for (offset, byte) in out.iter_mut().enumerate() {
            let at = self.at + offset as u64;
            let before = at.checked_sub(GIGABYTES).and_then(|at| self.tail.get(at as usize));
            let first = [ftyp.as_slice(), &head].concat();
            *byte = before.or_else(|| first.get(at as usize)).copied().unwrap_or(0);
        }
        self.at += out.len() as u64;
        self.read += out.len() as u64;
        Ok(out.len())
    }
}

impl Seek for Sparse {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let SeekFrom::Start(at) = to else { return Err(std::io::Error::other("only absolute")) };
        self.at = at;
        Ok(at)
    }
}

#[test]
fn a_film_of_two_gigabytes_is_not_read() {
    let mut film = Sparse { tail: moov(1_000, 3_600_000, true), at: 0, read: 0 };
    let size = GIGABYTES + film.tail.len() as u64;
    let facts = probe(&mut film, size, "video/mp4");
    close(facts.seconds, 3_600.0);
    assert!(film.read < 8 << 10, "{} bytes were read", film.read);
}

proptest! {
    #[test]
    fn nothing_breaks_the_probe_and_no_estimate_is_unbounded(
        which in 0..22usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        cut in any::<prop::sample::Index>(),
        noise in prop::collection::vec(any::<u8>(), 0..300),
        lie in prop::option::of(any::<u64>()),
    ) {
        let samples = [
            wav(999), mp4(true), fragmented(), webm(None), webm(Some(5.0)), mp3(5, b""), mp3(2, b"VBRI"), aac(5), flac(), ogg(),
            aiff(), avi(), flv(), wmv(), jpeg(), heic(), pdf(TREE), packed(TREE), noise.clone(),
            [b"RIFF\0\0\0\0WEBPVP8X".as_slice(), &noise].concat(), [b"%PDF-/Type/Pages>><<".as_slice(), &noise].concat(),
            [b"\x1a\x45\xdf\xa3".as_slice(), &noise].concat(),
        ];
        let mut bytes = samples[which].clone();
        if !bytes.is_empty() {
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        let size = lie.unwrap_or(bytes.len() as u64);
        for mime in ["image/png", "audio/mp3", "video/mp4", "application/pdf", "text/plain", ""] {
            let facts = probe(&mut Cursor::new(&bytes), size, mime);
            for model in ["gemini-3.8-flash", "gemini-2.5-flash"] {
                media::tokens(model, &facts, None, None);
            }
        }
        media::mime(None, &bytes, "name");
    }
}
