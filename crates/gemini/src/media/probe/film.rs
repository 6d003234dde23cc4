//! The length of film in whatever container, and whether it has sound.

use super::{Window, le32, le64, matroska, mp4};
use crate::media::mime::{HEAD, find, sniff};

/// How far the headers of AVI and WMV are read.
const HEADER: usize = 64 << 10;

/// `None` when the content is no film that can be read.
pub(super) fn length(window: &mut Window<'_>) -> Option<(Option<f64>, Option<bool>)> {
    let head = window.upto(0, HEAD)?;
    match sniff(&head)? {
        "video/mp4" | "video/mov" | "video/3gpp" | "audio/mp4" => mp4::length(window),
        "video/webm" | "video/x-matroska" => matroska::length(window),
        "video/avi" => avi(window),
        "video/x-flv" => flv(window, &head),
        "video/wmv" => wmv(window),
        _ => None,
    }
}

fn avi(window: &mut Window<'_>) -> Option<(Option<f64>, Option<bool>)> {
    let head = window.upto(0, HEADER)?;
    let main = find(&head, b"avih")? + 8;
    let micros = le32(&head, main)?;
    // A file of several gigabytes counts all its frames in a header of its own; the main one has the first part's.
    let large = find(&head, b"dmlh").and_then(|at| le32(&head, at + 8));
    let frames = large.max(le32(&head, main + 16)).filter(|frames| *frames > 0);
    let seconds = frames.filter(|_| micros > 0).map(|frames| f64::from(frames) * f64::from(micros) / 1e6);
    Some((seconds, Some(find(&head, b"auds").is_some())))
}

/// The time of the last tag, whose length stands at the very end.
fn flv(window: &mut Window<'_>, head: &[u8]) -> Option<(Option<f64>, Option<bool>)> {
    let has_sound = head.get(4).map(|flags| flags & 4 != 0);
    let last = window.size.checked_sub(4).and_then(|at| window.u32(at));
    let tag = last.and_then(|length| window.size.checked_sub(4 + u64::from(length)));
    let millis = tag.and_then(|at| window.array::<8>(at)).map(|tag| u32::from_be_bytes([tag[7], tag[4], tag[5], tag[6]]));
    Some((millis.filter(|millis| *millis > 0).map(|millis| f64::from(millis) / 1e3), has_sound))
}

fn wmv(window: &mut Window<'_>) -> Option<(Option<f64>, Option<bool>)> {
    const PROPERTIES: [u8; 16] = *b"\xa1\xdc\xab\x8c\x47\xa9\xcf\x11\x8e\xe4\x00\xc0\x0c\x20\x53\x65";
    const SOUND: [u8; 16] = *b"\x40\x9e\x69\xf8\x4d\x5b\xcf\x11\xa8\xfd\x00\x80\x5f\x5c\x44\x2b";
    let head = window.upto(0, HEADER)?;
    let at = find(&head, &PROPERTIES)?;
    let play = le64(&head, at + 64)? as f64 / 1e7;
    let lead = le64(&head, at + 80)? as f64 / 1e3;
    Some((Some(play - lead).filter(|seconds| *seconds > 0.0), Some(find(&head, &SOUND).is_some())))
}
