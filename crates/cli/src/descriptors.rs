//! How many files and connections the program may have open: as many as the system lets it, and a word where that is too few.

use crate::screen::Screen;
use crate::settings::Settings;

/// Descriptors beside those of calls: files of a run, the local store, the runtime.
const OTHERS: u64 = 64;
/// Calls that should be possible at once when nobody says how many: less than that no machine is set to by itself.
const USUAL_CALLS: u64 = 128;

/// Raises the soft limit to the hard one: shells and containers set it for programs of old that cannot have many.
pub fn raise() {
    #[cfg(unix)]
    unix::raise();
}

/// Warns when the limit is too small for the calls that the settings allow at once, with `each` descriptors for a call: one
/// for the API, one more for a caller of the gateway.
pub fn check(settings: &Settings, each: u64, screen: &Screen) {
    let calls = settings.scheduler.pacing.max_concurrency as u64;
    if let Some(most) = limit().filter(|most| *most < needed(calls, each)) {
        screen.warn(too_few(most, calls, each));
    }
}

fn needed(calls: u64, each: u64) -> u64 {
    (if calls == 0 { USUAL_CALLS } else { calls }).saturating_mul(each).saturating_add(OTHERS)
}

fn too_few(most: u64, calls: u64, each: u64) -> String {
    let room = most.saturating_sub(OTHERS) / each;
    let wanted = if calls == 0 { String::new() } else { format!(" of the {calls} that pacing.max_concurrency allows") };
    let need = needed(calls, each);
    format!(
        "only {most} files and connections may be open, enough for about {room} calls at once{wanted}: allow {need} (`ulimit -n`, LimitNOFILE=, --ulimit nofile=) or lower pacing.max_concurrency"
    )
}

#[cfg(unix)]
fn limit() -> Option<u64> {
    unix::limit()
}

#[cfg(not(unix))]
fn limit() -> Option<u64> {
    None
}

#[cfg(unix)]
mod unix {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    /// What is tried where the hard limit itself is not taken: some systems call it endless and take no more than this.
    const INSTEAD: [u64; 2] = [65_536, 10_240];

    pub fn raise() {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let higher = |wanted: Option<u64>| match (wanted, current) {
            (Some(wanted), Some(current)) => wanted > current,
            (None, Some(_)) => true,
            (_, None) => false,
        };
        let wishes = std::iter::once(maximum).chain(INSTEAD.map(Some)).filter(|wanted| higher(*wanted));
        for current in wishes {
            if setrlimit(Resource::Nofile, Rlimit { current, maximum }).is_ok() {
                return;
            }
        }
    }

    pub fn limit() -> Option<u64> {
        getrlimit(Resource::Nofile).current
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_too_small_for_what_is_told_and_else_for_what_is_usual() {
        assert_eq!((needed(0, 1), needed(500, 1), needed(500, 2)), (192, 564, 1_064));
        let told = too_few(256, 500, 2);
        assert!(told.contains("only 256 files") && told.contains("about 96 calls") && told.contains("allow 1064"), "{told}");
        assert!(!too_few(100, 0, 1).contains("of the"));
    }
}
