//! How many input tokens a request is thought to have, told apart by kind of content.

use std::iter::Sum;
use std::ops::{Add, AddAssign};

/// A kind of content with a rate of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Modality {
    /// Texts, schemas, tools and calls.
    Text,
    /// Pictures.
    Image,
    /// Sound.
    Audio,
    /// Film.
    Video,
    /// Documents, page by page.
    Document,
}

impl Modality {
    /// All of them.
    pub const ALL: [Modality; 5] = [Modality::Text, Modality::Image, Modality::Audio, Modality::Video, Modality::Document];

    /// The name in lower case, as it is stored; the API writes the same in capitals.
    pub fn name(self) -> &'static str {
        match self {
            Modality::Text => "text",
            Modality::Image => "image",
            Modality::Audio => "audio",
            Modality::Video => "video",
            Modality::Document => "document",
        }
    }

    /// The modality of that name, in capitals or not.
    pub fn named(name: &str) -> Option<Modality> {
        Modality::ALL.into_iter().find(|modality| modality.name().eq_ignore_ascii_case(name))
    }

    /// What content of a media type counts as; whatever is no picture, sound or film is a document.
    pub fn of_mime(mime: &str) -> Modality {
        match mime.split('/').next().unwrap_or_default() {
            "image" => Modality::Image,
            "audio" => Modality::Audio,
            "video" => Modality::Video,
            _ => Modality::Document,
        }
    }
}

/// Input tokens by kind of content. A plain number is text.
///
/// ```
/// use tidegate_gemini::tokens::{Estimate, Modality};
/// let estimate = Estimate::from(12) + Estimate::of(Modality::Image, 1_120);
/// assert_eq!((estimate.text, estimate.total()), (12, 1_132));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Estimate {
    /// Tokens of texts.
    pub text: u64,
    /// Tokens of pictures.
    pub image: u64,
    /// Tokens of sound.
    pub audio: u64,
    /// Tokens of film, its sound included.
    pub video: u64,
    /// Tokens of documents.
    pub document: u64,
}

impl Estimate {
    /// Tokens of one kind alone.
    pub fn of(modality: Modality, tokens: u64) -> Estimate {
        let mut estimate = Estimate::default();
        *estimate.part(modality) = tokens;
        estimate
    }

    /// Tokens of all kinds together.
    pub fn total(&self) -> u64 {
        self.parts().into_iter().fold(0, |sum, (_, tokens)| sum.saturating_add(tokens))
    }

    /// Tokens of each kind, in the order of [`Modality::ALL`].
    pub fn parts(&self) -> [(Modality, u64); 5] {
        Modality::ALL.map(|modality| (modality, *self.clone().part(modality)))
    }

    fn part(&mut self, modality: Modality) -> &mut u64 {
        match modality {
            Modality::Text => &mut self.text,
            Modality::Image => &mut self.image,
            Modality::Audio => &mut self.audio,
            Modality::Video => &mut self.video,
            Modality::Document => &mut self.document,
        }
    }
}

impl From<u64> for Estimate {
    fn from(text: u64) -> Estimate {
        Estimate { text, ..Estimate::default() }
    }
}

impl AddAssign for Estimate {
    fn add_assign(&mut self, other: Estimate) {
        for (modality, tokens) in other.parts() {
            let part = self.part(modality);
            *part = part.saturating_add(tokens);
        }
    }
}

impl Add for Estimate {
    type Output = Estimate;

    fn add(mut self, other: Estimate) -> Estimate {
        self += other;
        self
    }
}

impl Sum for Estimate {
    fn sum<I: Iterator<Item = Estimate>>(all: I) -> Estimate {
        all.fold(Estimate::default(), Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_modality_is_found_by_its_name_in_either_case() {
        for modality in Modality::ALL {
            assert_eq!(Modality::named(modality.name()), Some(modality));
            assert_eq!(Modality::named(&modality.name().to_uppercase()), Some(modality));
        }
        assert_eq!(Modality::named("MODALITY_UNSPECIFIED"), None);
    }

    #[test]
    fn sums_keep_the_kinds_apart_and_never_overflow() {
        let all = Modality::ALL.map(|modality| Estimate::of(modality, 7));
        let sum: Estimate = all.into_iter().chain(all).sum();
        assert_eq!(sum, Estimate { text: 14, image: 14, audio: 14, video: 14, document: 14 });
        assert_eq!((sum + Estimate::from(u64::MAX)).total(), u64::MAX);
    }
}
