//! The scripts as Redis knows them: by their digest, and whole when it has forgotten them.

use std::sync::LazyLock;
use std::time::Duration;

use redis::{Cmd, ErrorKind, RedisResult, ServerErrorKind};

use crate::connection::{CallError, Connection};

/// One script, with what all scripts of the limiter begin with.
pub(crate) struct Script {
    body: &'static str,
    digest: LazyLock<String>,
}

macro_rules! limiter {
    ($name:ident, $file:literal) => {
        pub(crate) static $name: Script = {
            const BODY: &str = concat!(include_str!("../scripts/limiter_state.lua"), include_str!($file));
            Script { body: BODY, digest: LazyLock::new(|| redis::Script::new(BODY).get_hash().to_owned()) }
        };
    };
}

limiter!(RESERVE, "../scripts/limiter_reserve.lua");
limiter!(HOLD, "../scripts/limiter_hold.lua");
limiter!(RESEED, "../scripts/limiter_reseed.lua");

impl Script {
    /// Runs it once; a Redis that does not know it is sent its text.
    pub(crate) async fn run(
        &self,
        connection: &Connection,
        keys: &[String],
        arguments: &[&[u8]],
        patience: Duration,
    ) -> Result<Vec<i64>, CallError> {
        let answer = async {
            let mut link = connection.clone();
            let known: RedisResult<Vec<i64>> = command("EVALSHA", &self.digest, keys, arguments).query_async(&mut link).await;
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
