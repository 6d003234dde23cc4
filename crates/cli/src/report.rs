//! The page about a run: one HTML file that needs nothing beside it, in light and dark.

mod charts;
mod html;
mod svg;
mod timeline;

use std::time::Duration;

use tidegate_engine::{Blame, FaultKind, Figures, QuotaUse, Row};

use crate::duration::show;
use crate::monitor::format::grouped;
use html::{card, escape, section, shortened, table};
pub use timeline::{Course, Timeline};

/// The most rows of a table: a page with ten thousand keys helps nobody.
const ROWS: usize = 100;
/// The most characters of a message.
const MESSAGE: usize = 300;

/// Everything the page tells.
pub struct Report<'a> {
    /// Inputs and output.
    pub title: String,
    /// When it was written, and by what.
    pub written: String,
    /// The account for people.
    pub lines: Vec<String>,
    /// How long the run took.
    pub elapsed: Duration,
    /// Rows that were answered.
    pub rows_ok: u64,
    /// The figures of the run.
    pub figures: &'a Figures,
    /// What happened when.
    pub course: &'a Course,
}

impl Report<'_> {
    /// The page as text.
    pub fn page(&self) -> String {
        let title = escape(&self.title);
        let parts = [self.cards(), self.account(), self.over_time(), self.faults(), self.rows(), self.quotas()];
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title}</title>\n<style>\n{}</style>\n</head>\n<body>\n<h1>{title}</h1>\n{}\
             <footer>{}</footer>\n</body>\n</html>\n",
            include_str!("report/style.css"),
            parts.concat(),
            escape(&self.written)
        )
    }

    fn cards(&self) -> String {
        let total = &self.figures.total;
        let per_second = total.requests as f64 / self.elapsed.as_secs_f64().max(0.001);
        let median = total.latency.percentile(50.0).map_or("–".to_string(), brief);
        let cards = [
            card("answered", &grouped(self.rows_ok)),
            card("took", &show(self.elapsed)),
            card("calls", &grouped(total.requests)),
            card("calls a second", &format!("{per_second:.2}")),
            card("median latency", &median),
            card("tokens in and out", &grouped(total.usage.total_tokens)),
            card("cost at list prices", &total.cost.to_string()),
        ];
        format!("<div class=\"cards\">{}</div>\n", cards.concat())
    }

    fn account(&self) -> String {
        format!("<div class=\"account\">{}</div>\n", escape_lines(&self.lines))
    }

    fn over_time(&self) -> String {
        let course = self.course;
        let mut html = String::new();
        if let Some(chart) = charts::quota(course, |cell| cell.requests, "requests in the running minute against the limit") {
            html += &section("Requests against the quota", "All projects and models together, as our own windows count.", &chart);
        }
        if let Some(chart) = charts::quota(course, |cell| cell.tokens, "input tokens in the running minute against the limit") {
            html += &section("Input tokens against the quota", "", &chart);
        }
        html += &section("Calls a second", "By the moment they came back.", &charts::calls(course));
        if let Some(chart) = charts::latency(course) {
            html += &section("Latency", "Successful calls, from sending to the last byte.", &chart);
        }
        html += &match charts::waiting(course) {
            Some(chart) => section(
                "What held prompts back",
                "Share of the time in which the next prompt could not be sent, by reason.",
                &chart,
            ),
            None => section("What held prompts back", "Nothing: no prompt was seen waiting.", ""),
        };
        if let Some((chart, hidden)) = charts::keys(course) {
            let more = if hidden > 0 { format!(" {hidden} more keys with less trouble are not shown.") } else { String::new() };
            let width = if course.width < Duration::from_secs(1) { brief(course.width) } else { show(course.width) };
            let remark = format!("The most severe state seen within each {width}.{more}");
            html += &section("Keys", &remark, &chart);
        }
        html
    }

    fn faults(&self) -> String {
        let mut faults: Vec<&FaultKind> = self.figures.faults.iter().collect();
        faults.sort_by_key(|fault| std::cmp::Reverse(fault.count));
        if faults.is_empty() {
            return section("Errors", "None.", "");
        }
        let rows: Vec<Vec<String>> = faults.into_iter().map(fault_row).collect();
        let head = ["code", "HTTP", "whose", "#calls", "latest message", "of prompt"];
        section("Errors", "Calls that failed, by kind. Most are asked again and do not fail their prompt.", &table(&head, &rows))
    }

    fn rows(&self) -> String {
        let figures = self.figures;
        let models = figures.models.iter().map(|(model, row)| (model.to_string(), row));
        let projects = figures.projects.iter().map(|(project, row)| (project.to_string(), row));
        let keys = figures.keys.iter().map(|((project, key), row)| (format!("{project} · {key}"), row));
        let body = [rows_of("model", models), rows_of("project", projects), rows_of("key", keys)].concat();
        let unpriced: Vec<String> = figures.unpriced.keys().map(ToString::to_string).collect();
        let remark = match unpriced.as_slice() {
            [] => String::new(),
            names => format!("No price is known of {}: their tokens cost nothing here.", names.join(", ")),
        };
        section("Calls, tokens and cost", &remark, &body)
    }

    fn quotas(&self) -> String {
        let rows: Vec<Vec<String>> = self.figures.quotas.iter().take(ROWS).map(quota_row).collect();
        if rows.is_empty() {
            return String::new();
        }
        let head = [
            "project",
            "model",
            "#requests a minute",
            "#average use",
            "#peak",
            "#tokens a minute",
            "#average use",
            "#peak",
            "#today",
        ];
        section("Use of quotas", "", &table(&head, &rows))
    }
}

fn escape_lines(lines: &[String]) -> String {
    lines.iter().map(|line| escape(line)).collect::<Vec<_>>().join("\n")
}

fn fault_row(fault: &FaultKind) -> Vec<String> {
    let whose = match fault.blame {
        Blame::Key => "key or quota",
        Blame::Task => "prompt",
        Blame::Upstream => "API or network",
    };
    vec![
        fault.code.clone(),
        fault.http_status.map_or("–".to_string(), |status| status.to_string()),
        whose.to_string(),
        grouped(fault.count),
        shortened(&fault.message, MESSAGE),
        fault.label.as_deref().map_or(String::new(), |label| shortened(label, 60)),
    ]
}

fn rows_of<'a>(name: &str, rows: impl Iterator<Item = (String, &'a Row)>) -> String {
    let mut rows: Vec<(String, &Row)> = rows.collect();
    rows.sort_by_key(|(_, row)| std::cmp::Reverse(row.requests));
    let hidden = rows.len().saturating_sub(ROWS);
    let mut cells: Vec<Vec<String>> = rows.into_iter().take(ROWS).map(|(name, row)| count_row(name, row)).collect();
    if hidden > 0 {
        cells.push(vec![format!("and {hidden} more")]);
    }
    let head =
        [name, "#calls", "#answered", "#failed", "#tokens in", "#cached", "#out", "#thinking", "#cost", "#p50", "#p90", "#p99"];
    if cells.is_empty() { String::new() } else { table(&head, &cells) + "<br>" }
}

fn count_row(name: String, row: &Row) -> Vec<String> {
    let usage = &row.usage;
    let percentile = |percent| row.latency.percentile(percent).map_or("–".to_string(), brief);
    vec![
        name,
        grouped(row.requests),
        grouped(row.successes),
        grouped(row.requests - row.successes),
        grouped(usage.input_tokens),
        grouped(usage.cached_tokens),
        grouped(usage.output_tokens),
        grouped(usage.thinking_tokens),
        row.cost.to_string(),
        percentile(50.0),
        percentile(90.0),
        percentile(99.0),
    ]
}

fn quota_row<T: AsRef<str>>(((project, model), quota): (&(T, T), &QuotaUse)) -> Vec<String> {
    let percent = |share: Option<f64>| share.map_or("–".to_string(), |share| format!("{:.0} %", share * 100.0));
    let limit = |limit: Option<u64>| limit.map_or("–".to_string(), grouped);
    let today = quota.rpd.1.map_or(grouped(quota.rpd.0), |most| format!("{} of {}", grouped(quota.rpd.0), grouped(most)));
    vec![
        project.as_ref().to_string(),
        model.as_ref().to_string(),
        limit(quota.rpm.limit),
        percent(quota.rpm.average()),
        percent(quota.rpm.largest()),
        limit(quota.tpm.limit),
        percent(quota.tpm.average()),
        percent(quota.tpm.largest()),
        today,
    ]
}

/// A latency in few characters: `812 ms`, `4.21 s`.
pub fn brief(span: Duration) -> String {
    if span < Duration::from_secs(1) { format!("{} ms", span.as_millis()) } else { format!("{:.2} s", span.as_secs_f64()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use tidegate_engine::scheduler::{JobId, Timestamp};
    use tidegate_engine::{Attempt, AttemptFault, Census, Event, EventKind, Observer, Seat};

    const HOSTILE: &str = "</style></table><script src=\"http://evil\">alert('1')</script>\u{202e}\0";

    fn hostile_call(fault: bool) -> Event {
        let seat = Seat { project: HOSTILE.into(), key: HOSTILE.into(), model: HOSTILE.into(), slot: 0 };
        let fault = fault.then(|| AttemptFault {
            blame: Blame::Task,
            http_status: Some(400),
            status: None,
            code: HOSTILE.into(),
            message: HOSTILE.into(),
            quota_id: None,
            refused: None,
            retry_in: None,
            permanent: true,
        });
        let (label, latency) = (Some(HOSTILE.into()), Duration::from_millis(5));
        let attempt = Attempt { job: JobId(1), label, number: 1, seat, latency, usage: Default::default(), fault };
        Event { at: Timestamp::from_secs(1_000), kind: EventKind::Attempted(Box::new(attempt)) }
    }

    fn page(census: &Census, timeline: &Timeline, title: &str) -> String {
        let report = Report {
            title: title.to_string(),
            written: title.to_string(),
            lines: vec![title.to_string()],
            elapsed: Duration::from_secs(3),
            rows_ok: 1,
            figures: &census.figures(),
            course: &timeline.course(),
        };
        report.page()
    }

    #[test]
    fn hostile_text_stays_text_wherever_it_comes_from() {
        let (census, timeline) = (Census::default(), Timeline::new());
        for event in [hostile_call(true), hostile_call(false)] {
            census.observe(&event);
            timeline.observe(&event);
        }
        let page = page(&census, &timeline, HOSTILE);
        assert!(!page.contains("<script") && !page.contains("</table><s"), "{page}");
        assert_eq!(page.matches("</style>").count(), 1);
        assert!(page.matches("&lt;script src=&quot;http://evil&quot;&gt;").count() >= 8, "it is shown, though");
    }

    #[test]
    fn the_page_needs_nothing_beside_it() {
        let (census, timeline) = (Census::default(), Timeline::new());
        census.observe(&hostile_call(false));
        let page = page(&Census::default(), &timeline, "run");
        for outside in ["http:", "https:", "src=", "href=", "url(", "@import", "<script"] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.contains("prefers-color-scheme: dark"));
    }

    #[test]
    fn a_run_without_a_call_has_a_page() {
        let page = page(&Census::default(), &Timeline::new(), "run");
        assert!(page.contains("None.") && !page.contains("NaN"));
    }
}
