//! How long answers are, where the server counts them too.

/// How long answers are, on the mean of the last some hundred.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Answers {
    count: u32,
    tokens: u64,
}

impl Answers {
    pub(super) fn saw(&mut self, tokens: u64) {
        if self.count >= 400 {
            (self.count, self.tokens) = (self.count / 2, self.tokens / 2);
        }
        (self.count, self.tokens) = (self.count + 1, self.tokens.saturating_add(tokens));
    }

    pub(super) fn mean(&self) -> u32 {
        u32::try_from(self.tokens / u64::from(self.count.max(1))).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_follows_the_last_some_hundred() {
        let mut answers = Answers::default();
        assert_eq!(answers.mean(), 0);
        (0..400).for_each(|_| answers.saw(100));
        assert_eq!(answers.mean(), 100);
        (0..800).for_each(|_| answers.saw(900));
        assert!((800..900).contains(&answers.mean()), "{}", answers.mean());
    }
}
