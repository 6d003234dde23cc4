//! The length of sound, from the header of its format.

use super::{Window, be16, be32, frames, le16, le32, le64};
use crate::media::mime::{HEAD, sniff};

/// Where the last page of an Ogg file is looked for.
const TAIL: usize = 128 << 10;

pub(super) fn seconds(window: &mut Window<'_>) -> Option<f64> {
    let head = window.upto(0, HEAD)?;
    match sniff(&head)? {
        "audio/wav" => wav(window),
        "audio/aiff" => aiff(window),
        "audio/flac" => flac(&head),
        "audio/ogg" | "video/ogg" => ogg(window, &head),
        "audio/mp3" => frames::mp3(window),
        "audio/aac" => frames::aac(window),
        _ => None,
    }
}

fn wav(window: &mut Window<'_>) -> Option<f64> {
    let mut bytes_per_second = None;
    let mut at = 12;
    loop {
        let chunk: [u8; 8] = window.array(at)?;
        let length = u64::from(le32(&chunk, 4)?);
        match &chunk[..4] {
            b"fmt " => bytes_per_second = le32(&window.upto(at + 8, 16)?, 8).filter(|rate| *rate > 0),
            // A recorder that never came to write the length leaves nothing or everything there.
            b"data" => {
                let left = window.size - at - 8;
                let sound = if length == 0 { left } else { length.min(left) };
                return Some(sound as f64 / f64::from(bytes_per_second?));
            }
            _ => {}
        }
        at += 8 + length + length % 2;
    }
}

fn aiff(window: &mut Window<'_>) -> Option<f64> {
    let mut at = 12;
    loop {
        let chunk: [u8; 8] = window.array(at)?;
        let length = u64::from(be32(&chunk, 4)?);
        if &chunk[..4] == b"COMM" {
            let common: [u8; 18] = window.array(at + 8)?;
            let rate = extended(&common[8..])?;
            return (rate > 0.0).then_some(f64::from(be32(&common, 2)?) / rate);
        }
        at += 8 + length + length % 2;
    }
}

/// A number of 80 bits: sign and exponent, then the whole mantissa.
fn extended(bytes: &[u8]) -> Option<f64> {
    let exponent = be16(bytes, 0)? & 0x7fff;
    let mantissa = f64::from(be32(bytes, 2)?);
    Some(mantissa * 2f64.powi(exponent.cast_signed() - 16_383 - 31))
}

fn flac(head: &[u8]) -> Option<f64> {
    let packed = u64::from(be32(head, 18)?) << 32 | u64::from(be32(head, 22)?);
    let (rate, samples) = (packed >> 44, packed & 0xf_ffff_ffff);
    (rate > 0 && samples > 0).then_some(samples as f64 / rate as f64)
}

/// The sample count of the last page, over the rate that the first page names.
fn ogg(window: &mut Window<'_>, head: &[u8]) -> Option<f64> {
    let body = head.get(27 + usize::from(*head.get(26)?)..)?;
    let (rate, skipped) = match body {
        [b'O', b'p', b'u', b's', b'H', b'e', b'a', b'd', ..] => (48_000, le16(body, 10)?),
        [1, b'v', b'o', b'r', b'b', b'i', b's', ..] => (le32(body, 12)?, 0),
        [0x7f, b'F', b'L', b'A', b'C', ..] => (be32(body, 27)? >> 12, 0),
        _ => return None,
    };
    let tail = window.upto(window.size.saturating_sub(TAIL as u64), TAIL)?;
    let last = |at: usize| {
        let samples = le64(&tail, at + 6)?;
        (tail[at..].starts_with(b"OggS") && samples < u64::MAX / 2).then_some(samples)
    };
    let samples = (0..tail.len()).rev().find_map(last)?;
    (rate > 0).then_some(samples.saturating_sub(u64::from(skipped)) as f64 / f64::from(rate))
}
