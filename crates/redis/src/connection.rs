//! A connection to one Redis or to a cluster, that comes back by itself however long Redis is away.
//!
//! Opening it looks before it leaps: one attempt of at most five seconds tells a wrong address, password or certificate
//! apart. What was opened never gives up; whoever calls decides with [`Connection::call`] how long an answer may take. A
//! connection on which nothing is answered any more, though nobody closed it, is replaced as soon as a new one answers.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::BoxStream;
use redis::aio::ConnectionLike;
use redis::{
    Cmd, ConnectionInfo, ErrorKind, FromRedisValue, IntoConnectionInfo, Pipeline, RedisError, RedisFuture, RedisResult, Value,
};

use crate::ear;
use crate::link::{Link, Links};

/// Where Redis is and how one gets in; shows neither user nor password.
///
/// `redis://[user:password@]host[:port][/db]`, `rediss://` for TLS, `redis+unix:///path`. Several hosts of a cluster may be
/// listed with commas between them; one is enough, the others are found.
#[derive(Clone)]
pub struct Address {
    nodes: Vec<ConnectionInfo>,
    place: String,
}

/// Why there is no connection: place, reason, remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The text is no address.
    #[error(
        "the redis url cannot be read ({reason}); write it as redis://[user:password@]host[:port][/db], or rediss:// for TLS"
    )]
    Url {
        /// What is wrong with it; never the text itself, which may hold a password.
        reason: String,
    },
    /// Nobody answers there.
    #[error("redis at {place} cannot be reached ({reason}); check host and port, and that redis-server runs")]
    Unreachable {
        /// Host and port.
        place: String,
        /// What the system said.
        reason: String,
    },
    /// Nothing came back in time.
    #[error(
        "redis at {place} did not answer within {limit:?}; check host, port and firewall, and that both sides mean TLS (rediss://) or neither does (redis://)"
    )]
    Silent {
        /// Host and port.
        place: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// It wants another user or password.
    #[error("redis at {place} refused the password ({reason}); put the right one into the url: redis://user:password@host")]
    Password {
        /// Host and port.
        place: String,
        /// The code Redis answered with.
        reason: String,
    },
    /// The encrypted channel did not come about.
    #[error(
        "TLS with redis at {place} failed ({reason}); check the certificate (SSL_CERT_FILE adds a root), or use redis:// when it speaks plainly"
    )]
    Tls {
        /// Host and port.
        place: String,
        /// What failed.
        reason: String,
    },
    /// It answers, but not as wanted.
    #[error("redis at {place} answered with an error ({reason}); see its log")]
    Answer {
        /// Host and port.
        place: String,
        /// The error it gave.
        reason: String,
    },
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The connection broke, or Redis is not there; the call may or may not have been done.
    #[error("redis at {place} is away ({reason}); it is asked again when it is back")]
    Away {
        /// Host and port.
        place: String,
        /// What the system said.
        reason: String,
    },
    /// No answer in time; the call may or may not have been done.
    #[error("redis at {place} did not answer within {limit:?}")]
    Late {
        /// Host and port.
        place: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// Redis has no room left and takes no writes; nothing was done.
    #[error("redis at {place} is full and takes no writes; raise its maxmemory or delete what is not needed")]
    Full {
        /// Host and port.
        place: String,
    },
    /// Redis refused the call; nothing was done.
    #[error("redis at {place} refused the call ({reason})")]
    Refused {
        /// Host and port.
        place: String,
        /// The error it gave.
        reason: String,
    },
}

/// A connection that any number of tasks may use at once; cloning it is cheap.
#[derive(Clone)]
pub struct Connection {
    links: Arc<Links>,
    address: Arc<Address>,
}

/// How long opening may take, all steps together.
pub const OPENING: Duration = Duration::from_secs(5);

impl Address {
    /// Reads an address.
    pub fn parse(text: &str) -> Result<Address, OpenError> {
        let nodes: Vec<ConnectionInfo> = split(text).iter().map(|node| read(node)).collect::<Result<_, _>>()?;
        let place = nodes.iter().map(|node| node.addr().to_string()).collect::<Vec<_>>().join(",");
        Ok(Address { nodes, place })
    }

    /// Host and port, as far as they may be shown.
    pub fn place(&self) -> &str {
        &self.place
    }

    pub(crate) fn nodes(&self) -> &[ConnectionInfo] {
        &self.nodes
    }

    fn encrypted(&self) -> bool {
        self.nodes.iter().any(|node| matches!(node.addr(), redis::ConnectionAddr::TcpTls { .. }))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", self.place)
    }
}

impl Connection {
    /// Opens a connection; a node of a cluster is recognised as such. At most [`OPENING`].
    pub async fn open(address: &Address) -> Result<Connection, OpenError> {
        let silent = || OpenError::Silent { place: address.place.clone(), limit: OPENING };
        match tokio::time::timeout(OPENING, Link::open(&address.nodes)).await {
            Ok(Ok(link)) => {
                let links = Arc::new(Links::new(link, address.nodes.clone()));
                Ok(Connection { links, address: Arc::new(address.clone()) })
            }
            Ok(Err(error)) => Err(refused(address, &error)),
            Err(_) => Err(silent()),
        }
    }

    /// Host and port.
    pub fn place(&self) -> &str {
        &self.address.place
    }

    /// True when keys are spread over several nodes.
    pub fn is_cluster(&self) -> bool {
        matches!(self.links.current(), Link::Cluster(_))
    }

    /// Sends one command and waits for its answer, at most `patience`. While Redis is away that is what passes.
    pub async fn call<T: FromRedisValue>(&self, command: &Cmd, patience: Duration) -> Result<T, CallError> {
        let mut link = self.clone();
        self.within(patience, command.query_async(&mut link)).await
    }

    /// Whether anybody answers.
    pub async fn ping(&self, patience: Duration) -> Result<(), CallError> {
        self.call::<Value>(&redis::cmd("PING"), patience).await.map(drop)
    }

    /// What is published on a channel, over a connection of its own that comes back by itself; `None` each time it did, for
    /// what may have been missed.
    pub fn listen(&self, channel: &'static str) -> BoxStream<'static, Option<String>> {
        ear::listen(self.address.clone(), channel)
    }

    /// Waits for an answer, at most `patience`, and says what its error means.
    pub async fn within<T>(&self, patience: Duration, answer: impl Future<Output = RedisResult<T>>) -> Result<T, CallError> {
        let began = Instant::now();
        match tokio::time::timeout(patience, answer).await {
            Ok(answer) => {
                self.links.answered();
                answer.map_err(|error| self.explain(&error))
            }
            Err(_) => {
                self.links.unanswered(began, self.place());
                Err(CallError::Late { place: self.place().to_owned(), limit: patience })
            }
        }
    }

    /// What an error of Redis means for a call.
    pub fn explain(&self, error: &RedisError) -> CallError {
        let (place, reason) = (self.place().to_owned(), error.to_string());
        match error.code() {
            // Inside a script the code is told in the text.
            Some("OOM") => CallError::Full { place },
            _ if reason.contains("-OOM ") || reason.contains("OOM command not allowed") => CallError::Full { place },
            Some("LOADING" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "READONLY") => CallError::Away { place, reason },
            _ if matches!(error.kind(), ErrorKind::Server(_)) => CallError::Refused { place, reason },
            _ if error.is_timeout() || error.is_io_error() || error.is_connection_dropped() || error.is_cluster_error() => {
                CallError::Away { place, reason }
            }
            _ => CallError::Refused { place, reason },
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({})", self.place())
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        let link = self.links.current();
        Box::pin(async move {
            match link {
                Link::Single(mut link) => link.req_packed_command(cmd).await,
                Link::Cluster(mut link) => link.req_packed_command(cmd).await,
            }
        })
    }

    fn req_packed_commands<'a>(&'a mut self, pipeline: &'a Pipeline, offset: usize, count: usize) -> RedisFuture<'a, Vec<Value>> {
        let link = self.links.current();
        Box::pin(async move {
            match link {
                Link::Single(mut link) => link.req_packed_commands(pipeline, offset, count).await,
                Link::Cluster(mut link) => link.req_packed_commands(pipeline, offset, count).await,
            }
        })
    }

    fn get_db(&self) -> i64 {
        match self.links.current() {
            Link::Single(link) => link.get_db(),
            Link::Cluster(link) => link.get_db(),
        }
    }
}

/// Several hosts with commas between them are as many addresses with the same scheme, password and database.
fn split(text: &str) -> Vec<String> {
    let text = text.trim();
    let Some((scheme, rest)) = text.split_once("://") else { return vec![text.to_owned()] };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let (user, hosts) = authority.rsplit_once('@').map_or(("", authority), |(user, hosts)| (user, hosts));
    let at = if authority.contains('@') { "@" } else { "" };
    hosts.split(',').map(|host| format!("{scheme}://{user}{at}{host}{tail}")).collect()
}

fn read(node: &str) -> Result<ConnectionInfo, OpenError> {
    let reason = |error: RedisError| OpenError::Url {
        reason: match error.detail() {
            // Details may quote the text, and the text may hold a password.
            Some(_) if node.contains('@') => error.category().to_owned(),
            _ => error.to_string(),
        },
    };
    node.into_connection_info().map_err(reason)
}

fn refused(address: &Address, error: &RedisError) -> OpenError {
    let (place, reason) = (address.place.clone(), error.to_string());
    if matches!(error.code(), Some("NOAUTH" | "WRONGPASS" | "NOPERM")) || error.kind() == ErrorKind::AuthenticationFailed {
        let reason = error.code().unwrap_or("authentication failed").to_owned();
        return OpenError::Password { place, reason };
    }
    if error.is_timeout() {
        return OpenError::Silent { place, limit: OPENING };
    }
    if error.is_io_error() && address.encrypted() && !error.is_connection_refusal() {
        return OpenError::Tls { place, reason };
    }
    if error.is_io_error() || error.is_connection_dropped() {
        return OpenError::Unreachable { place, reason };
    }
    OpenError::Answer { place, reason }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_address_shows_host_and_port_only() {
        let address = Address::parse("redis://user:secret@example.com:6380/2").unwrap();
        assert_eq!(address.place(), "example.com:6380");
        assert!(!format!("{address:?}").contains("secret"));
    }

    #[test]
    fn several_hosts_share_password_and_database() {
        let address = Address::parse("redis://:secret@a:1,b:2/3").unwrap();
        assert_eq!(address.place(), "a:1,b:2");
        assert_eq!(address.nodes[1].redis_settings().db(), 3);
        assert_eq!(address.nodes[1].redis_settings().password(), Some("secret"));
    }

    #[test]
    fn what_cannot_be_read_is_not_quoted() {
        for text in ["http://u:secret@host", "redis://u:secret@host:port", "redis://u:secret@host/db", "secret@"] {
            let error = Address::parse(text).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
            assert!(!format!("{error:?}").contains("secret"), "{error:?}");
        }
    }
}
