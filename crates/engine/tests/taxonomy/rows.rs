//! The rows: every answer that is known, by the id it has in the documented table.

use std::time::Duration;

use tidegate_engine::{Reply, TransportError};

use crate::ruling::{Whose, hold};
use crate::stage::{Answer, http, known};

/// One row of the table.
pub struct Row {
    /// Its id in the documentation.
    pub id: &'static str,
    pub whose: Whose,
    /// The word of the fault in logs and, where the prompt ends by it, in its record.
    pub code: &'static str,
    /// Bodies of the testdata folder that it stands for.
    pub bodies: &'static [&'static str],
    /// Answers that are no file.
    pub made: fn() -> Vec<Answer>,
}

async fn check(row: &Row) {
    for name in row.bodies {
        println!("{name}");
        hold(known(name), row.whose, row.code).await;
    }
    for answer in (row.made)() {
        println!("{answer:?}");
        hold(answer, row.whose, row.code).await;
    }
}

/// Makes each row a test of its own, and a list of all.
macro_rules! rows {
    ($($sentence:ident: $id:literal, $whose:expr, $code:literal, [$($body:literal),* $(,)?], $made:expr;)*) => {
        /// Every row there is.
        pub fn all() -> Vec<Row> {
            vec![$(Row { id: $id, whose: $whose, code: $code, bodies: &[$($body),*], made: || $made }),*]
        }

        $(#[tokio::test(start_paused = true)]
        async fn $sentence() {
            check(&Row { id: $id, whose: $whose, code: $code, bodies: &[$($body),*], made: || $made }).await;
        })*
    };
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn cut(reason: &str) -> Answer {
    Answer::Fault(TransportError::Cut { reason: reason.into() })
}

fn page(status: u16) -> Answer {
    let body = "<html><head><title>Error</title></head><body><h1>Error</h1></body></html>";
    let content_type = Some("text/html; charset=UTF-8".to_string());
    Answer::Http(Reply { status, content_type, retry_after: None, body: body.into() })
}

/// An error body as it comes from nowhere in particular.
fn bare(status: u16, name: &str) -> Answer {
    http(status, &format!(r#"{{"error":{{"code":{status},"message":"It did not work out.","status":"{name}"}}}}"#))
}

/// A refusal whose pause is longer than any minute's.
fn long_delay() -> Answer {
    http(
        429,
        r#"{"error":{"code":429,"message":"Quota exceeded.","status":"RESOURCE_EXHAUSTED","details":[
         {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"301s"}]}}"#,
    )
}

rows! {
    // === 200 ===
    a_good_answer_ends_its_prompt: "answer", Whose::Nobody, "", [
        "responses/ok-full",
        "responses/ok-function-call-only",
        "responses/ok-inline-image",
        "responses/ok-several-parts",
        "responses/ok-thoughts-dropped",
        "responses/ok-tool-use-tokens",
        "responses/ok-unknown-fields-and-reason",
        "responses/ok-without-finish-reason",
    ], vec![];

    a_prompt_blocked_for_safety_may_be_asked_again: "safety", Whose::PromptAgain, "SAFETY", [
        "responses/blocked-prompt-safety", "responses/blocked-safety", "responses/blocked-safety-partial",
    ], vec![];

    an_answer_blocked_as_recitation_may_be_asked_again: "recitation", Whose::PromptAgain, "RECITATION", [
        "responses/blocked-recitation",
    ], vec![];

    prohibited_content_may_be_asked_again: "prohibited", Whose::PromptAgain, "PROHIBITED_CONTENT", [
        "responses/blocked-prohibited-content", "responses/blocked-prompt",
    ], vec![];

    a_blocklist_is_the_prompts: "blocklist", Whose::PromptAgain, "BLOCKLIST", ["responses/blocked-blocklist"], vec![];
    a_language_that_is_not_offered_is_the_prompts: "language", Whose::PromptAgain, "LANGUAGE", ["responses/blocked-language"], vec![];
    personal_data_in_the_answer_is_the_prompts: "spii", Whose::PromptAgain, "SPII", ["responses/blocked-spii"], vec![];

    an_end_for_other_reasons_may_be_asked_again: "other", Whose::PromptAgain, "OTHER", [
        "responses/blocked-other", "responses/blocked-prompt-other",
    ], vec![];

    an_answer_that_reached_the_output_limit_is_not_asked_again: "max-tokens", Whose::Prompt, "MAX_TOKENS", [
        "responses/truncated-json", "responses/empty-thinking-took-all", "responses/empty-thinking-took-all-no-content",
    ], vec![];

    an_answer_without_text_is_asked_again: "empty", Whose::PromptAgain, "EMPTY", [
        "responses/empty-object",
        "responses/empty-signature-only",
        "responses/empty-stop-blank-text",
        "responses/empty-stop-no-parts",
        "responses/empty-thoughts-only",
        "responses/empty-white-space-only",
    ], vec![http(200, r#"{"candidates":[],"usageMetadata":{"promptTokenCount":10,"totalTokenCount":10}}"#)];

    a_malformed_function_call_is_asked_again: "malformed-call", Whose::PromptAgain, "MALFORMED_FUNCTION_CALL", [
        "responses/tool-malformed-call",
    ], vec![];

    a_call_of_a_tool_that_was_not_offered_is_asked_again: "unexpected-call", Whose::PromptAgain, "UNEXPECTED_TOOL_CALL", [
        "responses/tool-unexpected-call",
    ], vec![];

    a_malformed_response_is_asked_again: "malformed-response", Whose::PromptAgain, "MALFORMED_RESPONSE", [
        "responses/malformed-response-with-text",
    ], vec![];

    an_answer_that_wants_to_be_continued_is_asked_again: "continuation", Whose::PromptAgain, "CONTINUATION", [
        "responses/truncated-continuation",
    ], vec![];

    a_finish_reason_nobody_knows_is_asked_again: "unknown-finish", Whose::PromptAgain, "ENLIGHTENED", [
        "responses/unknown-reason-without-text",
    ], vec![];

    an_answer_that_is_no_whole_json_is_the_apis: "unreadable", Whose::Upstream, "UNREADABLE", [
        "responses/cut", "responses/html", "responses/list-of-chunks", "responses/not-json", "responses/nothing",
        "errors/empty-500", "errors/plain-text-503",
    ], vec![page(200), http(200, r#"{"candidates":[{"content":{"parts":[{"text":"The wr"}]}}"#)];

    an_error_inside_a_good_status_is_read_as_that_error: "error-in-200", Whose::Upstream, "UNAVAILABLE", [
        "responses/error-in-200", "errors/issue-14-overloaded-inside-200", "errors/unknown-status-inside-200",
    ], vec![];

    // === quotas ===
    a_quota_a_minute_pauses_its_project_for_the_told_time: "quota-minute", Whose::Quota(Duration::from_millis(34_074)),
        "RESOURCE_EXHAUSTED", ["errors/quota-requests-per-minute-free"], vec![];
    a_quota_of_a_paid_project_pauses_it_no_longer_than_told: "quota-minute-paid", Whose::Quota(Duration::from_millis(900)),
        "RESOURCE_EXHAUSTED", ["errors/quota-requests-per-minute-paid"], vec![];
    tokens_of_a_minute_pause_their_project: "quota-tokens", Whose::Quota(seconds(26)), "RESOURCE_EXHAUSTED", [
        "errors/issue-01-nested-in-message", "errors/issue-01-nested-after-words",
    ], vec![];
    tokens_of_a_paid_minute_pause_their_project: "quota-tokens-paid", Whose::Quota(seconds(11)), "RESOURCE_EXHAUSTED", [
        "errors/issue-07-paid-tokens-per-minute",
    ], vec![];
    tokens_of_a_higher_tier_pause_their_project: "quota-tokens-tier2", Whose::Quota(Duration::from_millis(5_200)),
        "RESOURCE_EXHAUSTED", ["errors/quota-tokens-per-minute-paid-tier2"], vec![];
    a_minute_that_is_almost_all_to_come_is_waited_for: "quota-tokens-long", Whose::Quota(seconds(59)), "RESOURCE_EXHAUSTED", [
        "errors/issue-08-free-tokens-per-minute",
    ], vec![];
    embedded_texts_of_a_minute_pause_their_project: "quota-embedding", Whose::Quota(seconds(33)), "RESOURCE_EXHAUSTED", [
        "errors/quota-embedding-per-minute-free",
    ], vec![];
    a_refusal_in_a_list_is_unwrapped: "quota-wrapped", Whose::Quota(Duration::from_millis(9_500)), "RESOURCE_EXHAUSTED", [
        "errors/quota-array-wrapped",
    ], vec![];
    a_header_with_a_longer_pause_is_obeyed: "quota-header", Whose::Quota(seconds(42)), "RESOURCE_EXHAUSTED", [
        "errors/quota-retry-after-header",
    ], vec![];
    a_refusal_whose_details_are_lost_is_read_from_its_message: "quota-message", Whose::Quota(Duration::from_millis(17_900)),
        "RESOURCE_EXHAUSTED", ["errors/quota-message-only"], vec![];
    a_quota_of_an_unknown_name_pauses_its_project: "quota-unknown", Whose::Quota(seconds(60)), "RESOURCE_EXHAUSTED", [
        "errors/quota-unknown-id",
    ], vec![];
    a_refusal_in_the_older_form_pauses_its_project: "quota-older", Whose::Quota(seconds(1)), "RATE_LIMIT_EXCEEDED", [
        "errors/quota-error-info-2023",
    ], vec![];
    a_refusal_of_the_assistants_back_end_pauses_its_project: "quota-assist", Whose::Quota(Duration::from_millis(3_747)),
        "RATE_LIMIT_EXCEEDED", ["errors/issue-12-code-assist-rate-limit"], vec![];

    a_quota_of_a_day_is_over_at_midnight_whatever_it_tells: "quota-day", Whose::Day, "RESOURCE_EXHAUSTED", [
        "errors/quota-requests-per-day-free",
        "errors/quota-requests-per-day-paid",
        "errors/quota-tokens-per-day-free",
        "errors/quota-embedding-per-day-free",
        "errors/quota-blank-before-type",
        "errors/issue-03-renamed-image-model",
        "errors/issue-25-debug-info",
        "errors/issue-26-free-quota-on-paid-project",
    ], vec![];
    a_pause_of_more_than_five_minutes_is_a_days: "quota-long", Whose::Day, "RESOURCE_EXHAUSTED", [], vec![long_delay()];

    a_quota_of_zero_parks_the_model_for_its_project: "quota-zero", Whose::NoQuota, "RESOURCE_EXHAUSTED", [
        "errors/issue-02-three-violations",
        "errors/issue-04-limit-zero-2.5-pro",
        "errors/issue-05-limit-zero-3-pro",
        "errors/issue-06-limit-zero-3.1-pro",
    ], vec![];
    a_model_outside_the_tier_is_parked_for_its_project: "no-free-tier", Whose::NoQuota, "RESOURCE_EXHAUSTED", [
        "errors/no-free-tier", "errors/no-free-tier-empty-list",
    ], vec![];

    a_refusal_without_details_pauses_a_second: "quota-unspecified", Whose::Quota(seconds(1)), "RESOURCE_EXHAUSTED", [
        "errors/exhausted-check-quota", "responses/error-in-200-array", "errors/spend-rate-unknown-text",
    ], vec![];
    a_refusal_that_is_not_even_json_pauses_a_second: "quota-bare", Whose::Quota(seconds(1)), "HTTP_429", [
        "errors/issue-09-check-quota-unwrapped-status",
    ], vec![];
    an_empty_refusal_with_a_header_pauses_as_long_as_that_says: "quota-empty", Whose::Quota(seconds(7)), "HTTP_429", [
        "errors/empty-429",
    ], vec![];
    a_quota_that_many_share_pauses_a_second: "quota-shared", Whose::Quota(seconds(1)), "RESOURCE_EXHAUSTED", [
        "errors/shared-quota", "errors/file-storage-full",
    ], vec![];
    a_shared_quota_in_a_list_pauses_a_second: "quota-shared-list", Whose::Quota(seconds(1)), "rateLimitExceeded", [
        "errors/shared-quota-array",
    ], vec![];

    // === money and place ===
    an_empty_account_puts_its_project_aside: "credit", Whose::Project, "CREDIT_DEPLETED", [
        "errors/credit-depleted-402", "errors/credit-depleted-402-learn-more", "errors/credit-depleted-429",
    ], vec![];
    a_spending_cap_puts_its_project_aside: "spend-cap", Whose::Project, "SPEND_CAP", ["errors/spend-cap"], vec![];
    a_place_that_is_not_served_puts_the_project_aside: "location", Whose::Project, "LOCATION_NOT_SUPPORTED", [
        "errors/auth-location",
    ], vec![];

    // === keys ===
    an_invalid_key_is_put_aside: "key-invalid", Whose::Key, "API_KEY_INVALID", [
        "errors/auth-key-invalid",
        "errors/auth-key-invalid-without-details",
        "errors/auth-key-not-found",
        "errors/auth-key-expired",
    ], vec![];
    a_leaked_key_is_put_aside: "key-leaked", Whose::Key, "API_KEY_LEAKED", ["errors/auth-key-leaked"], vec![];
    a_suspended_consumer_puts_the_key_aside: "key-suspended", Whose::Key, "CONSUMER_SUSPENDED", [
        "errors/auth-consumer-suspended", "errors/auth-consumer-suspended-without-details",
    ], vec![];
    a_disabled_service_puts_the_key_aside: "key-disabled", Whose::Key, "SERVICE_DISABLED", ["errors/auth-service-disabled"], vec![];
    a_key_blocked_for_this_service_is_put_aside: "key-blocked", Whose::Key, "API_KEY_SERVICE_BLOCKED", [
        "errors/auth-service-blocked",
    ], vec![];
    a_key_without_the_right_is_put_aside: "key-denied", Whose::Key, "PERMISSION_DENIED", [
        "errors/auth-permission-denied", "errors/auth-no-key",
    ], vec![];
    what_is_no_key_at_all_is_put_aside: "key-unauthenticated", Whose::Key, "UNAUTHENTICATED", [
        "errors/auth-unauthenticated-without-details",
    ], vec![];
    a_key_of_the_wrong_kind_is_put_aside: "key-kind", Whose::Key, "ACCESS_TOKEN_TYPE_UNSUPPORTED", [
        "errors/auth-bearer-key",
    ], vec![];
    a_key_that_http_cannot_carry_is_put_aside: "key-unsendable", Whose::Key, "UNSENDABLE_KEY", [], vec![
        Answer::Fault(TransportError::Key),
    ];

    // === requests ===
    a_request_that_is_not_understood_fails_at_once: "request", Whose::Prompt, "INVALID_ARGUMENT", [
        "errors/invalid-argument",
        "errors/cache-too-small",
        "errors/cache-with-system-instruction",
        "errors/embedding-batch-too-large",
        "errors/empty-contents",
        "errors/payload-parse",
        "errors/payload-too-large",
        "errors/thinking-level",
        "errors/undecodable-image",
        "errors/unknown-field",
    ], vec![bare(400, "INVALID_ARGUMENT")];
    a_request_out_of_range_fails_at_once: "out-of-range", Whose::Prompt, "OUT_OF_RANGE", [], vec![bare(400, "OUT_OF_RANGE")];
    an_error_in_the_form_of_another_api_fails_at_once: "other-api", Whose::Prompt, "invalid_request", [
        "errors/interactions-shape",
    ], vec![];
    more_tokens_than_the_model_reads_fail_at_once: "too-many-tokens", Whose::Prompt, "TOO_MANY_TOKENS", [
        "errors/issue-22-too-many-tokens", "errors/issue-22-too-many-tokens-older",
    ], vec![];
    an_unknown_or_closed_model_fails_at_once: "not-found", Whose::Prompt, "NOT_FOUND", [
        "errors/issue-23-model-not-found", "errors/issue-23-model-not-found-older", "errors/model-closed",
    ], vec![];
    a_file_of_somebody_elses_fails_its_prompt_and_no_key: "file-forbidden", Whose::Prompt, "PERMISSION_DENIED", [
        "errors/file-forbidden", "errors/cache-not-found",
    ], vec![];
    a_file_that_is_still_worked_on_is_asked_again: "file-not-active", Whose::PromptAgain, "FAILED_PRECONDITION", [
        "errors/file-not-active",
    ], vec![];
    a_conflict_fails_at_once: "conflict", Whose::Prompt, "ALREADY_EXISTS", ["errors/conflict"], vec![];
    an_aborted_operation_fails_at_once: "aborted", Whose::Prompt, "ABORTED", [], vec![bare(409, "ABORTED")];
    a_method_that_is_not_there_fails_at_once: "unimplemented", Whose::Prompt, "UNIMPLEMENTED", ["errors/unimplemented"], vec![];
    a_client_error_nobody_knows_fails_at_once: "teapot", Whose::Prompt, "TEAPOT", ["errors/teapot"], vec![];

    // === the API and the way to it ===
    a_call_that_was_cancelled_elsewhere_is_repeated: "cancelled", Whose::Upstream, "CANCELLED", ["errors/cancelled"], vec![];
    an_internal_error_is_repeated: "internal", Whose::Upstream, "INTERNAL", [
        "errors/issue-15-internal-report", "errors/issue-16-internal-encountered", "errors/api-key-in-url",
    ], vec![];
    an_error_of_unknown_cause_is_repeated: "unknown", Whose::Upstream, "UNKNOWN", [], vec![bare(500, "UNKNOWN")];
    lost_data_is_repeated: "data-loss", Whose::Upstream, "DATA_LOSS", [], vec![bare(500, "DATA_LOSS")];
    json_that_is_no_error_is_repeated: "no-error", Whose::Upstream, "HTTP_500", ["errors/json-without-error-500"], vec![];
    an_overloaded_model_is_asked_again: "overloaded", Whose::Upstream, "UNAVAILABLE", [
        "errors/issue-13-high-demand", "errors/issue-14-overloaded",
    ], vec![];
    a_deadline_of_the_server_is_repeated: "deadline", Whose::Upstream, "DEADLINE_EXCEEDED", ["errors/issue-17-deadline"], vec![];
    a_request_time_out_is_repeated: "request-timeout", Whose::Upstream, "HTTP_408", [], vec![http(408, "{}")];
    a_page_of_a_gateway_is_repeated: "page", Whose::Upstream, "HTML_PAGE", [
        "errors/bad-gateway-page", "errors/html-503", "errors/html-404",
    ], vec![page(500), page(504)];
    a_page_for_robots_pauses_the_host: "sorry-page", Whose::Host, "SORRY_PAGE", [
        "errors/sorry-page-429", "errors/sorry-page-503", "errors/sorry-page-text", "errors/html-403",
    ], vec![page(429)];
    a_name_without_address_is_tried_again: "dns", Whose::Upstream, "dns", [], vec![
        Answer::Fault(TransportError::Dns { host: "api.example".into(), reason: "no such host".into() }),
    ];
    a_host_that_cannot_be_reached_is_tried_again: "connect", Whose::Upstream, "connect", [], vec![
        Answer::Fault(TransportError::Connect { host: "api.example:443".into(), reason: "connection refused".into() }),
    ];
    a_broken_handshake_is_tried_again: "tls", Whose::Upstream, "tls", [], vec![
        Answer::Fault(TransportError::Tls { host: "api.example:443".into(), reason: "handshake failure".into() }),
    ];
    a_lost_connection_is_tried_again: "cut", Whose::Upstream, "cut", [], vec![
        cut("connection reset by peer"), cut("end of file before message length reached"),
    ];
    silence_is_cut_off_and_tried_again: "timeout", Whose::Upstream, "timeout", [], vec![Answer::Silence];
}
