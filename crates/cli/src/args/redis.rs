//! The flag of every command that meets others in Redis.

use clap::Args;

use crate::settings::layers::Layer;
use crate::settings::redis::RedisLayer;

/// Where Redis is.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Sharing")]
pub struct RedisArgs {
    /// Share limits with other processes through this Redis: redis://USER:PASSWORD@HOST:PORT/DB, rediss:// for TLS
    /// (TIDEGATE_REDIS_URL keeps a password out of sight)
    #[arg(long, value_name = "URL")]
    pub redis: Option<String>,
}

impl RedisArgs {
    /// What this flag says, over `below`.
    pub fn layer(&self, below: Layer) -> Layer {
        let url = self.redis.clone().map(Into::into);
        Layer { redis: RedisLayer { url: url.or(below.redis.url), ..below.redis }, ..below }
    }
}
