//! Ctrl-C and SIGTERM: first gently, then at once, then for good.

use std::time::Duration;

use tidegate_batch::{Control, StopReason};
use tokio::sync::mpsc;

use crate::exit_code::ExitCode;
use crate::screen::Screen;

/// How long calls under way may go on after Ctrl-C.
const INTERRUPT_GRACE: Duration = Duration::from_secs(10);
/// The same after SIGTERM: whoever sends it usually kills soon.
const TERMINATE_GRACE: Duration = Duration::from_secs(3);

/// Steers a run by signals, for as long as it lasts.
pub async fn steer(mut signals: mpsc::UnboundedReceiver<Signal>, control: Control, screen: Screen) {
    let mut received = 0;
    while let Some(signal) = signals.recv().await {
        received += 1;
        match received {
            1 => {
                screen.warn(format!("{}: {} again to cancel them", signal.announcement(), signal.name()));
                control.stop(signal.reason(), signal.grace());
            }
            2 => {
                screen.warn("cancelling what is in flight; answers that have come are kept");
                control.cancel(signal.reason());
            }
            _ => std::process::exit(i32::from(signal.exit_code() as u8)),
        }
    }
}

/// A signal that asks the program to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Signal::Interrupt => "Ctrl-C",
            Signal::Terminate => "SIGTERM",
        }
    }

    /// What is said when the first one comes.
    pub fn announcement(self) -> String {
        let grace = self.grace().as_secs();
        format!("{}: no further prompt is sent, those in flight have {grace} s to finish", self.name())
    }

    fn reason(self) -> StopReason {
        match self {
            Signal::Interrupt => StopReason::Interrupted,
            Signal::Terminate => StopReason::Terminated,
        }
    }

    /// How long what is under way may go on.
    pub fn grace(self) -> Duration {
        match self {
            Signal::Interrupt => INTERRUPT_GRACE,
            Signal::Terminate => TERMINATE_GRACE,
        }
    }

    /// What the program leaves with when it is ended by this signal.
    pub fn exit_code(self) -> ExitCode {
        match self {
            Signal::Interrupt => ExitCode::Interrupted,
            Signal::Terminate => ExitCode::Terminated,
        }
    }
}

/// The signals from now on. When they cannot be caught, they end the program as usual.
pub fn listen() -> mpsc::UnboundedReceiver<Signal> {
    let (sender, receiver) = mpsc::unbounded_channel();
    listen_into(&sender);
    receiver
}

#[cfg(unix)]
fn listen_into(sender: &mpsc::UnboundedSender<Signal>) {
    use tokio::signal::unix::{SignalKind, signal};
    for (kind, meaning) in [(SignalKind::interrupt(), Signal::Interrupt), (SignalKind::terminate(), Signal::Terminate)] {
        match signal(kind) {
            Ok(mut stream) => {
                let sender = sender.clone();
                tokio::spawn(async move { while stream.recv().await.is_some() && sender.send(meaning).is_ok() {} });
            }
            Err(error) => tracing::warn!(%error, "a signal cannot be caught"),
        }
    }
}

#[cfg(not(unix))]
fn listen_into(sender: &mpsc::UnboundedSender<Signal>) {
    let sender = sender.clone();
    tokio::spawn(async move { while tokio::signal::ctrl_c().await.is_ok() && sender.send(Signal::Interrupt).is_ok() {} });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::screen::Look;

    #[tokio::test]
    async fn the_reason_is_that_of_the_first_signal() {
        let (sender, receiver) = mpsc::unbounded_channel();
        let control = Control::new();
        for signal in [Signal::Terminate, Signal::Interrupt] {
            sender.send(signal).unwrap();
        }
        drop(sender);
        steer(receiver, control.clone(), Screen::new(Look { quiet: true, ..Look::default() })).await;
        assert_eq!(control.reason(), Some(StopReason::Terminated));
    }
}
