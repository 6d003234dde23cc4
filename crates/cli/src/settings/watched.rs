//! The files that settings come from: looked at from time to time, they tell when there is something new in them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use super::layers::Layer;
use crate::env_vars::DOTENV;
use crate::keys::KeySource;

/// Files by their paths; also of files that are not there yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watched {
    /// Settings files and `.env`.
    pub settings: Vec<PathBuf>,
    /// Files of keys and tokens.
    pub keys: Vec<PathBuf>,
}

impl Watched {
    /// The settings files that are or would be read, those of `layers`, and `.env`.
    pub fn new(candidates: Vec<PathBuf>, folder: &Path, layers: &[&Layer]) -> Watched {
        let mut settings: Vec<PathBuf> = candidates.into_iter().map(|path| folder.join(path)).collect();
        settings.push(folder.join(DOTENV));
        let keys = layers.iter().flat_map(|layer| {
            let of_projects = layer.projects.iter().flatten().flat_map(|project| &project.keys);
            let of_clients = layer.serve.clients.iter().flatten().flat_map(|client| &client.token);
            let files = of_projects.chain(of_clients).filter_map(|source| match source {
                KeySource::File(path) => Some(layer.folder.join(path)),
                _ => None,
            });
            files.collect::<Vec<_>>()
        });
        Watched { settings, keys: keys.collect() }
    }

    /// A digest of what is in them: another one means something new. Contents are looked at and not times, which may stay.
    pub fn digest(&self) -> u64 {
        let mut digest = DefaultHasher::new();
        for path in self.settings.iter().chain(&self.keys) {
            (path, std::fs::read(path).ok()).hash(&mut digest);
        }
        digest.finish()
    }

    /// The first file of keys that cannot be read, and why: as good as broken settings while others are in force.
    pub fn unreadable_key(&self) -> Option<String> {
        self.keys.iter().find_map(|path| {
            let error = std::fs::read_to_string(path).err()?;
            Some(format!("key file {}: cannot be read: {error}", path.display()))
        })
    }
}
