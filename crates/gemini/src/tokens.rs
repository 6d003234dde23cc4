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
    let weights = if text.is_ascii() {
        text.bytes().map(|byte| u64::from(ASCII[usize::from(byte & 127)])).sum::<u64>()
    } else {
        text.chars().map(weight).sum::<u64>()
    };
    weights.div_ceil(TOKEN)
}

/// The weights of the first 128 characters: most prompts hold no others, and a look-up is several times faster.
const ASCII: [u8; 128] = {
    let mut table = [0; 128];
    let mut code = 0;
    while code < 128 {
        table[code] = ascii_weight(code as u8);
        code += 1;
    }
    table
};

const fn ascii_weight(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => TOKEN as u8,
        0x21..=0x2f | 0x3a..=0x40 | 0x5b..=0x60 | 0x7b..=0x7e => 10,
        _ => 5,
    }
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
