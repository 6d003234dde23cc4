//! Files in, files out, nothing lost: inputs, journal, resume, ordered output.
//!
//! [`run()`] takes the rows of its inputs through an [`Ask`] (the engine) and ends each of them exactly once in the
//! output. The output is a journal: a run that was killed is continued by running it again.

mod attachment;
mod budget;
mod check;
mod claims;
mod collection;
mod compile;
pub mod control;
mod drive;
pub mod error_log;
mod errors_file;
mod feed;
mod home;
pub mod identity;
pub mod input;
pub mod journal;
pub mod lock;
pub mod manifest;
mod npy;
pub mod options;
pub mod output;
mod pack;
mod prepare;
pub mod record;
mod refresh;
mod render;
pub mod resume;
pub mod run;
mod spool;
pub mod summary;
mod supersede;
pub mod survey;
pub mod tasks;
pub mod template;

pub use budget::Budget;
pub use claims::check as check_files;
pub use collection::{Collection, NoRecord, Record};
pub use control::{Control, StopReason};
pub use error_log::{ErrorLog, ErrorLogFormat};
pub use input::{Format, Input, InputError};
pub use options::{Durability, FailOn, Options, Task};
pub use output::{Output, OutputError};
pub use record::Status;
pub use run::{Ask, RunError, run};
pub use summary::{Counts, End, ProgressSink, Summary, Update};
