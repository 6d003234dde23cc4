//! An observer that joined later, and leaves before the engine ends.

use std::sync::{Arc, Weak};

use crate::driver::Driver;
use crate::event::Observer;

/// As long as this is held, its observer sees every event. It does not keep the engine alive.
#[must_use = "the observer leaves when this is dropped"]
pub struct Observing {
    driver: Weak<Driver>,
    observer: Arc<dyn Observer>,
}

impl Observing {
    pub(crate) fn begin(driver: &Arc<Driver>, observer: Arc<dyn Observer>) -> Observing {
        driver.state.lock().observers.push(observer.clone());
        Observing { driver: Arc::downgrade(driver), observer }
    }
}

impl std::fmt::Debug for Observing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observing").finish_non_exhaustive()
    }
}

impl Drop for Observing {
    fn drop(&mut self) {
        let Some(driver) = self.driver.upgrade() else { return };
        let mut state = driver.state.lock();
        let own = state.observers.iter().rposition(|observer| Arc::ptr_eq(observer, &self.observer));
        own.map(|own| state.observers.remove(own));
    }
}
