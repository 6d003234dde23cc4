//! The scripts as Redis knows them: by their digest, and whole when it has forgotten them.

use std::sync::OnceLock;
use std::time::Duration;

use redis::{Cmd, ErrorKind, FromRedisValue, RedisResult, ServerErrorKind};

use crate::connection::{CallError, Connection};

/// One script.
pub(crate) struct Script {
    body: &'static str,
    digest: OnceLock<String>,
}

impl Script {
    /// A script of this text.
    pub(crate) const fn new(body: &'static str) -> Script {
        Script { body, digest: OnceLock::new() }
    }

    /// Runs it once; a Redis that does not know it is sent its text.
    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        connection: &Connection,
        keys: &[String],
        arguments: &[&[u8]],
        patience: Duration,
    ) -> Result<T, CallError> {
        let answer = async {
            let mut link = connection.clone();
            let digest = self.digest.get_or_init(|| redis::Script::new(self.body).get_hash().to_owned());
            let known: RedisResult<T> = command("EVALSHA", digest, keys, arguments).query_async(&mut link).await;
            match known {
                Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                    command("EVAL", self.body, keys, arguments).query_async(&mut link).await
                }
                known => known,
            }
        };
        connection.within(patience, answer).await
    }
}

fn command(name: &str, script: &str, keys: &[String], arguments: &[&[u8]]) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(script).arg(keys.len());
    for key in keys {
        command.arg(key.as_bytes());
    }
    for argument in arguments {
        command.arg(*argument);
    }
    command
}
