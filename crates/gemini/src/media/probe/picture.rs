//! Width and height of a picture, from its header.

use super::{Window, be16, be32, le16, le32};
use crate::media::mime::{find, sniff};

/// How far a header reaches in formats that keep it in one place.
const HEADER: usize = 64 << 10;

pub(super) fn dimensions(window: &mut Window<'_>) -> Option<(u32, u32)> {
    let head = window.upto(0, HEADER)?;
    match sniff(&head)? {
        "image/png" => Some((be32(&head, 16)?, be32(&head, 20)?)),
        "image/gif" => Some((le16(&head, 6)?, le16(&head, 8)?)),
        "image/bmp" => Some((le32(&head, 18)?, le32(&head, 22)?.cast_signed().unsigned_abs())),
        "image/jpeg" => jpeg(window),
        "image/webp" => webp(&head),
        "image/heic" | "image/heif" | "image/avif" => iso(&head),
        _ => None,
    }
}

/// Goes from segment to segment to the one that describes the frame.
fn jpeg(window: &mut Window<'_>) -> Option<(u32, u32)> {
    let mut at = 2;
    loop {
        let [mark, kind, high, low] = window.array(at)?;
        match (mark, kind) {
            // Fill bytes, and marks without a segment.
            (0xff, 0xff) => at += 1,
            (0xff, 0x01 | 0xd0..=0xd8) => at += 2,
            (0xff, 0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf) => {
                let frame: [u8; 4] = window.array(at + 5)?;
                return Some((be16(&frame, 2)?, be16(&frame, 0)?));
            }
            (0xff, 0xd9 | 0xda) => return None,
            (0xff, _) => at += 2 + u64::from(u16::from_be_bytes([high, low]).max(2)),
            _ => return None,
        }
    }
}

fn webp(head: &[u8]) -> Option<(u32, u32)> {
    match head.get(12..16)? {
        b"VP8 " => Some((le16(head, 26)? & 0x3fff, le16(head, 28)? & 0x3fff)),
        b"VP8L" => {
            let bits = le32(head, 21)?;
            Some(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
        }
        b"VP8X" => Some(((le32(head, 24)? & 0xff_ffff) + 1, (le32(head, 26)? >> 8) + 1)),
        _ => None,
    }
}

/// The largest of the sizes named: a picture comes with its thumbnails, and in tiles.
fn iso(head: &[u8]) -> Option<(u32, u32)> {
    let mut largest = None;
    let mut rest = head;
    while let Some(found) = find(rest, b"ispe") {
        rest = &rest[found + 4..];
        let (Some(width), Some(height)) = (be32(rest, 4), be32(rest, 8)) else { break };
        let area = |(width, height): (u32, u32)| u64::from(width) * u64::from(height);
        if largest.is_none_or(|size| area(size) < area((width, height))) {
            largest = Some((width, height));
        }
    }
    largest
}
