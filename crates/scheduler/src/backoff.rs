//! Pauses after faults: exponential, jittered by a generator that is handed in, never shorter than the server asked.

use std::time::Duration;

use rand::Rng;

/// No pause of our own making is longer than a year.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// Growth of a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first pause.
    pub initial: Duration,
    /// The longest pause of our own making.
    pub max: Duration,
}

impl Backoff {
    /// The pause after the `nth` fault in a row (1 for the first): between half and the whole of `initial * 2^(n-1)`,
    /// at most `max`, at least `hint`.
    pub fn pause(self, nth: u32, hint: Option<Duration>, rng: &mut impl Rng) -> Duration {
        let doublings = nth.saturating_sub(1).min(30);
        let whole = self.initial.saturating_mul(1 << doublings).min(self.max).min(LONGEST);
        let jittered = whole.mul_f64(rng.random_range(0.5..=1.0));
        // A hint is met with the same jitter on top, so that prompts told the same instant do not meet again.
        hint.map_or(jittered, |told| jittered.max(told.saturating_add(whole.mul_f64(rng.random_range(0.0..=0.1)))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    const BACKOFF: Backoff = Backoff { initial: Duration::from_secs(1), max: Duration::from_secs(60) };

    #[test]
    fn the_same_seed_gives_the_same_pauses() {
        let pauses = |seed| {
            let mut rng = SmallRng::seed_from_u64(seed);
            (1..8).map(|n| BACKOFF.pause(n, None, &mut rng)).collect::<Vec<_>>()
        };
        assert_eq!(pauses(7), pauses(7));
        assert_ne!(pauses(7), pauses(8));
    }

    proptest! {
        #[test]
        fn a_pause_grows_up_to_its_bound_and_never_undercuts_the_hint(seed: u64, nth in 1u32..100, hint in prop::option::of(0u64..200)) {
            let hint = hint.map(Duration::from_secs);
            let pause = BACKOFF.pause(nth, hint, &mut SmallRng::seed_from_u64(seed));
            let whole = Duration::from_secs(1u64 << (nth - 1).min(6)).min(Duration::from_secs(60));
            prop_assert!(pause >= whole / 2);
            prop_assert!(pause >= hint.unwrap_or_default());
            prop_assert!(pause <= whole.max(hint.unwrap_or_default() + whole / 10));
        }
    }
}
