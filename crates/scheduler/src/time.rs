//! Points in time as the scheduler sees them: whole microseconds since the Unix epoch, always handed in from outside.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in time: microseconds since 1970-01-01T00:00:00Z.
///
/// The scheduler never reads a clock; whoever drives it says what time it is. Arithmetic saturates, so that
/// "never" ([`Timestamp::NEVER`]) plus anything stays "never".
///
/// ```
/// use std::time::Duration;
/// use tidegate_scheduler::Timestamp;
/// let start = Timestamp::from_secs(1_000);
/// assert_eq!(start + Duration::from_millis(1), Timestamp::from_micros(1_000_001_000));
/// assert_eq!((start + Duration::from_secs(2)) - start, Duration::from_secs(2));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The Unix epoch itself; earlier than every real instant.
    pub const ZERO: Timestamp = Timestamp(0);
    /// Later than every real instant: a thing that no passing of time brings about.
    pub const NEVER: Timestamp = Timestamp(u64::MAX);

    /// `micros` microseconds after the epoch.
    pub const fn from_micros(micros: u64) -> Timestamp {
        Timestamp(micros)
    }

    /// `secs` seconds after the epoch.
    pub const fn from_secs(secs: u64) -> Timestamp {
        Timestamp(secs.saturating_mul(1_000_000))
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`, zero if `earlier` is in fact later.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// `self` minus `span`, not before the epoch.
    pub fn before(self, span: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(micros(span)))
    }

    /// True for [`Timestamp::NEVER`].
    pub fn is_never(self) -> bool {
        self == Timestamp::NEVER
    }
}

/// A span in whole microseconds, saturating.
pub(crate) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;
    fn add(self, span: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(micros(span)))
    }
}

impl Sub<Timestamp> for Timestamp {
    type Output = Duration;
    fn sub(self, earlier: Timestamp) -> Duration {
        self.since(earlier)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_never() {
            return f.write_str("never");
        }
        write!(f, "{}.{:06}s", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_stays_never_whatever_is_added() {
        assert!((Timestamp::NEVER + Duration::from_secs(1)).is_never());
    }

    #[test]
    fn a_difference_is_never_negative() {
        assert_eq!(Timestamp::from_secs(1) - Timestamp::from_secs(2), Duration::ZERO);
        assert_eq!(Timestamp::from_secs(1).before(Duration::from_secs(5)), Timestamp::ZERO);
    }
}
