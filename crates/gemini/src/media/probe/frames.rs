//! Sound without a table of contents: frames are counted, and the rest of a long file is reckoned from its first part.

use super::{Window, be32};

/// How much of the file is counted frame by frame.
const COUNTED: usize = 4 << 20;

/// A frame of sound.
struct Frame {
    bytes: usize,
    seconds: f64,
}

/// The length of an MP3, after any tag at its head.
pub(super) fn mp3(window: &mut Window<'_>) -> Option<f64> {
    let start = after_tag(window)?;
    let sound = window.upto(start, COUNTED)?;
    // Any two bytes may look like a frame; two frames in a row are no chance.
    let begins = |at: &usize| {
        let next = mp3_frame(&sound[*at..]).map(|frame| at + frame.bytes);
        next.is_some_and(|next| next >= sound.len() || mp3_frame(&sound[next..]).is_some())
    };
    let first = (0..sound.len().min(64 << 10)).find(begins)?;
    let frame = mp3_frame(&sound[first..])?;
    if let Some(frames) = told(&sound[first..]) {
        return Some(f64::from(frames) * frame.seconds);
    }
    counted(&sound[first..], window.size - start - first as u64, mp3_frame)
}

/// The length of raw AAC.
pub(super) fn aac(window: &mut Window<'_>) -> Option<f64> {
    let start = after_tag(window)?;
    let sound = window.upto(start, COUNTED)?;
    counted(&sound, window.size - start, aac_frame)
}

/// Where the sound begins behind an ID3 tag.
fn after_tag(window: &mut Window<'_>) -> Option<u64> {
    let head = window.upto(0, 10)?;
    if !head.starts_with(b"ID3") || head.len() < 10 {
        return Some(0);
    }
    let size = head[6..10].iter().fold(0, |sum, byte| sum << 7 | u64::from(byte & 0x7f));
    Some((size + 10).min(window.size))
}

/// The number of frames that an encoder wrote into the first one.
fn told(first: &[u8]) -> Option<u32> {
    let head = &first[..first.len().min(192)];
    let at = |mark: &[u8]| head.windows(4).position(|window| window == mark);
    if let Some(at) = at(b"Xing").or_else(|| at(b"Info")) {
        return be32(head, at + 4).filter(|flags| flags & 1 == 1).and_then(|_| be32(head, at + 8)).filter(|frames| *frames > 0);
    }
    at(b"VBRI").and_then(|at| be32(head, at + 14))
}

fn counted(sound: &[u8], whole: u64, read: impl Fn(&[u8]) -> Option<Frame>) -> Option<f64> {
    let (mut at, mut seconds) = (0, 0.0);
    while let Some(frame) = sound.get(at..).and_then(&read) {
        at += frame.bytes;
        seconds += frame.seconds;
    }
    // A last frame cut by the end of the piece was counted whole.
    let ratio = if sound.len() as u64 >= whole { 1.0 } else { whole as f64 / at as f64 };
    (at > 0).then_some(seconds * ratio)
}

fn mp3_frame(bytes: &[u8]) -> Option<Frame> {
    let [0xff, flags, rates, ..] = *bytes else { return None };
    if flags & 0xe0 != 0xe0 || flags >> 3 & 3 == 1 || flags >> 1 & 3 != 1 {
        return None;
    }
    let first_version = flags >> 3 & 3 == 3;
    const KBITS: [[usize; 15]; 2] = [
        [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
        [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
    ];
    let kbits = *KBITS[usize::from(!first_version)].get(usize::from(rates >> 4)).filter(|kbits| **kbits > 0)?;
    let rate = [44_100, 48_000, 32_000].get(usize::from(rates >> 2 & 3))? >> [2, 0, 1, 0][usize::from(flags >> 3 & 3)];
    let samples = if first_version { 1_152 } else { 576 };
    let bytes = samples / 8 * kbits * 1_000 / rate + usize::from(rates >> 1 & 1);
    Some(Frame { bytes, seconds: samples as f64 / rate as f64 })
}

fn aac_frame(bytes: &[u8]) -> Option<Frame> {
    let [0xff, flags, rates, b3, b4, b5, b6, ..] = *bytes else { return None };
    if flags & 0xf6 != 0xf0 {
        return None;
    }
    const RATES: [u32; 13] =
        [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];
    let rate = *RATES.get(usize::from(rates >> 2 & 0xf))?;
    let bytes = usize::from(b3 & 3) << 11 | usize::from(b4) << 3 | usize::from(b5 >> 5);
    let blocks = f64::from(b6 & 3) + 1.0;
    (bytes >= 7).then_some(Frame { bytes, seconds: blocks * 1_024.0 / f64::from(rate) })
}
