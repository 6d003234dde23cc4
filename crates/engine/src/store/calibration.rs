//! What was learned of token estimates: per model family and kind of content, tokens guessed and tokens counted.

use rusqlite::params;

use super::{Store, StoreError};

/// Sums over past answers; `actual / estimated` is the ratio that a new estimate is multiplied with.
#[derive(Debug, Clone, PartialEq)]
pub struct CalibrationSums {
    /// The model family.
    pub model: String,
    /// The kind of content, in lower case (`text`, `image`, ...), or `output`: answers against their tokens. Empty in files of
    /// versions that knew text only.
    pub modality: String,
    /// Tokens we guessed.
    pub estimated: f64,
    /// Tokens the API counted for the same.
    pub actual: f64,
}

impl Store {
    /// Keeps these sums; each takes the place of the earlier sums of its model and modality, others stay.
    ///
    /// Sums that are no positive numbers teach nothing and are passed over.
    pub fn save_calibration(&self, sums: &[CalibrationSums]) -> Result<(), StoreError> {
        let usable = |sum: &f64| sum.is_finite() && *sum > 0.0;
        self.together(|| {
            for sums in sums.iter().filter(|sums| usable(&sums.estimated) && usable(&sums.actual)) {
                self.write(
                    "INSERT OR REPLACE INTO calibration (scope, model, modality, estimated, actual) VALUES (?1, ?2, ?3, ?4, ?5)",
                    params![self.scope, sums.model, sums.modality, sums.estimated, sums.actual],
                )?;
            }
            Ok(())
        })
    }

    /// All kept sums, by model and modality.
    pub fn load_calibration(&self) -> Result<Vec<CalibrationSums>, StoreError> {
        self.rows(
            "SELECT model, modality, estimated, actual FROM calibration WHERE scope = ?1 ORDER BY model, modality",
            params![self.scope],
            |row| Ok(CalibrationSums { model: row.get(0)?, modality: row.get(1)?, estimated: row.get(2)?, actual: row.get(3)? }),
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn sums(model: &str, estimated: f64, actual: f64) -> CalibrationSums {
        CalibrationSums { model: model.into(), modality: String::new(), estimated, actual }
    }

    #[test]
    fn later_sums_take_the_place_of_earlier_ones_and_other_models_stay() {
        let store = Store::in_memory("http://a").unwrap();
        store.save_calibration(&[sums("m", 100.0, 110.0), sums("n", 10.0, 9.5)]).unwrap();
        store.save_calibration(&[sums("m", 200.0, 240.25)]).unwrap();
        assert_eq!(store.load_calibration(), Ok(vec![sums("m", 200.0, 240.25), sums("n", 10.0, 9.5)]));
    }

    #[test]
    fn sums_that_are_no_numbers_are_passed_over() {
        let store = Store::in_memory("http://a").unwrap();
        let spoiled = [sums("m", f64::NAN, 1.0), sums("m", 1.0, f64::INFINITY), sums("m", 0.0, 1.0), sums("m", 1.0, -1.0)];
        store.save_calibration(&spoiled).unwrap();
        assert_eq!(store.load_calibration(), Ok(vec![]));
    }
}
