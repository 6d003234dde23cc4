//! Wishes for JSON, each read and checked once, however many prompts share it.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tidegate_gemini::request::JsonWish;

use super::{SchemaError, Structured};

/// Keeps what wishes come to. Prompts of one run mostly share one schema; some bring their own.
#[derive(Debug)]
pub struct Wishes {
    max_tokens: u64,
    known: Mutex<HashMap<JsonWish, Arc<Structured>>>,
}

/// So many schemas are kept; whoever brings a new one with each prompt has them read each time.
const MOST: usize = 256;

impl Wishes {
    /// For prompts that may use so many tokens in all their attempts, see [`Structured::max_tokens`].
    pub fn new(max_tokens: u64) -> Wishes {
        Wishes { max_tokens, known: Mutex::new(HashMap::new()) }
    }

    /// What a wish comes to.
    ///
    /// # Errors
    /// When its schema cannot be used.
    pub fn get(&self, wish: &JsonWish) -> Result<Arc<Structured>, SchemaError> {
        if let Some(known) = self.known.lock().get(wish) {
            return Ok(known.clone());
        }
        // Read outside of the lock: a large schema takes its time.
        let structured = Arc::new(Structured::new(wish)?.max_tokens(self.max_tokens));
        let mut known = self.known.lock();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(wish.clone(), structured.clone());
        Ok(structured)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_schema_is_read_once_and_a_bad_one_is_never_kept() {
        let wishes = Wishes::new(0);
        let wish = |text: &str| JsonWish::JsonSchema(text.to_owned());
        let first = wishes.get(&wish("{}")).unwrap();
        assert!(Arc::ptr_eq(&first, &wishes.get(&wish("{}")).unwrap()));
        assert!(wishes.get(&wish("{")).is_err() && wishes.get(&wish("{")).is_err());
        for number in 0..2 * MOST {
            wishes.get(&wish(&format!("{{\"maximum\":{number}}}"))).unwrap();
        }
        assert!(wishes.known.lock().len() <= MOST);
    }
}
