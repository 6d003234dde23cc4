//! Reads the inputs on a thread of its own and hands over, one by one, the rows that are to be asked.

use std::io;
use std::thread;

use jiff::Timestamp;
use tidegate_engine::{Error, Request};
use tidegate_gemini::pack::Item;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::compile::{BadRow, Compiled, Compiler};
use crate::identity::{Fingerprint, Identities, Taken};
use crate::input::{Input, InputError, Place, Row, Rows};
use crate::options::{Options, Task};
use crate::pack::Earlier;
use crate::prepare::Selection;
use crate::record::{self, Asked, Done};

/// Rows of a file that are handed over together: waking whoever waits for one costs more than reading it.
const TOGETHER: usize = 16;
/// Handfuls read ahead of the rows admitted.
const AHEAD: usize = 4;

/// What comes out of the inputs.
pub(crate) enum Fed {
    /// A row to ask, and what makes it fit to share a call.
    Ask(Box<Asked>, Request, Option<Item>),
    /// A row that names media which cannot be had: it ends here, others go on.
    Broken(Box<Asked>, Error),
    /// A bad line's record.
    Skipped(Box<(String, Done)>),
    /// A bad line or a broken input: nothing follows.
    Refused(InputError),
    /// Everything has been read.
    Ended,
}

/// The near end of the reading thread.
pub(crate) struct Feeding {
    rows: Receiver<Vec<Fed>>,
    at_hand: std::vec::IntoIter<Fed>,
}

impl Feeding {
    /// The next row; `None` when the thread is gone.
    pub(crate) async fn next(&mut self) -> Option<Fed> {
        while self.at_hand.as_slice().is_empty() {
            self.at_hand = self.rows.recv().await?.into_iter();
        }
        self.at_hand.next()
    }

    /// The next row, if it is here already.
    pub(crate) fn at_hand(&mut self) -> Option<Fed> {
        self.at_hand.next()
    }
}

/// Starts reading. Dropping what it gives ends it at the next rows.
pub(crate) fn start(inputs: Vec<Input>, compiler: Compiler, selection: Selection, options: &Options) -> io::Result<Feeding> {
    let (rows, receiver) = channel(AHEAD);
    let feed = Feed {
        task: options.task,
        compiler,
        rows,
        // A row of a stream must not wait for the next one.
        together: if matches!(selection, Selection::Live(_)) { 1 } else { TOGETHER },
        left: options.limit.unwrap_or(u64::MAX),
        skip_invalid: options.skip_invalid,
        keep_lines: options.errors.is_some(),
        packs: options.pack > 1 && options.task == Task::Answer && !options.full_response,
    };
    thread::Builder::new().name("input".to_owned()).spawn(move || feed.run(inputs, selection))?;
    Ok(Feeding { rows: receiver, at_hand: Vec::new().into_iter() })
}

struct Feed {
    task: Task,
    compiler: Compiler,
    rows: Sender<Vec<Fed>>,
    together: usize,
    left: u64,
    skip_invalid: bool,
    keep_lines: bool,
    packs: bool,
}

impl Feed {
    fn run(mut self, inputs: Vec<Input>, mut selection: Selection) {
        if let Selection::Planned(plan) = &selection {
            self.left = plan.to_ask;
        }
        let mut walk = Walk::through(inputs);
        let mut ready = Vec::with_capacity(self.together);
        while self.left > 0 {
            let fed = match walk.next() {
                None => break,
                Some(Err(error)) => Fed::Refused(error),
                Some(Ok(located)) => match self.row(located, &mut walk, &mut selection) {
                    Ok(Some(fed)) => fed,
                    Ok(None) => continue,
                    Err(error) => Fed::Refused(error),
                },
            };
            self.left -= 1;
            let is_last = matches!(fed, Fed::Refused(_));
            ready.push(fed);
            if is_last {
                break;
            }
            if ready.len() >= self.together {
                let handful = std::mem::replace(&mut ready, Vec::with_capacity(self.together));
                if self.rows.blocking_send(handful).is_err() {
                    return;
                }
            }
        }
        if !matches!(ready.last(), Some(Fed::Refused(_))) {
            ready.push(Fed::Ended);
        }
        let _ = self.rows.blocking_send(ready);
    }

    fn row(&self, at: Located, walk: &mut Walk<'_>, selection: &mut Selection) -> Result<Option<Fed>, InputError> {
        if let Selection::Planned(plan) = &selection
            && !plan.asks(at.index)
        {
            return Ok(None);
        }
        match (self.compiler.compile(&at.row), selection) {
            (Ok(compiled), Selection::Planned(plan)) => {
                let derived = || compiled.fingerprint().derived_id(plan.occurrence(at.index));
                let id = compiled.prompt.id.clone().unwrap_or_else(derived);
                Ok(Some(self.ask(id, &at, compiled)))
            }
            (Ok(compiled), Selection::Live(ids)) => {
                let (id, ..) = walk.identify(&compiled, &at, ids)?;
                Ok(Some(self.ask(id, &at, compiled)))
            }
            (Err(bad), _) if !self.skip_invalid => Err(walk.malformed(&bad)),
            (Err(bad), Selection::Planned(plan)) => {
                let id = bad.fingerprint.derived_id(plan.occurrence(at.index));
                Ok(Some(skipped(id, at.index, &bad, walk)))
            }
            (Err(bad), Selection::Live(ids)) => {
                let (id, ..) = walk.identify_bad(&bad, ids)?;
                Ok(Some(skipped(id, at.index, &bad, walk)))
            }
        }
    }

    fn ask(&self, id: String, at: &Located, mut compiled: Compiled) -> Fed {
        let fingerprint = compiled.fingerprint().to_string();
        let media = compiled.placed();
        let item = if self.packs { Item::of(&compiled.prompt, &compiled.request) } else { None };
        let Compiled { prompt, request, structured, .. } = compiled;
        let asked = Asked {
            index: at.index,
            fingerprint,
            model: request.model.clone(),
            metadata: prompt.metadata,
            extra: prompt.extra,
            line: self.keep_lines.then(|| at.row.original()),
            berth: None,
            earlier: Earlier::default(),
            id,
        };
        let media = match media {
            Ok(media) => media,
            Err(reason) => return Fed::Broken(Box::new(asked), Error::input("media", reason, false)),
        };
        let request = match self.task {
            Task::Answer => Request::new(request),
            Task::Embed(_) => Request::embedding(request),
        };
        let mut request = request.labelled(asked.id.as_str());
        if let Some(media) = media {
            request = request.with_media(media);
        }
        request.priority = prompt.priority;
        request.identity = Some(asked.fingerprint.as_str().into());
        request.structured = structured;
        Fed::Ask(Box::new(asked), request, item)
    }
}

fn skipped(id: String, index: u64, bad: &BadRow, walk: &Walk<'_>) -> Fed {
    let message = format!("{}: {}", walk.place(bad), bad.reason);
    let done = record::skipped(&id, index, &bad.fingerprint.to_string(), &message, Timestamp::now());
    Fed::Skipped(Box::new((id, done)))
}

/// A row with its place among all inputs.
pub(crate) struct Located {
    /// From 0, over all inputs.
    pub(crate) index: u64,
    /// Its line, counted over all inputs.
    ordinal: u32,
    pub(crate) row: Row,
}

/// All rows of all inputs, one after the other.
pub(crate) struct Walk<'a> {
    inputs: Box<dyn Iterator<Item = (String, Result<Rows, InputError>)> + 'a>,
    rows: Option<Rows>,
    /// The inputs so far, each with the count of lines before it.
    starts: Vec<(String, u32)>,
    index: u64,
    last: u32,
}

impl<'a> Walk<'a> {
    /// Through files, which can be read again.
    pub(crate) fn over(inputs: &'a [Input]) -> Walk<'a> {
        Walk::new(inputs.iter().map(|input| (input.name().to_owned(), input.rows())))
    }

    /// Through files and streams, once.
    pub(crate) fn through(inputs: Vec<Input>) -> Walk<'static> {
        Walk::new(inputs.into_iter().map(|input| (input.name().to_owned(), input.into_rows())))
    }

    fn new(inputs: impl Iterator<Item = (String, Result<Rows, InputError>)> + 'a) -> Walk<'a> {
        Walk { inputs: Box::new(inputs), rows: None, starts: Vec::new(), index: 0, last: 0 }
    }

    pub(crate) fn next(&mut self) -> Option<Result<Located, InputError>> {
        loop {
            if let Some(row) = self.rows.as_mut().and_then(Iterator::next) {
                return Some(row.map(|row| self.locate(row)));
            }
            let (name, rows) = self.inputs.next()?;
            self.starts.push((name, self.last));
            match rows {
                Ok(rows) => self.rows = Some(rows),
                Err(error) => return Some(Err(error)),
            }
        }
    }

    fn locate(&mut self, row: Row) -> Located {
        let start = self.starts.last().map_or(0, |(_, start)| *start);
        self.last = start.saturating_add(u32::try_from(row.line).unwrap_or(u32::MAX));
        self.index += 1;
        Located { index: self.index - 1, ordinal: self.last, row }
    }

    /// Id and occurrence number of a row; an error when another row has its id.
    pub(crate) fn identify(&self, compiled: &Compiled, at: &Located, ids: &mut Identities) -> Result<(String, u32), InputError> {
        let Some(id) = &compiled.prompt.id else { return self.derive(compiled.fingerprint(), ids) };
        let place = || self.line(at.ordinal);
        match ids.claim(id, at.ordinal) {
            Ok(()) => Ok((id.clone(), 1)),
            Err(Taken::At(earlier)) => Err(InputError::Duplicate { id: id.clone(), first: self.line(earlier), second: place() }),
            Err(Taken::Derived) => Err(InputError::Derived { id: id.clone(), place: place() }),
        }
    }

    /// The same for a bad line, which is known by its bytes.
    pub(crate) fn identify_bad(&self, bad: &BadRow, ids: &mut Identities) -> Result<(String, u32), InputError> {
        self.derive(&bad.fingerprint, ids)
    }

    fn derive(&self, fingerprint: &Fingerprint, ids: &mut Identities) -> Result<(String, u32), InputError> {
        let id = |occurrence| fingerprint.derived_id(occurrence);
        match ids.occurrence(fingerprint) {
            Ok(occurrence) => Ok((id(occurrence), occurrence)),
            Err((occurrence, at)) => Err(InputError::Derived { id: id(occurrence), place: self.line(at) }),
        }
    }

    /// The error for a row that cannot be asked.
    pub(crate) fn malformed(&self, bad: &BadRow) -> InputError {
        InputError::Malformed { place: self.place(bad), reason: bad.reason.clone() }
    }

    fn place(&self, bad: &BadRow) -> Place {
        let input = self.starts.last().map(|(name, _)| name.clone()).unwrap_or_default();
        Place { input, line: bad.line, column: bad.column }
    }

    fn line(&self, ordinal: u32) -> Place {
        let holds = |(_, start): &&(String, u32)| *start < ordinal;
        let (input, start) = self.starts.iter().rev().find(holds).cloned().unwrap_or_default();
        Place { input, line: u64::from(ordinal - start), column: None }
    }
}
