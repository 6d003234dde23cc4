//! What filling promises: few calls, right values, nothing invented, and no failure that costs more than its own fields.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{balanced, form, long_form, said, searching};
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tidegate_template::{
    Answered, Ask, Document, Event, Field, FieldType, Filled, Filler, Model, ModelError, Origin, Profile, Settings, Store,
    Support, Template, Unobserved,
};

async fn filled(template: Template, document: Document, settings: Settings, model: &common::Scripted) -> Filled {
    Filler::builder(template, vec![document]).settings(settings).build().fill(model, &Unobserved).await
}

fn right(filled: &Filled) -> usize {
    let is_right = |(name, value): (&String, &Value)| value == &Value::from(name.replace("field", "value-"));
    filled.values.iter().filter(|pair| is_right(*pair)).count()
}

#[tokio::test(start_paused = true)]
async fn ten_to_sixty_fields_take_one_to_six_calls_and_all_values_are_right() {
    for (fields, most) in [(10, 2), (12, 2), (20, 3), (30, 4), (60, 6)] {
        for (kind, (template, document, model)) in [("short", form(fields)), ("long", long_form(fields))] {
            let filled = filled(template, document, balanced(), &model).await;
            assert!(model.calls() <= most, "{kind}: {fields} fields took {} calls", model.calls());
            assert_eq!(right(&filled), fields, "{kind} {:?}", filled.values);
            assert_eq!(filled.stats.generation_calls as usize, model.calls());
            // One search and one question a field is the naive way.
            assert!(filled.stats.generation_calls as usize * 10 <= fields * 2);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn twenty_two_fields_are_asked_eight_seven_seven() {
    let (template, document, model) = form(22);
    filled(template, document, balanced(), &model).await;
    assert_eq!(model.asked().iter().map(Vec::len).collect::<Vec<_>>(), [8, 7, 7]);
}

#[tokio::test(start_paused = true)]
async fn two_hundred_fields_take_twenty_calls() {
    let (template, document, model) = long_form(200);
    let filled = filled(template, document, balanced(), &model).await;
    assert_eq!((model.calls(), right(&filled)), (20, 200));
}

#[tokio::test(start_paused = true)]
async fn profiles_bound_calls_at_once_their_distance_and_their_size() {
    for (profile, at_once, apart, size) in
        [(Profile::Conservative, 1, 2000, 15), (Profile::Balanced, 2, 1000, 10), (Profile::Aggressive, 4, 500, 8)]
    {
        let (template, document, mut model) = form(60);
        model.latency = Duration::from_secs(10);
        filled(template, document, profile.settings(), &model).await;
        let starts = model.starts.lock().unwrap().clone();
        let closest = starts.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap();
        assert!(closest >= Duration::from_millis(apart), "{profile:?}: {closest:?}");
        assert_eq!(model.most_under_way.into_inner(), at_once, "{profile:?}");
        assert!(model.asks.lock().unwrap().iter().all(|ask| common::fields_of(&ask.prompt).len() <= size));
    }
}

#[tokio::test(start_paused = true)]
async fn sixty_fields_take_a_third_of_the_time_of_one_by_one() {
    let time = async |size: usize| {
        let (template, document, model) = form(60);
        filled(template, document, Settings { max_batch_size: size, ..balanced() }, &model).await.stats.elapsed_ms
    };
    let (packed, single) = (time(10).await, time(1).await);
    assert!(packed * 3 <= single, "{packed} ms against {single} ms");
}

#[tokio::test(start_paused = true)]
async fn packed_and_one_by_one_give_the_same_values() {
    for settings in [balanced(), searching()] {
        let (template, document, model) = long_form(12);
        let packed = filled(template, document, settings.clone(), &model).await;
        let (template, document, model) = long_form(12);
        let single = filled(template, document, Settings { max_batch_size: 1, ..settings }, &model).await;
        assert_eq!(model.calls(), 12);
        assert_eq!((right(&packed), packed.values), (12, single.values));
    }
}

#[tokio::test(start_paused = true)]
async fn what_no_document_holds_stays_empty_and_is_not_asked_again() {
    let (mut template, document, model) = form(4);
    template.fields.push(Field { required: true, ..Field::new("fax", FieldType::String) });
    let filled = filled(template, document, balanced(), &model).await;
    let fax = filled.field("fax").unwrap();
    assert_eq!((&fax.value, fax.origin, fax.pending), (&Value::Null, Origin::Missing, false));
    assert_eq!((filled.missing_required(), model.calls()), (vec!["fax"], 1));
}

#[tokio::test(start_paused = true)]
async fn a_quote_that_stands_nowhere_marks_its_value_and_costs_no_call() {
    let (template, document, model) = form(3);
    let model = model.with(|_, _, mut truth| {
        truth["2"]["quote"] = json!("words that stand nowhere");
        truth["3"]["quote"] = Value::Null;
        said(&truth)
    });
    let filled = filled(template, document, balanced(), &model).await;
    let support: Vec<_> = filled.fields.iter().map(|field| field.support.unwrap()).collect();
    assert_eq!(support, [Support::Supported, Support::Unsupported, Support::Unsupported]);
    assert_eq!((right(&filled), model.calls(), filled.stats.unsupported), (3, 1, 2));
    let source = filled.fields[0].source.as_ref().unwrap();
    assert_eq!((&*source.document, source.place.line), ("form.txt", Some(1)));
}

#[tokio::test(start_paused = true)]
async fn a_cut_answer_is_asked_again_in_halves_and_only_what_is_missing() {
    let (template, document, model) = form(8);
    let model = model.with(|_, names, truth| {
        if names.len() < 8 {
            return said(&truth);
        }
        let text = truth.to_string();
        let cut = text.find("\"4\":").unwrap() + 40;
        Ok(Answered { text: text[..cut].to_owned(), truncated: true, ..Answered::default() })
    });
    let filled = filled(template, document, balanced(), &model).await;
    assert_eq!(
        model.asked()[1..],
        [["field3", "field4", "field5"].map(String::from).to_vec(), ["field6", "field7"].map(String::from).to_vec()]
    );
    assert_eq!((right(&filled), filled.stats.asked_again, filled.stats.repaired_answers), (8, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn an_invalid_value_is_asked_again_with_what_is_wrong_and_then_given_up() {
    let (mut template, document, model) = form(4);
    template.fields[1].kind = FieldType::Number;
    let model = model.with(|_, _, truth| said(&truth));
    let filled = filled(template, document, balanced(), &model).await;
    assert_eq!(model.asked()[1..], [vec!["field1".to_owned()]]);
    let again = model.asks.lock().unwrap()[1].prompt.clone();
    assert!(again.contains("answered before, not usable: \"value-1\" is no number"), "{again}");
    assert_eq!((right(&filled), filled.field("field1").unwrap().origin), (3, Origin::Missing));
}

#[tokio::test(start_paused = true)]
async fn damaged_json_is_repaired_before_anything_is_asked_again() {
    let (template, document, model) = form(5);
    let model = model.with(|_, _, truth| {
        let text = format!("Here you are:\n```json\n{}\n```", truth.to_string().replacen('}', ",}", 1));
        Ok(Answered { text, ..Answered::default() })
    });
    let filled = filled(template, document, balanced(), &model).await;
    assert_eq!((right(&filled), model.calls(), filled.stats.repaired_answers), (5, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_field_that_spoils_every_call_costs_only_itself() {
    for error in [ModelError::Refused { reason: "blocked".into() }, ModelError::Failed { reason: "503".into() }] {
        let (mut template, document, model) = form(20);
        template.fields[7].pattern = Some("field7 is ([^.]+)".parse().unwrap());
        let model = model.with(
            move |_, names, truth| {
                if names.iter().any(|name| name == "field7") { Err(error.clone()) } else { said(&truth) }
            },
        );
        let filled = filled(template, document, balanced(), &model).await;
        assert_eq!(right(&filled), 20, "{:?}", filled.notes);
        assert_eq!(filled.field("field7").unwrap().origin, Origin::Pattern);
        assert_eq!(filled.stats.from_model, 19);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_for_all_pauses_all_and_costs_nothing() {
    let (template, document, mut model) = form(30);
    model.latency = Duration::from_millis(1500);
    let model = model.with(|call, _, truth| {
        if call == 1 { Err(ModelError::Limited { retry_after: Some(Duration::from_secs(40)) }) } else { said(&truth) }
    });
    let paused = Mutex::new(Vec::new());
    let filler = Filler::builder(template, vec![document]).build();
    let observer = |event: &Event| {
        if let Event::Paused { seconds } = event {
            paused.lock().unwrap().push(*seconds);
        }
    };
    let filled = filler.fill(&model, &observer).await;
    let starts = model.starts.lock().unwrap().clone();
    let waited = starts.iter().filter(|start| **start - starts[0] >= Duration::from_secs(41)).count();
    // The first two had started when the answer came.
    assert_eq!((starts.len(), waited, right(&filled)), (4, 2, 30));
    assert_eq!(*paused.lock().unwrap(), [40.0]);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_ran_out_of_quota_goes_on_later_where_it_stopped() {
    let store = Arc::new(Store::in_memory().unwrap());
    let (template, document, model) = form(30);
    let model = model.with(
        |call, _, truth| {
            if call > 1 { Err(ModelError::Exhausted { reason: "250 a day".into() }) } else { said(&truth) }
        },
    );
    let build = || Filler::builder(template.clone(), vec![document.clone()]).store(store.clone());
    let first = build().build().fill(&model, &Unobserved).await;
    assert_eq!((first.stats.from_model, first.pending().len()), (10, 20));
    assert!(first.notes.iter().any(|note| note.contains("250 a day") && note.contains("run again")), "{:?}", first.notes);
    let (_, _, model) = form(30);
    let second = build().build().fill(&model, &Unobserved).await;
    assert_eq!((model.calls(), second.stats.from_cache, right(&second), second.pending().len()), (2, 10, 30, 0));
    // Without a store the result of the first run does the same.
    let (_, _, model) = form(30);
    let resumed = Filler::builder(template.clone(), vec![document.clone()]).resume(first).build().fill(&model, &Unobserved).await;
    assert_eq!((model.calls(), right(&resumed)), (2, 30));
}

#[tokio::test(start_paused = true)]
async fn without_the_api_kept_answers_come_before_patterns() {
    let store = Arc::new(Store::in_memory().unwrap());
    let text = "Rent: 800 EUR\nContact: ada@byron.example\nNothing is said of the colour.";
    let document = Document::from_bytes("a.txt", text.as_bytes()).unwrap();
    let fields = ["rent", "email", "colour"]
        .map(|name| Field::new(name, if name == "rent" { FieldType::Number } else { FieldType::String }));
    let template = Template { name: "t".into(), description: String::new(), fields: fields.to_vec() };
    let facts = [("rent".to_owned(), json!(800), "Rent: 800 EUR".to_owned())];
    let online = common::Scripted::new(facts);
    let only_rent = Template { fields: template.fields[..1].to_vec(), ..template.clone() };
    Filler::builder(only_rent, vec![document.clone()]).store(store.clone()).build().fill(&online, &Unobserved).await;
    let offline = common::Scripted::new([]).with(|_, _, _| Err(ModelError::Unavailable { reason: "offline".into() }));
    // Said otherwise, the question is another one: its answer is not known, but one to the same field is.
    let template = Template { description: "said otherwise".into(), ..template };
    let filled = Filler::builder(template, vec![document]).store(store).build().fill(&offline, &Unobserved).await;
    let shown: Vec<_> = filled.fields.iter().map(|field| (field.value.clone(), field.origin)).collect();
    let expected = [(json!(800), Origin::Cache), (json!("ada@byron.example"), Origin::Pattern), (Value::Null, Origin::Missing)];
    assert_eq!(shown, expected);
    assert_eq!(filled.pending(), ["rent", "email", "colour"]);
}

#[tokio::test(start_paused = true)]
async fn a_second_run_makes_no_call_and_a_changed_field_one() {
    let store = Arc::new(Store::in_memory().unwrap());
    let (template, document, mut model) = long_form(12);
    model.embeds = true;
    let fill = async |template: &Template, settings: Settings| {
        let filler = Filler::builder(template.clone(), vec![document.clone()]).settings(settings).store(store.clone()).build();
        filler.fill(&model, &Unobserved).await
    };
    let first = fill(&template, searching()).await;
    let (calls, embedded) = (model.calls(), model.embedded.load(std::sync::atomic::Ordering::SeqCst));
    assert!(first.stats.cache_misses == 12 && embedded as u64 == first.stats.embedded_texts && embedded > 12);
    let second = fill(&template, searching()).await;
    assert_eq!((model.calls(), second.stats.cache_hits, second.stats.embedded_texts), (calls, 12, 0));
    assert_eq!(second.stats.chunks_known, second.stats.chunks);
    let mut changed = template.clone();
    changed.fields[3].description = "the third".into();
    let third = fill(&changed, searching()).await;
    assert_eq!((model.calls() - calls, third.stats.cache_hits, right(&third)), (1, 11, 12));
    fill(&template, Settings { use_cache: false, ..searching() }).await;
    assert_eq!(model.calls() - calls, 3);
}

#[tokio::test(start_paused = true)]
async fn another_version_of_the_model_is_asked_anew() {
    let store = Arc::new(Store::in_memory().unwrap());
    let mut calls = Vec::new();
    for name in ["scripted-1", "scripted-1", "scripted-2", "scripted-1"] {
        let (template, document, mut model) = form(5);
        model.name = name;
        let filled = Filler::builder(template, vec![document]).store(store.clone()).build().fill(&model, &Unobserved).await;
        assert_eq!(right(&filled), 5);
        calls.push(model.calls());
    }
    assert_eq!(calls, [1, 0, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn without_the_model_nothing_is_asked_and_no_call_counted() {
    struct Away;
    impl Model for Away {
        fn name(&self) -> &str {
            "away"
        }
        fn unavailable(&self) -> Option<String> {
            Some("there is no key".into())
        }
        fn generate(&self, _: Ask) -> BoxFuture<'_, Result<Answered, ModelError>> {
            panic!("nobody may ask")
        }
    }
    let (template, _, _) = form(3);
    let document = Document::from_bytes("a.txt", b"field1: here\nNothing else.").unwrap();
    let settings = Settings { propose_questions: true, ..searching() };
    let filled = Filler::builder(template, vec![document]).settings(settings).build().fill(&Away, &Unobserved).await;
    assert_eq!((filled.stats.generation_calls, filled.pending().len()), (0, 3));
    assert_eq!((&filled.values["field1"], filled.field("field1").unwrap().origin), (&json!("here"), Origin::Pattern));
    assert!(filled.notes.iter().any(|note| note.contains("there is no key")), "{:?}", filled.notes);
}

#[tokio::test(start_paused = true)]
async fn without_embeddings_it_says_so_and_goes_on() {
    let (template, document, model) = long_form(12);
    let keywords = filled(template, document, searching(), &model).await;
    assert_eq!(right(&keywords), 12);
    assert!(keywords.notes.iter().any(|note| note.starts_with("keyword search only")), "{:?}", keywords.notes);
    let (template, document, mut model) = long_form(12);
    model.embeds = true;
    let hybrid = filled(template, document, searching(), &model).await;
    assert_eq!((right(&hybrid), hybrid.notes.len()), (12, 0));
}

#[tokio::test(start_paused = true)]
async fn a_field_is_asked_when_what_it_needs_is_known() {
    let (mut template, document, model) = form(4);
    template.fields[0].depends_on = vec!["field3".into()];
    let filled = filled(template, document, Settings { max_batch_size: 2, ..balanced() }, &model).await;
    let asked = model.asked();
    let call = |name: &str| asked.iter().position(|names| names.iter().any(|one| one == name)).unwrap();
    assert!(call("field3") <= call("field0"));
    let prompt = model.asks.lock().unwrap()[call("field0")].prompt.clone();
    assert!(call("field3") == call("field0") || prompt.contains("field3: \"value-3\""), "{prompt}");
    assert_eq!(right(&filled), 4);
}

#[tokio::test(start_paused = true)]
async fn search_questions_are_one_more_call_and_only_when_wanted() {
    let (template, document, model) = long_form(12);
    let settings = Settings { propose_questions: true, ..searching() };
    let model =
        model.with(
            |call, _, truth| {
                if call == 1 { said(&json!({"1": ["value of field0"], "2": [], "3": ["x", "y"]})) } else { said(&truth) }
            },
        );
    let filled = filled(template, document, settings, &model).await;
    assert_eq!((model.calls(), filled.stats.generation_calls, right(&filled)), (3, 3, 12));
}

#[tokio::test(start_paused = true)]
async fn no_documents_and_empty_ones_cost_no_call() {
    let (template, _, model) = form(3);
    for documents in [vec![], vec![Document::from_bytes("empty.txt", b"  \n").unwrap()]] {
        let filled = Filler::builder(template.clone(), documents).build().fill(&model, &Unobserved).await;
        assert_eq!((model.calls(), filled.stats.missing, filled.notes.len()), (0, 3, 1), "{:?}", filled.notes);
    }
}

#[tokio::test]
async fn a_plan_shows_chunks_packs_and_tokens() {
    let (template, document, _) = long_form(22);
    let filler = Filler::builder(template, vec![document]).settings(searching()).build();
    let plan = filler.plan(65_536).await;
    assert_eq!(plan.packs.iter().map(|pack| pack.fields.len()).collect::<Vec<_>>(), [8, 7, 7]);
    assert!(!plan.is_whole && plan.texts_to_embed == plan.chunks + 22);
    for pack in &plan.packs {
        assert!(pack.input_tokens > 500 && pack.input_tokens < 8000, "{pack:?}");
        assert!(pack.chunks.iter().all(|chunk| chunk.starts_with("long.md, line ")), "{pack:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_field_is_told_once_as_it_arrives() {
    let (template, document, model) = form(12);
    let told = Mutex::new(Vec::new());
    let observer = |event: &Event| {
        if let Event::Field(field) = event {
            told.lock().unwrap().push(field.name.clone());
        }
    };
    Filler::builder(template.clone(), vec![document]).build().fill(&model, &observer).await;
    let mut told = told.into_inner().unwrap();
    told.sort();
    let mut names: Vec<String> = template.fields.into_iter().map(|field| field.name).collect();
    names.sort();
    assert_eq!(told, names);
}
