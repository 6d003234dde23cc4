//! Between Rust's numbers and SQLite's 64-bit signed ones.

use rusqlite::Row;
use tidegate_scheduler::Timestamp;

/// A count as a column; a count too great for it becomes the greatest.
pub(super) fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A column as a count; a sum that settling took below zero reads as zero.
pub(super) fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(|number| u64::try_from(number).unwrap_or(0))
}

/// An instant as a column.
pub(super) fn micros(at: Timestamp) -> i64 {
    number(at.as_micros())
}

/// A column as an instant.
pub(super) fn instant(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    row.get(column).map(stamp)
}

/// A column that may be empty as an instant.
pub(super) fn instant_if_any(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    row.get::<_, Option<i64>>(column).map(|micros| micros.map(stamp))
}

fn stamp(micros: i64) -> Timestamp {
    match u64::try_from(micros) {
        Ok(micros) if micros == i64::MAX.unsigned_abs() => Timestamp::NEVER,
        Ok(micros) => Timestamp::from_micros(micros),
        Err(_) => Timestamp::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_survive_the_way_there_and_back() {
        for at in [Timestamp::ZERO, Timestamp::from_micros(1_795_420_800_123_456), Timestamp::NEVER] {
            assert_eq!(stamp(micros(at)), at);
        }
    }
}
