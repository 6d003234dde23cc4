//! Where each medium stands among the texts: at its position token, or before the text when there is none.

use super::{Item, Kind, MediaFault};

/// One part of a turn, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot<'a> {
    /// A text.
    Text(&'a str),
    /// The medium with this number.
    Media(usize),
}

/// The parts of a prompt. Without media the texts stay as they are, tokens included: they may be meant as HTML.
///
/// # Errors
/// When a kind has more or fewer tokens than media.
pub(crate) fn layout<'a>(texts: &'a [String], media: &[Item]) -> Result<Vec<Slot<'a>>, MediaFault> {
    if media.is_empty() {
        return Ok(texts.iter().map(|text| Slot::Text(text)).collect());
    }
    let pieces: Vec<Piece<'a>> = texts.iter().flat_map(|text| pieces(text)).collect();
    let tokens = |kind| pieces.iter().filter(|piece| **piece == Piece::Token(kind)).count();
    if Kind::ALL.into_iter().all(|kind| tokens(kind) == 0) {
        let before = Kind::ALL.into_iter().flat_map(|kind| numbers(kind, media)).map(Slot::Media);
        return Ok(before.chain(texts.iter().map(String::as_str).filter(|text| says_something(text)).map(Slot::Text)).collect());
    }
    for kind in Kind::ALL {
        let (tokens, items) = (tokens(kind), numbers(kind, media).count());
        if tokens != items {
            return Err(MediaFault::TokenCount { kind, tokens, items });
        }
    }
    let mut next = Kind::ALL.map(|kind| numbers(kind, media));
    let placed = pieces.iter().filter_map(|piece| match piece {
        Piece::Text(text) => Some(Slot::Text(text)).filter(|_| says_something(text)),
        Piece::Token(kind) => next[*kind as usize].next().map(Slot::Media),
    });
    Ok(placed.collect())
}

fn numbers(kind: Kind, media: &[Item]) -> impl Iterator<Item = usize> + '_ {
    media.iter().enumerate().filter(move |(_, item)| item.kind == kind).map(|(number, _)| number)
}

fn says_something(text: &str) -> bool {
    !text.trim().is_empty()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece<'a> {
    Text(&'a str),
    Token(Kind),
}

/// A text cut at its tokens; the pieces joined again are the text.
fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let (mut start, mut from) = (0, 0);
    while let Some(found) = text[from..].find('<') {
        let at = from + found;
        from = at + 1;
        if let Some(kind) = Kind::ALL.into_iter().find(|kind| text[at..].starts_with(kind.token())) {
            pieces.extend([Piece::Text(&text[start..at]), Piece::Token(kind)]);
            start = at + kind.token().len();
            from = start;
        }
    }
    pieces.push(Piece::Text(&text[start..]));
    pieces
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::media::Source;

    fn media(kinds: &[Kind]) -> Vec<Item> {
        let item = |kind: &Kind| Item { kind: *kind, source: Source::Path("a".into()), mime: None, video: None };
        kinds.iter().map(item).collect()
    }

    fn of(text: &str, kinds: &[Kind]) -> String {
        let texts = [text.to_owned()];
        match layout(&texts, &media(kinds)) {
            Ok(slots) => slots
                .iter()
                .map(|slot| match slot {
                    Slot::Text(text) => format!("[{text}]"),
                    Slot::Media(number) => number.to_string(),
                })
                .collect(),
            Err(fault) => fault.to_string(),
        }
    }

    use Kind::{Audio, File, Image, Video};

    #[test]
    fn tokens_place_each_medium_of_their_kind_from_left_to_right() {
        assert_eq!(of("a <audio> b <video> c <audio> d", &[Video, Audio, Audio]), "[a ]1[ b ]0[ c ]2[ d]");
        assert_eq!(of("<image>x<file>", &[Image, File]), "0[x]1");
        assert_eq!(of("<image><image>", &[Image, Image]), "01");
        assert_eq!(of("a <image> \n <image>", &[Image, Image]), "[a ]01");
        assert_eq!(of("1 < 2 <<image> <imag>", &[Image]), "[1 < 2 <]0[ <imag>]");
    }

    #[test]
    fn without_tokens_media_go_before_the_text_film_sound_image_file() {
        assert_eq!(of("x", &[File, Image, Audio, Audio, Video]), "42310[x]");
        assert_eq!(of("x", &[Video, Audio, Audio]), "012[x]");
    }

    #[test]
    fn a_wrong_number_of_tokens_names_both_counts() {
        assert_eq!(
            of("<image> <image>", &[Image]),
            "the prompt has 2 <image> tokens, the record 1 image file: give one token for each file"
        );
        assert_eq!(
            of("<audio>", &[Audio, Video]),
            "the prompt has 0 <video> tokens, the record 1 video file: give one token for each file"
        );
        assert_eq!(
            of("<file> <audio>", &[Audio]),
            "the prompt has 1 <file> token, the record 0 files: give one token for each file"
        );
    }

    #[test]
    fn a_prompt_without_media_keeps_its_angle_brackets() {
        assert_eq!(of("what does <video> do?", &[]), "[what does <video> do?]");
    }
}
