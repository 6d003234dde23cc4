//! Flags of `tidegate serve`.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

use super::{PacingArgs, RedisArgs};
use crate::duration;
use crate::settings::layers::{Layer, ServeLayer};

/// Flags of `serve`.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// Address to listen on; port 0 takes a free one (default 127.0.0.1:8787)
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// How long a request waits for its permit, unless it says otherwise (default 300s)
    #[arg(long, value_name = "DUR", value_parser = duration::parse)]
    pub max_wait: Option<Duration>,

    /// Limits and pacing.
    #[command(flatten)]
    pub pacing: PacingArgs,
    /// Whom limits are shared with.
    #[command(flatten)]
    pub sharing: RedisArgs,
}

impl ServeArgs {
    /// What these flags say, over `below`.
    pub fn layer(&self, below: Layer) -> Layer {
        let serve = ServeLayer { listen: self.listen, max_wait: self.max_wait, ..ServeLayer::default() };
        Layer { serve, ..self.sharing.layer(self.pacing.layer(below)) }
    }
}
