//! Guesses how many input tokens a text costs; what answers teach about the guess is in `calibration`.

mod calibration;
mod counted;
mod estimate;

pub use calibration::{Calibration, Lesson};
pub use counted::{count_request, input_by_kind, total_counted};
pub use estimate::{Estimate, Modality};

/// One token, in the unit the character weights are given in.
const TOKEN: u64 = 20;

/// Estimated input tokens of `text`, before calibration.
///
/// Every character weighs by its class: four Latin letters a token, one token a digit (the tokenizer splits numbers), two and a
/// half Cyrillic letters, five Chinese, Japanese or Korean characters in four tokens. The sum is rounded up.
///
/// ```
/// assert_eq!(tidegate_gemini::tokens::estimate_text("What's the highest mountain in Africa?"), 10);
/// assert_eq!(tidegate_gemini::tokens::estimate_text(""), 0);
/// ```
pub fn estimate_text(text: &str) -> u64 {
    let weights = if text.is_ascii() { ascii_weights(text.as_bytes()) } else { text.chars().map(weight).sum::<u64>() };
    weights.div_ceil(TOKEN)
}

/// The weight of a text of ASCII alone. Most prompts hold nothing else, and without branches many bytes are weighed at once.
fn ascii_weights(text: &[u8]) -> u64 {
    // What a stretch weighs fits into 16 bits.
    text.chunks(256).map(|stretch| u64::from(stretch.iter().map(|&byte| u16::from(ascii_weight(byte))).sum::<u16>())).sum()
}

fn ascii_weight(byte: u8) -> u8 {
    5 + 5 * u8::from(byte.is_ascii_punctuation()) + (TOKEN as u8 - 5) * u8::from(byte.is_ascii_digit())
}

fn weight(c: char) -> u64 {
    match u32::from(c) {
        code @ 0x00..=0x7f => u64::from(ascii_weight(code as u8)),
        0x80..=0x024f | 0x1e00..=0x1eff => 5,
        0x0400..=0x052f => 8,
        0x0300..=0x03ff | 0x0530..=0x10ff | 0x1200..=0x1dff | 0x1f00..=0x1fff => 10,
        0x2000..=0x206f => 10,
        0x1100..=0x11ff | 0x2e80..=0xd7ff | 0xf900..=0xfaff | 0xff00..=0xffef | 0x20000..=0x3ffff => 16,
        _ => TOKEN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latin_text_is_never_estimated_below_four_characters_a_token() {
        let text = "The wren sings louder than its size lets one expect, and it does so all year.";
        assert!(estimate_text(text) >= (text.chars().count() as u64).div_ceil(4));
        assert!(estimate_text(text) <= (text.chars().count() as u64).div_ceil(3));
    }

    #[test]
    fn each_script_weighs_by_its_own_class() {
        assert_eq!(estimate_text("abcdefgh"), 2);
        assert_eq!(estimate_text("20261122"), 8);
        assert_eq!(estimate_text("привет"), 3);
        assert_eq!(estimate_text("東京都千代"), 4);
        assert_eq!(estimate_text("안녕하세요"), 4);
        assert_eq!(estimate_text("🙂🙂"), 2);
    }
}
