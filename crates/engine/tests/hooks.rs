//! Who wants to be called before and after each prompt is.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::sync::{Arc, Mutex};

use common::{Script, project, request};
use tidegate_engine::{Engine, Error};
use tidegate_gemini::models::Limits;

#[tokio::test(start_paused = true)]
async fn hooks_are_called_around_each_prompt_and_the_first_comes_last_at_the_end() {
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let say = |word: &str| {
        let (told, word) = (told.clone(), word.to_owned());
        move || told.lock().unwrap().push(word.clone())
    };
    let (one, two, end_of_one, end_of_two) = (say("one"), say("two"), say("end of one"), say("end of two"));
    let backend = Script::default();
    let engine = Engine::builder()
        .project(project("main", 1, Limits::default()))
        .backend(backend.clone())
        .before(move |request| {
            one();
            request.priority = 7;
            Ok(())
        })
        .before(move |request| {
            two();
            assert_eq!(request.priority, 7, "what the one before changed");
            if request.label.as_deref() == Some("bad") {
                Err(Error::input("turned_away", "not this one".to_owned(), false))
            } else {
                Ok(())
            }
        })
        .after(move |label, result| {
            end_of_one();
            assert_eq!(result.is_ok(), label == Some("good"));
        })
        .after(move |_, _| end_of_two())
        .build()
        .unwrap();
    engine.submit(request("good")).await.unwrap();
    assert_eq!(*told.lock().unwrap(), ["one", "two", "end of two", "end of one"]);
    let error = engine.submit(request("bad")).await.unwrap_err();
    assert_eq!((error.code.as_str(), backend.calls()), ("turned_away", 1), "what was turned away is not sent");
    assert_eq!(told.lock().unwrap().len(), 8);
}
