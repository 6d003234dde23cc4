//! What a connection runs on, and its replacement when nothing is answered on it any more.
//!
//! A way that was cut without a word, by a machine that lost its power or a router that forgot, looks like a slow Redis
//! for a quarter of an hour. So when a call waited in vain and nothing else was answered meanwhile, another connection is
//! tried: it takes over when it answers. While Redis itself is silent the old one stays.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, ErrorKind, RedisResult};

use crate::connection::OPENING;

/// One way to Redis; clones share it.
#[derive(Clone)]
pub(crate) enum Link {
    Single(ConnectionManager),
    Cluster(ClusterConnection),
}

/// The link in use.
pub(crate) struct Links {
    nodes: Vec<ConnectionInfo>,
    current: Mutex<Link>,
    /// When anything was answered the last time.
    heard: Mutex<Instant>,
    is_trying: AtomicBool,
}

impl Links {
    pub(crate) fn new(link: Link, nodes: Vec<ConnectionInfo>) -> Links {
        Links { nodes, current: Mutex::new(link), heard: Mutex::new(Instant::now()), is_trying: AtomicBool::new(false) }
    }

    pub(crate) fn current(&self) -> Link {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Something came back.
    pub(crate) fn answered(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// A call that `began` then waited in vain.
    pub(crate) fn unanswered(self: &Arc<Links>, began: Instant, place: &str) {
        let heard = *self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if heard >= began || self.is_trying.swap(true, Ordering::AcqRel) {
            return;
        }
        let (links, place) = (Arc::clone(self), place.to_owned());
        tokio::spawn(async move {
            if let Ok(Ok(link)) = tokio::time::timeout(OPENING, Link::open(&links.nodes)).await {
                *links.current.lock().unwrap_or_else(PoisonError::into_inner) = link;
                links.answered();
                tracing::warn!("nothing came back on the connection to redis at {place}; a new one has taken its place");
            }
            links.is_trying.store(false, Ordering::Release);
        });
    }
}

impl Link {
    /// Opens a link by whichever of `nodes` answers first, in their order; a node of a cluster is recognised as such.
    pub(crate) async fn open(nodes: &[ConnectionInfo]) -> RedisResult<Link> {
        let mut last = None;
        for node in nodes {
            match probe(node).await {
                Ok(true) => return cluster(nodes).await,
                Ok(false) => return single(node).await,
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| (ErrorKind::InvalidClientConfig, "no host").into()))
    }
}

/// One short-lived connection: is somebody there, does it let us in, is it part of a cluster?
async fn probe(node: &ConnectionInfo) -> RedisResult<bool> {
    let client = Client::open(node.clone())?;
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(OPENING)).set_response_timeout(Some(OPENING));
    let mut link = client.get_multiplexed_async_connection_with_config(&config).await?;
    let told: String = redis::cmd("INFO").arg("cluster").query_async(&mut link).await?;
    Ok(told.contains("cluster_enabled:1"))
}

async fn single(node: &ConnectionInfo) -> RedisResult<Link> {
    let config = ConnectionManagerConfig::new()
        .set_number_of_retries(usize::MAX)
        .set_min_delay(Duration::from_millis(20))
        .set_max_delay(Duration::from_millis(200))
        .set_connection_timeout(Some(OPENING))
        .set_response_timeout(None);
    Ok(Link::Single(ConnectionManager::new_with_config(Client::open(node.clone())?, config).await?))
}

async fn cluster(nodes: &[ConnectionInfo]) -> RedisResult<Link> {
    let client = ClusterClient::builder(nodes.to_vec())
        .connection_timeout(OPENING)
        .min_retry_wait(20)
        .max_retry_wait(200)
        .retries(8)
        .build()?;
    Ok(Link::Cluster(client.get_async_connection().await?))
}
