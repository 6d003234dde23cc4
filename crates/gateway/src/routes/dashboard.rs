//! `GET /` and `GET /fill`: the dashboard's pages, whose files are part of the program.
//!
//! The files tell nothing that the source does not, so anybody may have them; the figures come from `/api/events`, which asks
//! who wants to know.

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderValue, Response};
use http_body_util::Full;

use crate::answer::{Answer, Body};

/// A file of the page.
#[derive(Debug, PartialEq, Eq)]
pub struct File {
    path: &'static str,
    content_type: &'static str,
    text: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! files {
    ($($path:literal: $content_type:ident = $source:literal),* $(,)?) => {
        &[$(File { path: $path, content_type: $content_type, text: include_str!(concat!("../dashboard/", $source)) }),*]
    };
}

const FILES: &[File] = files! {
    "/": HTML = "page.html",
    "/dashboard/style.css": CSS = "style.css",
    "/dashboard/page.js": SCRIPT = "page.js",
    "/dashboard/stream.js": SCRIPT = "stream.js",
    "/dashboard/words.js": SCRIPT = "words.js",
    "/dashboard/dom.js": SCRIPT = "dom.js",
    "/dashboard/overview.js": SCRIPT = "overview.js",
    "/dashboard/charts.js": SCRIPT = "charts.js",
    "/dashboard/groups.js": SCRIPT = "groups.js",
    "/dashboard/lists.js": SCRIPT = "lists.js",
    "/dashboard/session.js": SCRIPT = "session.js",
    "/fill": HTML = "fill.html",
    "/dashboard/fill.css": CSS = "fill.css",
    "/dashboard/fill.js": SCRIPT = "fill.js",
    "/dashboard/fields.js": SCRIPT = "fields.js",
};

/// What the page may do: load its own files, ask its own server, show the sign of its tab. A script that came in with an error
/// message would find nothing to run in.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::CACHE_CONTROL, "no-cache"),
];

/// The file at a path.
pub fn find(path: &str) -> Option<&'static File> {
    FILES.iter().find(|file| file.path == path)
}

/// The file as an answer.
pub fn answer(file: &'static File) -> Answer {
    let mut answer = Response::new(Body::Whole(Full::new(Bytes::from_static(file.text.as_bytes()))));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(file.content_type));
    for (name, value) in HEADERS {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn every_file_forbids_what_it_does_not_need() {
        for file in FILES {
            let answer = answer(file);
            let header = |name: &str| answer.headers()[name].to_str().unwrap().to_string();
            let policy = header("content-security-policy");
            for rule in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"] {
                assert!(policy.contains(rule), "{rule}");
            }
            assert!(!policy.contains("unsafe-") && !policy.contains("http"), "{policy}");
            assert_eq!(header("x-content-type-options"), "nosniff");
            assert_eq!(header("referrer-policy"), "no-referrer");
            assert!(header("content-type").ends_with("charset=utf-8"));
        }
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere_and_takes_no_markup_from_figures() {
        for file in FILES {
            // The one address is the name of SVG's elements, which nobody fetches.
            let text = file.text.replace("http://www.w3.org/2000/svg", "");
            for forbidden in
                ["http://", "https://", "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "@import"]
            {
                assert!(!text.contains(forbidden), "{}: {forbidden}", file.path);
            }
        }
    }

    #[test]
    fn what_a_file_names_is_there() {
        let named = |text: &'static str, before: &str| {
            text.split(before).skip(1).map(|rest| rest.split(['"', '\'']).next().unwrap()).collect::<Vec<_>>()
        };
        for page in FILES.iter().filter(|file| file.content_type == HTML) {
            for path in named(page.text, "=\"dashboard/") {
                assert!(find(&format!("/dashboard/{path}")).is_some(), "{path}");
            }
        }
        for file in FILES.iter().filter(|file| file.content_type == SCRIPT) {
            for path in named(file.text, "from './") {
                assert!(find(&format!("/dashboard/{path}")).is_some(), "{} wants {path}", file.path);
            }
        }
        assert_eq!(find("/dashboard"), None);
        assert_eq!(find("/dashboard/../page.html"), None);
    }
}
