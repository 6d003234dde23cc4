//! Numbers, days and truths as people write them, in English and German.

use std::sync::LazyLock;

use jiff::civil::Date;
use regex::Regex;
use serde_json::Number;

/// Months by the letters they begin with; those that begin alike come in full first.
const MONTHS: [(&str, i8); 22] = [
    ("jan", 1),
    ("jän", 1),
    ("feb", 2),
    ("mar", 3),
    ("mär", 3),
    ("mrz", 3),
    ("mae", 3),
    ("apr", 4),
    ("may", 5),
    ("mai", 5),
    ("jun", 6),
    ("jul", 7),
    ("aug", 8),
    ("sep", 9),
    ("oct", 10),
    ("okt", 10),
    ("nov", 11),
    ("dec", 12),
    ("dez", 12),
    ("janv", 1),
    ("fév", 2),
    ("déc", 12),
];

/// What may stand before a number.
const UNITS: [&str; 10] = ["eur", "euro", "usd", "us", "chf", "gbp", "fr", "ca", "circa", "rs"];

static NUMBER: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"[-−–]?\s?\d[\d.,'’\u{a0} ]*").ok());
static ISO: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\b(\d{4})-(\d{1,2})-(\d{1,2})(?:\D|$)").ok());
static DOTTED: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\b(\d{1,2})\s?([./-])\s?(\d{1,2})\s?[./-]\s?(\d{4}|\d{2})\b").ok());
static DAY_MONTH: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\b(\d{1,2})(?:\.|st|nd|rd|th)?(?:\s+of)?\s*(\p{L}{3,9})\.?,?\s+(\d{4})\b").ok());
static MONTH_DAY: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\b(\p{L}{3,9})\.?\s+(\d{1,2})(?:st|nd|rd|th)?,?\s+(\d{4})\b").ok());

/// The one number of a text, with its currency or unit: `1.234,56 EUR`, `$1,234.56`, `12 Monate`. A text of several numbers,
/// or that has other words before it, is not a number.
pub fn number(text: &str) -> Option<Number> {
    let found = NUMBER.as_ref()?.find(text)?;
    let before = text[..found.start()].trim().trim_end_matches('.').to_lowercase();
    let is_alone = !text[found.end()..].contains(|letter: char| letter.is_ascii_digit());
    if !is_alone || (before.contains(char::is_alphanumeric) && !UNITS.contains(&before.as_str())) {
        return None;
    }
    let digits = plain_number(found.as_str())?;
    serde_json::from_str(&digits).ok()
}

/// A number as JSON writes it. What stands before exactly three digits groups thousands; the last other mark is the decimal one.
fn plain_number(text: &str) -> Option<String> {
    let is_negative = text.starts_with(['-', '−', '–']);
    let kept = |letter: &char| letter.is_ascii_digit() || matches!(letter, '.' | ',');
    let text: String = text.chars().filter(kept).collect();
    let text = text.trim_end_matches(['.', ',']);
    let last = text.rfind(['.', ',']);
    let (whole, fraction) = match last {
        None => (text, ""),
        Some(at) => {
            let (mark, after) = (&text[at..=at], &text[at + 1..]);
            let is_repeated = text.matches(mark).count() > 1;
            let is_other = text[..at].contains(['.', ',']) && !is_repeated;
            let groups = after.len() == 3 && !is_other && text[..at] != *"0";
            if is_repeated || groups { (text, "") } else { (&text[..at], after) }
        }
    };
    let whole: String = whole.chars().filter(char::is_ascii_digit).collect();
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let sign = if is_negative { "-" } else { "" };
    Some(if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") })
}

/// The first day of a text: `2024-03-01`, `01.03.2024`, `1. März 2024`, `March 1st, 2024`. With slashes the day comes first,
/// unless only the other way is a day.
pub fn day(text: &str) -> Option<Date> {
    days(text).into_iter().next().map(|(_, day)| day)
}

/// All days of a text with the words they are written in, in their order.
pub fn days(text: &str) -> Vec<(&str, Date)> {
    let mut found: Vec<(usize, &str, Date)> = Vec::new();
    let forms: [(&LazyLock<Option<Regex>>, Reading); 4] =
        [(&ISO, iso), (&DOTTED, dotted), (&DAY_MONTH, day_month), (&MONTH_DAY, month_day)];
    for (form, read) in forms {
        let Some(form) = form.as_ref() else { continue };
        for captures in form.captures_iter(text) {
            let whole = captures.get_match();
            let overlaps = found.iter().any(|(at, words, _)| whole.start() < at + words.len() && *at < whole.end());
            if let Some(day) = read(&captures).filter(|_| !overlaps) {
                found.push((whole.start(), whole.as_str(), day));
            }
        }
    }
    found.sort_unstable_by_key(|(at, _, _)| *at);
    found.into_iter().map(|(_, words, day)| (words, day)).collect()
}

/// How a form of writing days is read.
type Reading = fn(&regex::Captures<'_>) -> Option<Date>;

fn iso(captures: &regex::Captures<'_>) -> Option<Date> {
    date(&captures[1], captures[2].parse().ok()?, &captures[3])
}

fn dotted(captures: &regex::Captures<'_>) -> Option<Date> {
    let (first, mark, second, year) = (&captures[1], &captures[2], &captures[3], &captures[4]);
    let day_first = date(year, second.parse().ok()?, first);
    // 12/31/2024 can only be American.
    day_first.or_else(|| if mark == "/" { date(year, first.parse().ok()?, second) } else { None })
}

fn day_month(captures: &regex::Captures<'_>) -> Option<Date> {
    date(&captures[3], month(&captures[2])?, &captures[1])
}

fn month_day(captures: &regex::Captures<'_>) -> Option<Date> {
    date(&captures[3], month(&captures[1])?, &captures[2])
}

fn month(name: &str) -> Option<i8> {
    let name = name.to_lowercase();
    MONTHS.iter().find(|(begin, _)| name.starts_with(begin)).map(|(_, month)| *month)
}

fn date(year: &str, month: i8, day: &str) -> Option<Date> {
    let short: i16 = year.parse().ok()?;
    // Two digits mean this century, but for those that would lie far ahead.
    let year = match (year.len(), short) {
        (4, year) => year,
        (_, year) if year < 70 => 2000 + year,
        (_, year) => 1900 + year,
    };
    Date::new(year, month, day.parse().ok()?).ok()
}

/// Yes or no.
pub fn truth(text: &str) -> Option<bool> {
    match text.trim().trim_end_matches('.').to_lowercase().as_str() {
        "true" | "yes" | "y" | "ja" | "wahr" | "oui" | "1" | "x" | "☒" | "☑" | "[x]" => Some(true),
        "false" | "no" | "n" | "nein" | "falsch" | "non" | "0" | "☐" | "[ ]" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_both_styles() {
        for (text, value) in [
            ("1.234,56 EUR", "1234.56"),
            ("$1,234.56", "1234.56"),
            ("1.234", "1234"),
            ("12,5 %", "12.5"),
            ("0.125", "0.125"),
            ("1'234'567", "1234567"),
            ("1.234.567,00", "1234567.00"),
            ("-5", "-5"),
            ("007 agents.", "7"),
            ("EUR 12,50", "12.50"),
            ("2 000 Euro", "2000"),
        ] {
            assert_eq!(number(text).map(|number| number.to_string()).as_deref(), Some(value), "{text}");
        }
        for text in ["none", "value-1", "3 to 4", "about 5"] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    #[test]
    fn days_are_read_in_all_usual_forms() {
        for text in [
            "2024-03-01",
            "01.03.2024",
            "1. März 2024",
            "1 March 2024",
            "March 1st, 2024",
            "the 1st of Mar 2024",
            "1.3.24",
            "01/03/2024",
            "2024-03-01T10:00:00Z",
            "am 01. 03. 2024",
        ] {
            assert_eq!(day(text).map(|day| day.to_string()).as_deref(), Some("2024-03-01"), "{text}");
        }
        assert_eq!(day("12/31/2024").map(|day| day.to_string()).as_deref(), Some("2024-12-31"));
        for text in ["soon", "31.02.2024", "May be 12 2024 pieces", "1.2.3"] {
            assert_eq!(day(text), None, "{text}");
        }
    }

    #[test]
    fn all_days_of_a_text_come_in_their_order() {
        let found: Vec<&str> = days("from 1 May 2024 to 31.12.2025").into_iter().map(|(words, _)| words).collect();
        assert_eq!(found, ["1 May 2024", "31.12.2025"]);
    }

    #[test]
    fn every_expression_is_one() {
        assert!([&NUMBER, &ISO, &DOTTED, &DAY_MONTH, &MONTH_DAY].iter().all(|form| form.is_some()));
    }
}
