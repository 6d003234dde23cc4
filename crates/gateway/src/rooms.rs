//! Room for the bodies of requests: what all of them together may hold in memory, and a queue for what is beyond.
//!
//! A body holds its room for as long as anybody holds its bytes: while it comes in, while it waits for its permit, while it is
//! sent. The few bytes of an ordinary prompt need none. A quarter is kept for bodies of middling size, so that a question with
//! a picture does not stand behind films.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A body of so many bytes needs no room: ten thousand of them that wait are few.
const FREE: usize = 4 << 10;
/// A body of so many bytes goes into the part that is kept for such.
const MIDDLING: usize = 1 << 20;
/// What one permit of a semaphore stands for.
const UNIT: usize = 1 << 10;

/// The room for all bodies.
#[derive(Debug)]
pub struct Rooms {
    middling: Part,
    large: Part,
}

/// One part of it.
#[derive(Debug)]
struct Part {
    free: Arc<Semaphore>,
    units: u32,
}

/// Room for one body.
#[derive(Debug, Default)]
pub struct Room {
    permit: Option<OwnedSemaphorePermit>,
    /// The most bytes it is for.
    bytes: usize,
}

impl Rooms {
    /// Room for so many bytes in all.
    pub fn new(bytes: usize) -> Rooms {
        Rooms { middling: Part::new(bytes / 4), large: Part::new(bytes - bytes / 4) }
    }

    /// Waits for the room that a body of so many bytes needs; one that is larger than all of it takes all of it.
    pub async fn take(&self, bytes: usize) -> Room {
        if bytes <= FREE {
            return Room::default();
        }
        let part = if bytes <= MIDDLING { &self.middling } else { &self.large };
        // Nobody closes the semaphore.
        let permit = part.free.clone().acquire_many_owned(units(bytes).min(part.units)).await.ok();
        Room { permit, bytes }
    }

    /// Waits for room for a body of unknown length of which so many bytes are there: as much as the most it may grow to.
    /// Whoever waits holds none, so nobody waits for each other.
    pub async fn grow(&self, room: &mut Room, there: usize, most: usize) {
        *room = Room::default();
        *room = self.take(if there <= MIDDLING { most.min(MIDDLING) } else { most }).await;
    }
}

impl Part {
    fn new(bytes: usize) -> Part {
        let units = units(bytes).max(1);
        Part { free: Arc::new(Semaphore::new(units as usize)), units }
    }
}

impl Room {
    /// Whether a body of so many bytes is in it, or needs none.
    pub fn has(&self, bytes: usize) -> bool {
        bytes <= self.bytes.max(FREE)
    }

    /// Binds the room to a body, whose true length is known now.
    pub fn hold(self, body: Bytes) -> Bytes {
        let Some(mut permit) = self.permit else { return body };
        let beyond = permit.num_permits().saturating_sub(units(body.len()) as usize);
        drop(permit.split(beyond));
        Bytes::from_owner(Held { body, _permit: permit })
    }
}

/// A body with its room.
struct Held {
    body: Bytes,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use futures_util::FutureExt as _;

    use super::*;

    const ALL: usize = 16 << 20;

    #[test]
    fn a_body_holds_its_room_until_the_last_of_its_bytes_is_let_go() {
        let rooms = Rooms::new(ALL);
        let first = rooms.take(8 << 20).now_or_never().unwrap();
        let body = first.hold(Bytes::from(vec![7; 8 << 20]));
        let part = body.slice(100..200);
        drop(body);
        assert!(rooms.take(5 << 20).now_or_never().is_none(), "four of twelve megabytes are free");
        assert!(rooms.take(1 << 20).now_or_never().is_some(), "there is a part for bodies of this size");
        assert!(rooms.take(4_096).now_or_never().is_some(), "this needs no room");
        drop(part);
        assert!(rooms.take(5 << 20).now_or_never().is_some());
    }

    #[test]
    fn one_larger_than_all_the_room_takes_all_of_it() {
        let rooms = Rooms::new(ALL);
        let room = rooms.take(100 << 20).now_or_never().unwrap();
        assert!(rooms.take(2 << 20).now_or_never().is_none());
        drop(room);
        assert!(rooms.take(2 << 20).now_or_never().is_some());
    }

    #[test]
    fn a_body_of_unknown_length_takes_the_most_it_may_need_and_gives_back_what_it_did_not() {
        let rooms = Rooms::new(ALL);
        let mut room = Room::default();
        assert!(room.has(FREE) && !room.has(FREE + 1));
        rooms.grow(&mut room, 5_000, 10 << 20).now_or_never().unwrap();
        assert!(room.has(MIDDLING) && !room.has(MIDDLING + 1));
        rooms.grow(&mut room, MIDDLING + 1, 10 << 20).now_or_never().unwrap();
        assert!(room.has(10 << 20) && !room.has(11 << 20));
        let body = room.hold(Bytes::from(vec![7; 2 << 20]));
        assert!(rooms.take(10 << 20).now_or_never().is_some(), "two of twelve megabytes are held");
        drop(body);
    }

    #[test]
    fn two_bodies_that_grow_do_not_wait_for_each_other() {
        let rooms = Rooms::new(ALL);
        let (mut one, mut other) = (Room::default(), Room::default());
        for room in [&mut one, &mut other] {
            rooms.grow(room, 5_000, 10 << 20).now_or_never().unwrap();
        }
        rooms.grow(&mut one, 2 << 20, 10 << 20).now_or_never().unwrap();
        assert!(rooms.grow(&mut other, 2 << 20, 10 << 20).now_or_never().is_none());
        drop(one);
        rooms.grow(&mut other, 2 << 20, 10 << 20).now_or_never().unwrap();
    }
}
