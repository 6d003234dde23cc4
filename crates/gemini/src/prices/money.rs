//! Amounts of money in whole nano-dollars, and the days on which prices hold.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};
use std::str::FromStr;

use serde::Deserialize;

/// An amount of US dollars, exact to the nano-dollar: adding a million answers up loses nothing.
///
/// ```
/// use tidegate_gemini::prices::Usd;
/// let each: Usd = "0.0000015".parse()?;
/// assert_eq!((0..1_000_000).map(|_| each).sum::<Usd>(), "$1.50".parse()?);
/// # Ok::<(), tidegate_gemini::prices::MoneyError>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Usd(u64);

/// Why something is no amount or no day.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not an amount.
    #[error("{0:?} is no amount of US dollars: write it like 2.50, at most 1000000")]
    Amount(String),
    /// Not a day.
    #[error("{0:?} is no day: write it like 2026-12-31")]
    Date(String),
}

/// The largest amount read: sums of many stay far from the largest number.
const MOST_DOLLARS: f64 = 1_000_000.0;

impl Usd {
    /// Nothing.
    pub const ZERO: Usd = Usd(0);

    /// `nanos` billionths of a dollar.
    pub const fn of_nanos(nanos: u64) -> Usd {
        Usd(nanos)
    }

    /// The amount in billionths of a dollar.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// Rounded to the nearest nano-dollar.
    ///
    /// # Errors
    /// When it is negative, no number, or beyond $1,000,000.
    pub fn of_dollars(dollars: f64) -> Result<Usd, MoneyError> {
        let fits = (0.0..=MOST_DOLLARS).contains(&dollars);
        if fits { Ok(Usd((dollars * 1e9).round() as u64)) } else { Err(MoneyError::Amount(dollars.to_string())) }
    }

    /// The amount as a number for machine-readable output; never add these up.
    pub fn dollars(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

impl Add for Usd {
    type Output = Usd;
    fn add(self, other: Usd) -> Usd {
        Usd(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Usd {
    fn add_assign(&mut self, other: Usd) {
        *self = *self + other;
    }
}

impl Sum for Usd {
    fn sum<I: Iterator<Item = Usd>>(amounts: I) -> Usd {
        amounts.fold(Usd::ZERO, Add::add)
    }
}

/// `$12.34` from a dollar on, `$0.0123` below, `$0.000012` where four places would show nothing.
impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = match self.0 {
            0 => 2,
            1_000_000_000.. => 2,
            50_000.. => 4,
            _ => 6,
        };
        let unit = 10_u64.pow(9 - places);
        let rounded = self.0.saturating_add(unit / 2) / unit;
        let whole = 10_u64.pow(places);
        write!(f, "${}.{:0width$}", rounded / whole, rounded % whole, width = places as usize)
    }
}

/// Reads `2.50` or `$2.50`.
impl FromStr for Usd {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Usd, MoneyError> {
        let number = text.trim().strip_prefix('$').unwrap_or(text.trim());
        let plain = number.starts_with(|c: char| c.is_ascii_digit() || c == '.');
        let dollars = number.parse().ok().filter(|_| plain);
        dollars.and_then(|dollars| Usd::of_dollars(dollars).ok()).ok_or_else(|| MoneyError::Amount(text.to_string()))
    }
}

/// A day of the calendar, by UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Date {
    year: i32,
    month: u8,
    day: u8,
}

impl Date {
    /// The day on which this many seconds have passed since 1970-01-01T00:00:00Z.
    ///
    /// ```
    /// use tidegate_gemini::prices::Date;
    /// assert_eq!(Date::of_unix_seconds(1_798_761_599).to_string(), "2026-12-31");
    /// assert_eq!(Date::of_unix_seconds(1_798_761_600).to_string(), "2027-01-01");
    /// ```
    pub fn of_unix_seconds(seconds: u64) -> Date {
        // Years that begin in March put the leap day last; 719,468 days lie between 0000-03-01 and the epoch.
        let days = i64::try_from(seconds / 86_400).unwrap_or(i64::MAX / 2) + 719_468;
        let (era, of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        let year = era * 400 + year_of_era + i64::from(month <= 2);
        Date { year: i32::try_from(year).unwrap_or(i32::MAX), month: month as u8, day: day as u8 }
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// Reads `2026-12-31`; what may follow, as in `2026-12-31T10:00:00Z`, is not looked at.
impl FromStr for Date {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Date, MoneyError> {
        let day = text.get(..10).filter(|_| text.len() == 10 || text[10..].starts_with('T'));
        read(day.unwrap_or("")).ok_or_else(|| MoneyError::Date(text.to_string()))
    }
}

impl TryFrom<String> for Date {
    type Error = MoneyError;

    fn try_from(text: String) -> Result<Date, MoneyError> {
        text.parse()
    }
}

fn read(text: &str) -> Option<Date> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let possible = (1..=12).contains(&month) && (1..=31).contains(&day) && parts.next().is_none();
    possible.then_some(Date { year, month, day })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn amounts_are_read_as_people_write_them_and_shown_as_they_read_them() {
        for (written, shown) in [
            ("2.5", "$2.50"),
            ("$12", "$12.00"),
            ("0.0123", "$0.0123"),
            (".75", "$0.7500"),
            ("0.000012", "$0.000012"),
            ("0", "$0.00"),
            ("1000000", "$1000000.00"),
        ] {
            assert_eq!(written.parse::<Usd>().unwrap().to_string(), shown);
        }
        for wrong in ["", "much", "-1", "1e99", "inf", "NaN", "1000001", "2,50"] {
            assert!(wrong.parse::<Usd>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn sums_never_run_over() {
        assert_eq!(Usd::of_nanos(u64::MAX) + Usd::of_nanos(1), Usd::of_nanos(u64::MAX));
    }

    #[test]
    fn days_are_right_around_leap_days_and_turns_of_the_year() {
        for (seconds, date) in [
            (0, "1970-01-01"),
            (951_782_399, "2000-02-28"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_709_164_800, "2024-02-29"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(Date::of_unix_seconds(seconds), date.parse().unwrap(), "{seconds}");
        }
        assert!("2026-12-31".parse::<Date>().unwrap() < "2027-01-01T00:00:00.000Z".parse().unwrap());
    }

    #[test]
    fn what_is_no_day_is_refused() {
        for wrong in ["", "2026-13-01", "2026-1-1", "yesterday", "2026-12-31 x", "2026-00-10", "ää-ää-ää"] {
            assert!(wrong.parse::<Date>().is_err(), "{wrong}");
        }
    }
}
