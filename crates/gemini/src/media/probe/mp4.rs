//! The length of MP4, MOV, M4A and 3GP: boxes within boxes, also those that were written fragment by fragment.

use super::{Window, be32};

/// Finds the length in seconds, and whether there is sound.
pub(super) fn length(window: &mut Window<'_>) -> Option<(Option<f64>, Option<bool>)> {
    let mut at = 0;
    let mut movie = None;
    let mut fragments = Fragments::default();
    while let Some(found) = Box::at(window, at, window.size) {
        match &found.kind {
            b"moov" => movie = Movie::read(window, &found),
            b"moof" => fragments.add(window, &found),
            _ => {}
        }
        // Sound and picture of a whole film need not be walked through once its table is known.
        if movie.as_ref().is_some_and(|movie: &Movie| movie.seconds.is_some()) {
            break;
        }
        at = found.end;
    }
    let movie = movie?;
    Some((movie.seconds.or_else(|| fragments.seconds(&movie)), Some(movie.has_sound)))
}

struct Box {
    kind: [u8; 4],
    body: u64,
    end: u64,
}

impl Box {
    fn at(window: &mut Window<'_>, at: u64, limit: u64) -> Option<Box> {
        let head: [u8; 8] = window.array(at)?;
        let kind = [head[4], head[5], head[6], head[7]];
        let (body, end) = match be32(&head, 0)? {
            0 => (at + 8, limit),
            1 => (at + 16, at.checked_add(window.u64(at + 8)?)?),
            size => (at + 8, at + u64::from(size)),
        };
        (end >= body && body <= limit).then_some(Box { kind, body, end: end.min(limit) })
    }

    fn children(&self, window: &mut Window<'_>) -> Vec<Box> {
        let (mut at, mut children) = (self.body, Vec::new());
        while at < self.end
            && let Some(child) = Box::at(window, at, self.end)
        {
            at = child.end;
            children.push(child);
        }
        children
    }

    /// The descendant at the end of `path`.
    fn find(&self, window: &mut Window<'_>, path: &[&[u8; 4]]) -> Option<Box> {
        let (first, rest) = path.split_first()?;
        let child = self.children(window).into_iter().find(|child| &child.kind == *first)?;
        if rest.is_empty() { Some(child) } else { child.find(window, rest) }
    }
}

#[derive(Default)]
struct Movie {
    seconds: Option<f64>,
    has_sound: bool,
    /// Number and time scale of each track.
    tracks: Vec<(u32, u32)>,
}

impl Movie {
    fn read(window: &mut Window<'_>, moov: &Box) -> Option<Movie> {
        let mut movie = Movie::default();
        let mut scale = 0;
        for child in moov.children(window) {
            match &child.kind {
                b"mvhd" => {
                    let times = times(window, &child)?;
                    scale = times.scale;
                    movie.seconds = times.seconds();
                }
                b"trak" => movie.track(window, &child),
                b"mvex" => {
                    let Some(mehd) = child.find(window, &[b"mehd"]) else { continue };
                    let long = window.array::<1>(mehd.body)? == [1];
                    let units = if long { window.u64(mehd.body + 4)? } else { u64::from(window.u32(mehd.body + 4)?) };
                    movie.seconds = movie.seconds.or(Times { scale, units }.seconds());
                }
                _ => {}
            }
        }
        Some(movie)
    }

    fn track(&mut self, window: &mut Window<'_>, trak: &Box) {
        let handler = trak.find(window, &[b"mdia", b"hdlr"]).and_then(|handler| window.array::<4>(handler.body + 8));
        self.has_sound |= handler == Some(*b"soun");
        let number = trak.find(window, &[b"tkhd"]).and_then(|tkhd| {
            let [version] = window.array::<1>(tkhd.body)?;
            window.u32(tkhd.body + if version == 1 { 20 } else { 12 })
        });
        let scale = trak.find(window, &[b"mdia", b"mdhd"]).and_then(|mdhd| Some(times(window, &mdhd)?.scale));
        self.tracks.extend(number.zip(scale));
    }
}

struct Times {
    scale: u32,
    units: u64,
}

impl Times {
    fn seconds(&self) -> Option<f64> {
        // All ones is how a writer says that it does not know.
        let known = self.scale > 0 && self.units > 0 && self.units != u64::from(u32::MAX) && self.units != u64::MAX;
        known.then_some(self.units as f64 / f64::from(self.scale))
    }
}

/// The times of an `mvhd` or an `mdhd`, which begin alike.
fn times(window: &mut Window<'_>, head: &Box) -> Option<Times> {
    let [version] = window.array::<1>(head.body)?;
    if version == 1 {
        return Some(Times { scale: window.u32(head.body + 20)?, units: window.u64(head.body + 24)? });
    }
    Some(Times { scale: window.u32(head.body + 12)?, units: u64::from(window.u32(head.body + 16)?) })
}

/// Start times of the fragments of the first track that has any.
#[derive(Default)]
struct Fragments {
    track: Option<u32>,
    first: u64,
    last: u64,
    count: u32,
}

impl Fragments {
    fn add(&mut self, window: &mut Window<'_>, moof: &Box) {
        for traf in moof.children(window).iter().filter(|child| &child.kind == b"traf") {
            let number = traf.find(window, &[b"tfhd"]).and_then(|tfhd| window.u32(tfhd.body + 4));
            let start = traf.find(window, &[b"tfdt"]).and_then(|tfdt| {
                let long = window.array::<1>(tfdt.body)? == [1];
                if long { window.u64(tfdt.body + 4) } else { window.u32(tfdt.body + 4).map(u64::from) }
            });
            let (Some(number), Some(start)) = (number, start) else { continue };
            if *self.track.get_or_insert(number) == number {
                self.first = if self.count == 0 { start } else { self.first };
                (self.last, self.count) = (start, self.count + 1);
            }
        }
    }

    /// From the first start to the last, and one fragment of usual length more.
    fn seconds(&self, movie: &Movie) -> Option<f64> {
        let (_, scale) = movie.tracks.iter().find(|(number, _)| Some(*number) == self.track)?;
        let span = self.last.checked_sub(self.first).filter(|span| *span > 0 && *scale > 0)? as f64;
        let steps = f64::from(self.count.max(2) - 1);
        Some(span * (steps + 1.0) / steps / f64::from(*scale))
    }
}
