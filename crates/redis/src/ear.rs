//! Listening to a channel of Redis, over a connection that comes back by itself.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt};
use redis::{Client, ErrorKind, RedisError, RedisResult};

use crate::connection::Address;

/// What is published on a channel; `None` each time the connection came back, for what may have been missed.
pub(crate) fn listen(address: Arc<Address>, channel: &'static str) -> BoxStream<'static, Option<String>> {
    let ear = Ear { address, channel, messages: None, pause: LEAST_REST, began: false };
    stream::unfold(ear, Ear::next).boxed()
}

/// A connection that only listens.
struct Ear {
    address: Arc<Address>,
    channel: &'static str,
    messages: Option<BoxStream<'static, String>>,
    pause: Duration,
    began: bool,
}

/// Rest between two attempts to listen again: it doubles.
const LEAST_REST: Duration = Duration::from_millis(100);
const LONGEST_REST: Duration = Duration::from_secs(10);

impl Ear {
    async fn next(mut self) -> Option<(Option<String>, Ear)> {
        loop {
            if let Some(messages) = &mut self.messages {
                if let Some(message) = messages.next().await {
                    return Some((Some(message), self));
                }
                self.messages = None;
                tokio::time::sleep(LEAST_REST).await;
            }
            match listening(&self.address, self.channel).await {
                Ok(messages) => {
                    (self.messages, self.pause) = (Some(messages), LEAST_REST);
                    if std::mem::replace(&mut self.began, true) {
                        return Some((None, self));
                    }
                }
                Err(error) => {
                    tracing::debug!("nothing is heard from redis at {}: {error}", self.address.place());
                    tokio::time::sleep(self.pause).await;
                    self.pause = (self.pause * 2).min(LONGEST_REST);
                }
            }
        }
    }
}

async fn listening(address: &Address, channel: &str) -> RedisResult<BoxStream<'static, String>> {
    let mut last = (ErrorKind::InvalidClientConfig, "no host").into();
    for node in address.nodes() {
        let opened = async {
            let mut link = Client::open(node.clone())?.get_async_pubsub().await?;
            link.subscribe(channel).await?;
            Ok::<_, RedisError>(link)
        };
        match opened.await {
            Ok(link) => {
                let text = |message: redis::Msg| std::future::ready(message.get_payload().ok());
                return Ok(link.into_on_message().filter_map(text).boxed());
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
