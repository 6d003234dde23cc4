//! The length of WebM and Matroska: from the segment's own word, else from the time of its last cluster.

use super::Window;

const SEGMENT: u32 = 0x1853_8067;
const INFO: u32 = 0x1549_a966;
const SCALE: u32 = 0x2a_d7b1;
const DURATION: u32 = 0x4489;
const TRACKS: u32 = 0x1654_ae6b;
const ENTRY: u32 = 0xae;
const TRACK_TYPE: u32 = 0x83;
const CLUSTER: u32 = 0x1f43_b675;
const SOUND: u64 = 2;

/// Where the last cluster is looked for.
const TAIL: u64 = 4 << 20;

/// Finds the length in seconds, and whether there is sound.
pub(super) fn length(window: &mut Window<'_>) -> Option<(Option<f64>, Option<bool>)> {
    let head = Element::at(window, 0)?;
    let segment = Element::at(window, head.end?)?;
    if segment.id != SEGMENT {
        return None;
    }
    let (mut scale, mut duration, mut has_sound) = (1_000_000, None, None);
    for child in segment.children(window, &[CLUSTER]) {
        match child.id {
            INFO => {
                for fact in child.children(window, &[]) {
                    match fact.id {
                        SCALE => scale = fact.number(window)?,
                        DURATION => duration = fact.float(window),
                        _ => {}
                    }
                }
            }
            TRACKS => has_sound = Some(child.has_sound(window)),
            _ => {}
        }
    }
    let units = duration.filter(|units| *units > 0.0).or_else(|| last_cluster(window));
    Some((units.map(|units| units * scale as f64 / 1e9), has_sound))
}

struct Element {
    id: u32,
    body: u64,
    /// `None` for one whose writer did not know its end.
    end: Option<u64>,
}

impl Element {
    fn at(window: &mut Window<'_>, at: u64) -> Option<Element> {
        let bytes = window.upto(at, 12)?;
        let id_length = bytes.first()?.leading_zeros() as usize + 1;
        let id = bytes.get(..id_length).filter(|_| id_length <= 4)?.iter().fold(0, |id, byte| id << 8 | u32::from(*byte));
        let rest = &bytes[id_length..];
        let length = rest.first()?.leading_zeros() as usize + 1;
        let bits = rest.get(..length).filter(|_| length <= 8)?.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let mask = (1u64 << (7 * length)) - 1;
        let body = at + (id_length + length) as u64;
        let end = if bits & mask == mask { None } else { Some(body.checked_add(bits & mask)?.min(window.size)) };
        Some(Element { id, body, end })
    }

    /// The elements inside, up to the first one of `until` or one without an end.
    fn children(&self, window: &mut Window<'_>, until: &[u32]) -> Vec<Element> {
        let (mut at, mut children) = (Some(self.body), Vec::new());
        while let Some(start) = at.filter(|at| *at < self.end.unwrap_or(window.size))
            && let Some(child) = Element::at(window, start)
            && !until.contains(&child.id)
        {
            at = child.end;
            children.push(child);
        }
        children
    }

    fn has_sound(&self, window: &mut Window<'_>) -> bool {
        let entries = self.children(window, &[]).into_iter().filter(|entry| entry.id == ENTRY).collect::<Vec<_>>();
        let mut kinds = entries.iter().flat_map(|entry| entry.children(window, &[])).collect::<Vec<_>>();
        kinds.retain(|fact| fact.id == TRACK_TYPE);
        kinds.iter().any(|kind| kind.number(window) == Some(SOUND))
    }

    fn bytes(&self, window: &mut Window<'_>) -> Option<Vec<u8>> {
        let length = self.end?.checked_sub(self.body).filter(|length| (1..=8).contains(length))?;
        window.upto(self.body, length as usize)
    }

    fn number(&self, window: &mut Window<'_>) -> Option<u64> {
        Some(self.bytes(window)?.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    fn float(&self, window: &mut Window<'_>) -> Option<f64> {
        let bytes = self.bytes(window)?;
        match bytes.len() {
            4 => Some(f64::from(f32::from_be_bytes(bytes.try_into().ok()?))),
            8 => Some(f64::from_be_bytes(bytes.try_into().ok()?)),
            _ => None,
        }
    }
}

/// The time at which the last cluster begins: a live recording says no more.
fn last_cluster(window: &mut Window<'_>) -> Option<f64> {
    let from = window.size.saturating_sub(TAIL);
    let tail = window.upto(from, TAIL as usize)?;
    let begins = (0..tail.len()).rev().find(|at| tail[*at..].starts_with(&CLUSTER.to_be_bytes()))?;
    let cluster = Element::at(window, from + begins as u64)?;
    let time = Element::at(window, cluster.body).filter(|time| time.id == 0xe7)?;
    time.number(window).map(|units| units as f64)
}
