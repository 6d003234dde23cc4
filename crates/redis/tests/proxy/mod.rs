//! A network between a worker and its Redis that can be cut, slowed down, or made to swallow what passes.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use tidegate_redis::{Address, Connection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::server::Server;

/// A way to a server; it is gone when dropped.
pub struct Proxy {
    port: u16,
    weather: watch::Sender<Weather>,
    doorman: JoinHandle<()>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Weather {
    /// Connections are closed, new ones at once.
    cut: bool,
    /// Everything takes this long, each way.
    delay: Duration,
    /// How many connections there were.
    opened: u64,
    /// What was opened up to this one stays open and passes nothing on, for ever.
    silent: u64,
    /// What was opened up to this one passes no answers on.
    mute: u64,
}

impl Proxy {
    pub async fn before(server: &Server) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let weather = watch::Sender::new(Weather::default());
        let doorman = tokio::spawn(doorman(listener, server.port(), weather.clone()));
        Proxy { port, weather, doorman }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub async fn connect(&self) -> Connection {
        Connection::open(&Address::parse(&self.url()).unwrap()).await.unwrap()
    }

    /// Closes all connections and lets none through.
    pub fn cut(&self) {
        self.weather.send_modify(|weather| weather.cut = true);
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.weather.send_modify(|weather| weather.cut = false);
    }

    /// Everything takes so much longer, each way.
    pub fn slow(&self, each_way: Duration) {
        self.weather.send_modify(|weather| weather.delay = each_way);
    }

    /// Connections there are swallow everything from now on and nobody is told; new ones work.
    pub fn go_silent(&self) {
        self.weather.send_modify(|weather| weather.silent = weather.opened);
    }

    /// Connections there pass on what is asked, and swallow the answers.
    pub fn go_mute(&self) {
        self.weather.send_modify(|weather| weather.mute = weather.opened);
    }

    /// How many connections were made.
    pub fn opened(&self) -> u64 {
        self.weather.borrow().opened
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.doorman.abort();
        self.cut();
    }
}

async fn doorman(listener: TcpListener, port: u16, weather: watch::Sender<Weather>) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        if weather.borrow().cut {
            continue;
        }
        let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
        weather.send_modify(|weather| weather.opened += 1);
        let number = weather.borrow().opened;
        client.set_nodelay(true).unwrap();
        server.set_nodelay(true).unwrap();
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        tokio::spawn(pass(from_client, to_server, weather.subscribe(), move |now| number > now.silent));
        tokio::spawn(pass(from_server, to_client, weather.subscribe(), move |now| number > now.silent.max(now.mute)));
    }
}

/// One direction of a connection, until either end or the weather ends it.
async fn pass(
    mut from: OwnedReadHalf,
    to: OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
    passes: impl Fn(Weather) -> bool,
) {
    let (line, delayed) = mpsc::unbounded_channel();
    let writer = tokio::spawn(write(delayed, to));
    let mut buffer = vec![0; 65_536];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            _ = weather.wait_for(|weather| weather.cut) => {
                writer.abort();
                return;
            }
        };
        let Ok(size @ 1..) = read else { return };
        let now = *weather.borrow();
        if passes(now) && line.send((Instant::now() + now.delay, buffer[..size].to_vec())).is_err() {
            return;
        }
    }
}

/// Writes everything when its time has come.
async fn write(mut delayed: mpsc::UnboundedReceiver<(Instant, Vec<u8>)>, mut to: OwnedWriteHalf) {
    while let Some((due, bytes)) = delayed.recv().await {
        sleep_until(due).await;
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
}
