//! Values as people write them in the settings file and in environment variables.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use tidegate_engine::scheduler::{Day, TpmCounts, WindowKind};
use tidegate_engine::{CountTokens, RetryOn};

use crate::duration;

/// A type that is written as one word or number.
pub trait Written: Sized {
    /// What a right value looks like, to complete "expected ...".
    const EXPECTED: &'static str;
    /// Reads a value; `None` when it is not one.
    fn read(text: &str) -> Option<Self>;
    /// The value as it would be written.
    fn show(&self) -> String;
}

/// Reads one setting of a file: a string or a number, whichever the type understands.
pub fn written<'de, D: Deserializer<'de>, T: Written>(deserializer: D) -> Result<Option<T>, D::Error> {
    deserializer.deserialize_any(Reader(std::marker::PhantomData)).map(Some)
}

struct Reader<T>(std::marker::PhantomData<T>);

impl<T: Written> Visitor<'_> for Reader<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        T::read(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        T::read(&number.to_string()).ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        T::read(&number.to_string()).ok_or_else(|| E::invalid_value(Unexpected::Float(number), &self))
    }
}

macro_rules! whole_numbers {
    ($($number:ty),*) => {$(
        impl Written for $number {
            const EXPECTED: &'static str = "a whole number";
            fn read(text: &str) -> Option<$number> {
                text.trim().replace('_', "").parse().ok()
            }
            fn show(&self) -> String {
                self.to_string()
            }
        }
    )*};
}
whole_numbers!(u32, u64, usize);

impl Written for SocketAddr {
    const EXPECTED: &'static str = "an address and a port such as \"127.0.0.1:8787\"";
    fn read(text: &str) -> Option<SocketAddr> {
        text.trim().parse().ok()
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

impl Written for Duration {
    const EXPECTED: &'static str = "a duration such as \"30s\"";
    fn read(text: &str) -> Option<Duration> {
        duration::parse(text).ok()
    }
    fn show(&self) -> String {
        duration::written(*self)
    }
}

impl Written for WindowKind {
    const EXPECTED: &'static str = "\"auto\", \"sliding\", \"fixed\" or \"bucket\"";
    fn read(text: &str) -> Option<WindowKind> {
        match text.trim() {
            "auto" => Some(WindowKind::Auto),
            "sliding" => Some(WindowKind::Sliding),
            "fixed" => Some(WindowKind::Fixed),
            "bucket" => Some(WindowKind::Bucket),
            _ => None,
        }
    }
    fn show(&self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

impl Written for Day {
    const EXPECTED: &'static str = "\"pacific\" or a duration such as \"24h\"";
    fn read(text: &str) -> Option<Day> {
        match text.trim() {
            "pacific" => Some(Day::Pacific),
            other => duration::parse(other).ok().filter(|day| !day.is_zero()).map(Day::Every),
        }
    }
    fn show(&self) -> String {
        match self {
            Day::Pacific => "pacific".to_string(),
            Day::Every(length) => duration::written(*length),
        }
    }
}

/// A span that may be left to us: `None` = "auto".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AutoSpan(pub Option<Duration>);

impl Written for AutoSpan {
    const EXPECTED: &'static str = "\"auto\" or a duration such as \"500ms\"";
    fn read(text: &str) -> Option<AutoSpan> {
        match text.trim() {
            "auto" => Some(AutoSpan(None)),
            other => duration::parse(other).ok().map(|guard| AutoSpan(Some(guard))),
        }
    }
    fn show(&self) -> String {
        self.0.map_or("auto".to_string(), duration::written)
    }
}

/// The part of a minute's limit that a server's bucket holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Part(pub f64);

impl Written for Part {
    const EXPECTED: &'static str = "a part of a minute's limit, above 0 and up to 1, such as 0.1667";
    fn read(text: &str) -> Option<Part> {
        text.trim().parse().ok().filter(|part| *part > 0.0 && *part <= 1.0).map(Part)
    }
    fn show(&self) -> String {
        format!("{}", (self.0 * 10_000.0).round() / 10_000.0)
    }
}

/// HTTP statuses: a list of numbers, or one text with commas between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statuses(pub RetryOn);

impl Statuses {
    fn of(statuses: Vec<u16>) -> Option<Statuses> {
        let is_error = |status: &u16| (400..600).contains(status);
        statuses.iter().all(is_error).then(|| Statuses(RetryOn::new(statuses)))
    }
}

impl Written for Statuses {
    const EXPECTED: &'static str = "HTTP statuses from 400 to 599, such as [500, 503]";
    fn read(text: &str) -> Option<Statuses> {
        let numbers = text.split(',').map(str::trim).filter(|number| !number.is_empty());
        numbers.map(|number| number.parse().ok()).collect::<Option<Vec<u16>>>().and_then(Statuses::of)
    }
    fn show(&self) -> String {
        format!("{:?}", self.0.statuses())
    }
}

impl<'de> Deserialize<'de> for Statuses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Statuses, D::Error> {
        let statuses = Vec::<u16>::deserialize(deserializer)?;
        Statuses::of(statuses).ok_or_else(|| D::Error::custom(format!("expected {}", Statuses::EXPECTED)))
    }
}

impl Written for CountTokens {
    const EXPECTED: &'static str = "\"never\", \"outliers\" or \"always\"";
    fn read(text: &str) -> Option<CountTokens> {
        match text.trim() {
            "never" => Some(CountTokens::Never),
            "outliers" => Some(CountTokens::Outliers),
            "always" => Some(CountTokens::Always),
            _ => None,
        }
    }
    fn show(&self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

impl Written for TpmCounts {
    const EXPECTED: &'static str = "\"auto\", \"input\" or \"total\"";
    fn read(text: &str) -> Option<TpmCounts> {
        match text.trim() {
            "auto" => Some(TpmCounts::Auto),
            "input" => Some(TpmCounts::Input),
            "total" => Some(TpmCounts::Total),
            _ => None,
        }
    }
    fn show(&self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[derive(Deserialize)]
    struct Line {
        retry_on: Statuses,
    }

    #[test]
    fn statuses_are_a_list_or_a_text_and_only_those_of_errors() {
        let wanted = Statuses(RetryOn::new([500, 529]));
        assert_eq!(toml::from_str::<Line>("retry_on = [500, 529]").unwrap().retry_on, wanted);
        assert_eq!(Statuses::read(" 500, 529 "), Some(wanted.clone()));
        assert_eq!(wanted.show(), "[500, 529]");
        assert_eq!(Statuses::read(""), Some(Statuses(RetryOn::new([]))));
        assert_eq!(Statuses::read("200"), None);
        let error = toml::from_str::<Line>("retry_on = [99]").map(|_| ()).unwrap_err();
        assert!(error.message().contains("HTTP statuses from 400 to 599"), "{error}");
    }

    #[test]
    fn whose_tokens_are_counted_is_one_of_three_words() {
        for whose in [CountTokens::Never, CountTokens::Outliers, CountTokens::Always] {
            assert_eq!(CountTokens::read(&whose.show()), Some(whose));
        }
        assert_eq!(CountTokens::read("often"), None);
    }
}
