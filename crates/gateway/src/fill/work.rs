//! The work on one filling, from the order to the hour after its end.

use std::future::Future;
use std::sync::Arc;

use tidegate_template::{DIMENSIONS, EngineModel, Event, Filler, Totals};

use super::asker::Asker;
use super::job::{End, Job};
use super::jobs::KEPT;
use super::order::{Order, Read};
use crate::call::Call;
use crate::error::Refusal;
use crate::server::{Gate, House};

/// Begins to fill what a client ordered.
///
/// # Errors
/// A 400 for an order that cannot be read, a 403 for a model the client may not ask, and when there is no place.
pub async fn begin(gate: &Arc<Gate>, call: &Call, order: Order) -> Result<Arc<Job>, Refusal> {
    let client = &call.caller.name;
    let desk = gate.fillings.desk(client, &gate.settings);
    let (mut config, paces) = (order.wishes.on(&desk.config()), order.wishes.paces());
    let model = config.model.take().unwrap_or_else(|| gate.settings.model.clone());
    call.may_ask(&model)?;
    call.note.asks(&model);
    let asker = asker(gate, call, &model)?;
    config.settings.max_pause = asker.patience;
    let weight = order.bytes();
    gate.fillings.jobs.room(client, weight)?;
    // Large documents take seconds to read, in which others want to be served.
    let read = tokio::task::spawn_blocking(move || order.read()).await;
    let Read { template, text, documents } = read.map_err(|_| Refusal::invalid("a document broke the reader of its kind"))??;
    let mut job = Job::new(call.id.clone(), client.clone(), &template, weight);
    job.text = text;
    let mut builder = Filler::builder(template, documents).settings(config.settings);
    if !paces {
        builder = builder.throttle(desk.throttle.clone());
    }
    let filler = gate.fillings.store.iter().cloned().fold(builder, tidegate_template::Builder::store).build();
    let job = Arc::new(job);
    let number = gate.fillings.jobs.add(&job)?;
    let (house, worked) = (Arc::downgrade(gate.house()), job.clone());
    let filling = async move {
        let seen = worked.clone();
        let filled = filler.fill(&asker, &move |event: &Event| seen.saw(event)).await;
        desk.totals.add(&filled);
        worked.ends(End::Done(filled.into()));
    };
    let desk = gate.fillings.desk(client, &gate.settings);
    let watched = job.clone();
    tokio::spawn(async move {
        watch_over(&watched, &desk.totals, filling).await;
        let fillings = |act: &dyn Fn(&House)| house.upgrade().iter().for_each(|house| act(house));
        fillings(&|house| house.fillings.jobs.trim());
        drop(watched);
        tokio::time::sleep(KEPT).await;
        fillings(&|house| house.fillings.jobs.forget(number));
    });
    Ok(job)
}

/// Works until the filling is done or its client has given it up; calls of one without a result count all the same.
async fn watch_over(job: &Job, totals: &Totals, filling: impl Future<Output = ()> + Send + 'static) {
    let working = tokio::spawn(filling);
    let stop = working.abort_handle();
    tokio::select! {
        worked = working => if worked.is_err() {
            job.ends(End::Failed("filling broke off: the log of the gateway tells why"));
        },
        _ = job.ended() => stop.abort(),
    }
    if !matches!(job.end(), Some(End::Done(_))) {
        totals.add_calls(job.calls());
    }
}

/// The model as this client may ask it. One that it may not ask for vectors costs only the search by meaning.
fn asker(gate: &Gate, call: &Call, model: &str) -> Result<Asker, Refusal> {
    let patience = call.patience(&gate.settings)?;
    let caller = call.caller.clone();
    let model = EngineModel::new(gate.engine.clone(), model).patience(patience).priority(caller.priority);
    let model = model.party(caller.party).client(caller.name.clone());
    let model = match gate.settings.embedding_model.as_deref().filter(|embedding| caller.may_ask(embedding)) {
        Some(embedding) => model.embedding(embedding, DIMENSIONS),
        None => model.without_embedding(),
    };
    Ok(Asker { model, engine: gate.engine.clone(), purses: gate.purses.clone(), caller, patience })
}
