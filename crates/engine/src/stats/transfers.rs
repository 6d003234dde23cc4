//! Uploads under way, as a fold over their steps.

use std::collections::HashMap;
use std::sync::Arc;

use crate::uploads::{Upload, UploadStep};

/// Files on their way to the storage of projects, and those that have arrived.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transfers {
    /// By project and file: bytes that have arrived, and its size.
    under_way: HashMap<(Arc<str>, Arc<str>), (u64, u64)>,
    /// Uploads that prompts may use.
    pub ready: u64,
    /// Uploads that did not succeed; a prompt that needs one tries again.
    pub failed: u64,
}

impl Transfers {
    /// Takes one step in.
    pub fn fold(&mut self, upload: &Upload) {
        let name = || (upload.project.clone(), upload.file.clone());
        match upload.step {
            UploadStep::Sent(bytes) => {
                self.under_way.insert(name(), (bytes, upload.size));
            }
            UploadStep::Processing => {
                self.under_way.insert(name(), (upload.size, upload.size));
            }
            UploadStep::Ready => {
                self.under_way.remove(&name());
                self.ready += 1;
            }
            UploadStep::Failed => {
                self.under_way.remove(&name());
                self.failed += 1;
            }
            UploadStep::Deleted => {}
        }
    }

    /// How many are under way, bytes of them that have arrived, and bytes of them in all.
    pub fn under_way(&self) -> (u64, u64, u64) {
        let add = |(files, sent, size), (its_sent, its_size): &(u64, u64)| (files + 1, sent + its_sent, size + its_size);
        self.under_way.values().fold((0, 0, 0), add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_under_way_from_its_first_byte_until_prompts_may_use_it() {
        let mut transfers = Transfers::default();
        let mut step = |project: &str, step| {
            transfers.fold(&Upload { project: project.into(), file: "film.mp4".into(), size: 100, step });
            (transfers.under_way(), transfers.ready, transfers.failed)
        };
        assert_eq!(step("a", UploadStep::Sent(0)), ((1, 0, 100), 0, 0));
        assert_eq!(step("b", UploadStep::Sent(0)), ((2, 0, 200), 0, 0));
        assert_eq!(step("a", UploadStep::Sent(64)), ((2, 64, 200), 0, 0));
        assert_eq!(step("a", UploadStep::Processing), ((2, 100, 200), 0, 0));
        assert_eq!(step("a", UploadStep::Ready), ((1, 0, 100), 1, 0));
        assert_eq!(step("b", UploadStep::Failed), ((0, 0, 0), 1, 1));
        assert_eq!(step("a", UploadStep::Deleted), ((0, 0, 0), 1, 1));
    }
}
