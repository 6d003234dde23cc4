//! How often each of some workers may call, so that all of them together keep to a limit.

use serde_json::json;

use crate::exit_code::Failure;

/// Workers that share a limit of requests a minute evenly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rhythm {
    workers: u32,
    rpm: u64,
}

impl Rhythm {
    /// So many workers under so many requests a minute.
    ///
    /// # Errors
    /// When the limit is nothing at all.
    pub fn new(workers: u32, rpm: u64) -> Result<Rhythm, Failure> {
        if rpm == 0 {
            return Err(Failure::usage("--rpm 0 lets nobody call: give at least 1"));
        }
        Ok(Rhythm { workers, rpm })
    }

    /// Seconds from one call of a worker to its next: 60 x workers / requests a minute.
    pub fn seconds(self) -> f64 {
        60.0 * f64::from(self.workers) / self.rpm as f64
    }

    /// For people.
    pub fn text(self) -> String {
        let Rhythm { workers, rpm } = self;
        let (each, all) = (number(self.seconds()), number(60.0 / rpm as f64));
        format!(
            "{workers} workers at {rpm} requests a minute: each calls every {each} s, all together every {all} s\n\
             as slots: --slots-per-key {workers} --slot-interval {each}s"
        )
    }

    /// For programs.
    pub fn json(self) -> String {
        let seconds = self.seconds();
        json!({
            "workers": self.workers,
            "rpm": self.rpm,
            "seconds_per_worker": seconds,
            "slots_per_key": self.workers,
            "slot_interval_s": seconds,
        })
        .to_string()
    }
}

/// At most three digits behind the point, none that say nothing; rounded up, so that a limit is kept.
fn number(seconds: f64) -> String {
    let text = format!("{:.3}", (seconds * 1000.0 - 1e-6).ceil() / 1000.0);
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn four_workers_at_ten_a_minute_call_every_24_seconds() {
        let rhythm = Rhythm::new(4, 10).unwrap();
        assert_eq!(rhythm.seconds(), 24.0);
        assert_eq!(
            rhythm.text(),
            "4 workers at 10 requests a minute: each calls every 24 s, all together every 6 s\n\
             as slots: --slots-per-key 4 --slot-interval 24s"
        );
    }

    #[test]
    fn an_interval_is_never_rounded_below_what_the_limit_allows() {
        assert_eq!(number(60.0 / 7.0), "8.572");
        assert_eq!(number(0.5), "0.5");
        assert_eq!(Rhythm::new(1, 0).unwrap_err().message, "--rpm 0 lets nobody call: give at least 1");
    }
}
