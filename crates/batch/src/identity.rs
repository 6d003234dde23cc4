//! What a row is known by: its own id or one derived from its content, and the fingerprint of what is asked.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// The first 64 bits of a BLAKE3 hash: stands for an id or a fingerprint in tables of many rows.
///
/// Kept as two words so that a table entry of digest and line number takes 12 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest([u32; 2]);

impl Digest {
    /// The digest of an id or any other text.
    pub fn of(text: &str) -> Digest {
        let hash = blake3::hash(text.as_bytes());
        let [a, b, c, d, e, f, g, h, ..] = *hash.as_bytes();
        Digest([u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])])
    }
}

impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(u64::from(self.0[0]) << 32 | u64::from(self.0[1]));
    }
}

/// The fingerprint of a request: equal for requests that ask the same thing the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// Of the canonical text of a request, or of a line that is none.
    pub fn of(canonical: &str) -> Fingerprint {
        let hash = blake3::hash(canonical.as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.as_bytes()[..16]);
        Fingerprint(bytes)
    }

    /// The part of it that stands in a derived id.
    fn id_hash(&self) -> Digest {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        Digest([u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])])
    }

    /// The id of a row that has none of its own; `occurrence` (from 1) keeps equal rows apart.
    ///
    /// ```
    /// use tidegate_batch::identity::Fingerprint;
    /// let print = Fingerprint::of("hello");
    /// assert_eq!(print.derived_id(1), "b3-ea8f163db3868292");
    /// assert_eq!(print.derived_id(2), "b3-ea8f163db3868292-2");
    /// ```
    pub fn derived_id(&self, occurrence: u32) -> String {
        let hex = hex(&self.0[..8]);
        match occurrence {
            0 | 1 => format!("b3-{hex}"),
            n => format!("b3-{hex}-{n}"),
        }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b3:{}", hex(&self.0))
    }
}

/// Every id of the input so far, in at most 30 bytes a row.
#[derive(Debug, Default)]
pub struct Identities {
    explicit: HashMap<Digest, u32, Plain>,
    /// How often the hash of a derived id was given away.
    derived: HashMap<Digest, u32, Plain>,
    /// Places of explicit ids that look like derived ones.
    lookalikes: HashMap<(Digest, u32), u32>,
}

/// Why an explicit id cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// By the row at this place.
    At(u32),
    /// By a row without an id of its own, whose content gives the same id.
    Derived,
}

impl Identities {
    /// Takes an explicit id that stands at place `at`.
    ///
    /// # Errors
    /// When another row has it.
    pub fn claim(&mut self, id: &str, at: u32) -> Result<(), Taken> {
        if let Some(earlier) = self.explicit.insert(Digest::of(id), at) {
            return Err(Taken::At(earlier));
        }
        let Some((hash, occurrence)) = parse_derived(id) else { return Ok(()) };
        if self.derived.get(&hash).is_some_and(|given| *given >= occurrence) {
            return Err(Taken::Derived);
        }
        self.lookalikes.insert((hash, occurrence), at);
        Ok(())
    }

    /// How many rows without an id had this content, the one at hand included.
    ///
    /// # Errors
    /// That number and the place of a row whose explicit id is the one this row would get.
    pub fn occurrence(&mut self, fingerprint: &Fingerprint) -> Result<u32, (u32, u32)> {
        let hash = fingerprint.id_hash();
        let count = self.derived.entry(hash).or_default();
        *count = count.saturating_add(1);
        self.lookalikes.get(&(hash, *count)).map_or(Ok(*count), |at| Err((*count, *at)))
    }
}

/// Hash and occurrence number of an id in the form of [`Fingerprint::derived_id`].
fn parse_derived(id: &str) -> Option<(Digest, u32)> {
    let rest = id.strip_prefix("b3-")?;
    let (hash, number) = rest.split_once('-').map_or((rest, None), |(hash, number)| (hash, Some(number)));
    let is_hex = hash.len() == 16 && hash.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    let word = |range: std::ops::Range<usize>| u32::from_str_radix(hash.get(range)?, 16).ok();
    let hash = Digest([word(0..8).filter(|_| is_hex)?, word(8..16)?]);
    let Some(number) = number else { return Some((hash, 1)) };
    let occurrence: u32 = number.parse().ok()?;
    (occurrence > 1 && occurrence.to_string() == number).then_some((hash, occurrence))
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

type Plain = BuildHasherDefault<Unhashed>;

/// Passes a digest through: it is spread evenly as it is.
#[derive(Debug, Default)]
struct Unhashed(u64);

impl Hasher for Unhashed {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn an_explicit_id_is_taken_once() {
        let mut ids = Identities::default();
        assert_eq!(ids.claim("a", 1), Ok(()));
        assert_eq!(ids.claim("b", 2), Ok(()));
        assert_eq!(ids.claim("a", 3), Err(Taken::At(1)));
    }

    #[test]
    fn an_explicit_id_and_a_derived_one_cannot_be_the_same_whichever_comes_first() {
        let print = Fingerprint::of("one");
        let mut ids = Identities::default();
        assert_eq!([ids.occurrence(&print), ids.occurrence(&print)], [Ok(1), Ok(2)]);
        assert_eq!(ids.claim(&print.derived_id(1), 7), Err(Taken::Derived));
        assert_eq!(ids.claim(&print.derived_id(2), 8), Err(Taken::Derived));
        assert_eq!(ids.claim(&print.derived_id(3), 9), Ok(()));
        assert_eq!(ids.occurrence(&print), Err((3, 9)));
        for other in [format!("{}-1", print.derived_id(1)), print.derived_id(1).to_uppercase(), "b3-".to_owned()] {
            assert_eq!(ids.claim(&other, 10), Ok(()), "{other}");
        }
    }

    #[test]
    fn equal_rows_without_ids_are_numbered() {
        let mut ids = Identities::default();
        let (one, two) = (Fingerprint::of("one"), Fingerprint::of("two"));
        assert_eq!([ids.occurrence(&one), ids.occurrence(&two), ids.occurrence(&one)], [Ok(1), Ok(1), Ok(2)]);
    }

    #[test]
    fn a_fingerprint_is_sixteen_bytes_in_hex() {
        let text = Fingerprint::of("x").to_string();
        assert!(text.starts_with("b3:"));
        assert_eq!(text.len(), 3 + 32);
        assert_ne!(Fingerprint::of("x"), Fingerprint::of("y"));
    }

    #[test]
    fn a_table_entry_takes_twelve_bytes() {
        assert_eq!(std::mem::size_of::<(Digest, u32)>(), 12);
    }
}
