//! Filling a template: context gathered, fields packed, answers checked, and patterns where no model is to be had.

use std::sync::Arc;

use tokio::time::Instant;

use crate::documents::{Content, Document, Documents};
use crate::event::{Event, Observer};
use crate::filled::Filled;
use crate::model::Model;
use crate::settings::{Profile, Settings};
use crate::store::Store;
use crate::template::Template;
use crate::throttle::Throttle;

mod accept;
mod context;
mod embed;
mod fallback;
mod kept;
mod plan;
mod run;

pub use plan::{Plan, PlannedPack};

use context::Context;

/// A template and the documents that hold its values, ready to be filled.
///
/// ```no_run
/// # async fn example(model: &dyn tidegate_template::Model) -> Result<(), Box<dyn std::error::Error>> {
/// use tidegate_template::{Documents, Filler, Profile, Template, Unobserved};
/// let template = Template::read("contract.yaml".as_ref())?;
/// let filler = Filler::builder(template, Documents::read(["docs"])?).profile(Profile::Balanced).build();
/// let filled = filler.fill(model, &Unobserved).await;
/// println!("{}", serde_json::to_string_pretty(&filled.values)?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Filler {
    template: Template,
    documents: Documents,
    settings: Settings,
    throttle: Arc<Throttle>,
    store: Option<Arc<Store>>,
    previous: Option<Filled>,
}

/// Collects what a [`Filler`] needs.
#[derive(Debug)]
pub struct Builder {
    filler: Filler,
    shares_throttle: bool,
}

impl Builder {
    /// The settings of a profile, in place of all before.
    pub fn profile(self, profile: Profile) -> Builder {
        self.settings(profile.settings())
    }

    /// These settings, in place of all before.
    pub fn settings(mut self, settings: Settings) -> Builder {
        self.filler.settings = settings;
        self
    }

    /// A gate that other fillings share; it keeps its own bounds. Otherwise each filling has its own, made of the settings.
    pub fn throttle(mut self, throttle: Arc<Throttle>) -> Builder {
        self.filler.throttle = throttle;
        self.shares_throttle = true;
        self
    }

    /// Where vectors and answers are kept. Without it nothing outlives the filling.
    pub fn store(mut self, store: Arc<Store>) -> Builder {
        self.filler.store = Some(store);
        self
    }

    /// What an earlier run made of the same template and documents: its answers stand, what it could not ask is asked.
    pub fn resume(mut self, previous: Filled) -> Builder {
        self.filler.previous = Some(previous);
        self
    }

    /// Ready.
    pub fn build(mut self) -> Filler {
        if !self.shares_throttle {
            self.filler.throttle = Arc::new(Throttle::new(&self.filler.settings));
        }
        self.filler
    }
}

impl Filler {
    /// Begins with a template and documents.
    pub fn builder(template: Template, documents: impl Into<Documents>) -> Builder {
        let settings = Settings::default();
        let throttle = Arc::new(Throttle::new(&settings));
        let filler = Filler { template, documents: documents.into(), settings, throttle, store: None, previous: None };
        Builder { filler, shares_throttle: false }
    }

    /// The gate before its calls, for other bounds while it runs.
    pub fn throttle(&self) -> &Arc<Throttle> {
        &self.throttle
    }

    /// Its template.
    pub fn template(&self) -> &Template {
        &self.template
    }

    /// Fills the template. Whatever fails costs only the fields it concerns: this always comes back with what there is.
    pub async fn fill(&self, model: &dyn Model, observer: &dyn Observer) -> Filled {
        let begun = Instant::now();
        let context = Context::gather(self, model, observer).await;
        let mut run = run::Run::new(self, model, observer, context);
        run.settle_known();
        run.ask_all().await;
        run.fall_back();
        let mut filled = run.finish();
        filled.stats.elapsed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        observer.saw(&Event::Done(Box::new(filled.stats.clone())));
        filled
    }

    /// A hash of all documents, whatever they are called.
    fn documents_fingerprint(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for document in &self.documents.read {
            hasher.update(document.fingerprint().as_bytes());
        }
        hasher.finalize().to_hex()[..32].to_owned()
    }

    /// What a reader must know of the documents.
    fn document_notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = self.documents.skipped.iter().map(|fault| format!("passed over: {fault}")).collect();
        let empty = self.documents.read.iter().filter(|document| document.is_empty());
        notes.extend(empty.map(|document| format!("document {} is empty", document.name)));
        for document in self.documents.read.iter().filter(|document| !document.unread_pages.is_empty()) {
            let pages = document.unread_pages.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
            notes.push(format!("document {}: the text of page {pages} cannot be read", document.name));
        }
        if self.documents.read.is_empty() {
            notes.push("there are no documents: every field stays empty".to_owned());
        }
        notes
    }

    /// Files without text.
    fn pictures(&self) -> impl Iterator<Item = (&Document, &'static str, &Arc<[u8]>)> {
        self.documents.read.iter().filter_map(|document| match &document.content {
            Content::Media { mime, bytes } => Some((document, *mime, bytes)),
            Content::Text(_) => None,
        })
    }
}

impl From<Vec<Document>> for Documents {
    fn from(read: Vec<Document>) -> Documents {
        Documents { read, skipped: Vec::new() }
    }
}
