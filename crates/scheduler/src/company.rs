//! Company: prompts of a model that share a call also share its faults, and a fault of one call is one fault.

use crate::time::Timestamp;

/// How prompts of one model travel, and the latest fault they had in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Company {
    /// The most prompts of one call; 1 where each goes alone.
    pub most: u32,
    since: Timestamp,
    until: Timestamp,
}

impl Default for Company {
    fn default() -> Company {
        Company { most: 1, since: Timestamp::ZERO, until: Timestamp::ZERO }
    }
}

impl Company {
    /// The pause that others of the same call began; `None` when a fault of an attempt sent at `sent` is news.
    pub(crate) fn shared_pause(&self, now: Timestamp, sent: Timestamp) -> Option<Timestamp> {
        (self.most > 1 && sent <= self.since && now < self.until).then_some(self.until)
    }

    /// A fault was counted at `now`; prompts that had it in common go again at `until`, together.
    pub(crate) fn paused(&mut self, now: Timestamp, until: Timestamp) {
        (self.since, self.until) = (now, until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(100);
    const LATER: Timestamp = Timestamp::from_secs(101);

    #[test]
    fn what_left_before_a_fault_was_known_shares_its_pause_while_that_lasts() {
        let mut company = Company { most: 100, ..Company::default() };
        assert_eq!(company.shared_pause(NOW, NOW), None, "the first fault is news");
        company.paused(NOW, LATER);
        assert_eq!(company.shared_pause(NOW, NOW), Some(LATER));
        assert_eq!(company.shared_pause(LATER, NOW), None, "the pause is over");
        assert_eq!(company.shared_pause(NOW, LATER), None, "sent after the fault was known");
        let alone = Company { most: 1, ..company };
        assert_eq!(alone.shared_pause(NOW, NOW), None);
    }
}
