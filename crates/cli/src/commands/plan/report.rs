//! A plan in words, and as JSON.

use std::time::Duration;

use jiff::{SignedDuration, Zoned};
use serde_json::{Value, json};
use tidegate_gemini::prices::Usd;

use super::load::{Assumed, Load, ModelLoad};
use super::outlook::Outlook;
use crate::duration::show;
use crate::monitor::format::grouped;

/// Everything a plan says.
pub struct Report<'a> {
    /// What is asked.
    pub load: &'a Load,
    /// What is to be expected.
    pub outlook: &'a Outlook,
    /// What was taken for granted.
    pub assumed: Assumed,
    /// When the run would begin.
    pub now: Zoned,
}

impl Report<'_> {
    /// For people: a line a fact.
    pub fn text(&self) -> String {
        let mut lines = vec![line("prompts", &grouped(self.load.prompts()))];
        if self.load.models.len() > 1 {
            lines.extend(self.load.models.iter().map(|model| line("", &of_model(model))));
        }
        if self.load.calls() < self.load.prompts() {
            lines.push(line("calls", &grouped(self.load.calls())));
        }
        lines.push(line("input tokens", &format!("{} ({})", grouped(self.load.input_tokens()), self.trust())));
        let answers = format!("assumed: {} an answer, or what its prompt allows", grouped(self.assumed.output_tokens));
        lines.push(line("output tokens", &format!("{} ({answers})", grouped(self.load.output_tokens()))));
        lines.push(line("cost", &self.cost()));
        let forecast = &self.outlook.forecast;
        lines.push(line("duration", &format!("{} (assumed: {} a call)", show(forecast.duration), show(self.assumed.latency))));
        lines.push(line(
            "ends",
            &self.ends().map_or("beyond all calendars".to_string(), |at| at.strftime("%a %Y-%m-%d %H:%M %Z").to_string()),
        ));
        lines.push(line("limited by", &self.limit()));
        lines.extend(self.outlook.days.map(|days| line("days", &format!("{} at these requests a day (RPD)", grouped(days)))));
        for (nth, (change, took)) in self.outlook.shorter.iter().enumerate() {
            let title = if nth == 0 { "shorter with" } else { "" };
            lines.push(line(title, &format!("{}: {}", change.words(), show(*took))));
        }
        lines.extend(self.left_out());
        lines.join("\n")
    }

    /// For programs.
    pub fn json(&self) -> String {
        let forecast = &self.outlook.forecast;
        let waited: serde_json::Map<String, Value> =
            forecast.waited.iter().map(|(reason, span)| ((*reason).to_string(), seconds(*span))).collect();
        let shorter =
            self.outlook.shorter.iter().map(|(change, took)| json!({"change": change.words(), "duration_s": seconds(*took)}));
        json!({
            "prompts": self.load.prompts(),
            "calls": self.load.calls(),
            "skipped": self.load.skipped,
            "too_large": forecast.too_large,
            "unserved": forecast.unserved,
            "input_tokens": self.load.input_tokens(),
            "output_tokens": self.load.output_tokens(),
            "cost_usd": self.load.cost().map(Usd::dollars),
            "unpriced_models": self.load.unpriced(),
            "duration_s": seconds(forecast.duration),
            "ends_at": self.ends().map(|at| at.timestamp().to_string()),
            "binding": self.outlook.binding().map(|(reason, _)| reason),
            "waited_s": waited,
            "days_at_rpd": self.outlook.days,
            "most_calls_at_once": forecast.most_active,
            "shorter": shorter.collect::<Value>(),
            "models": self.load.models.iter().map(model_json).collect::<Value>(),
            "assumed": {
                "output_tokens": self.assumed.output_tokens,
                "latency_s": seconds(self.assumed.latency),
            },
        })
        .to_string()
    }

    fn trust(&self) -> &'static str {
        match self.load.models.iter().filter(|model| model.calibrated).count() {
            0 => "estimated, no answer has corrected it yet",
            all if all == self.load.models.len() => "estimated, corrected by earlier answers",
            _ => "estimated, in part corrected by earlier answers",
        }
    }

    fn cost(&self) -> String {
        let unpriced = self.load.unpriced().join(", ");
        let on = self.load.priced_on.map(|day| format!(" at the prices of {day}")).unwrap_or_default();
        match (self.load.cost(), unpriced.is_empty()) {
            (Some(cost), true) => format!("{cost}{on}; nothing on the free tier"),
            (Some(cost), false) => format!("{cost}{on}, without {unpriced}: no price is known"),
            (None, _) => format!("not known: no price of {unpriced}"),
        }
    }

    fn ends(&self) -> Option<Zoned> {
        let span = SignedDuration::try_from(self.outlook.forecast.duration).ok()?;
        self.now.checked_add(span).ok()
    }

    fn limit(&self) -> String {
        match self.outlook.binding() {
            Some((reason, waited)) => format!("{reason}: {} of waiting", show(waited)),
            None => "the time a call takes: no limit holds anything up for long".to_string(),
        }
    }

    /// Prompts the run will not answer.
    fn left_out(&self) -> Vec<String> {
        let forecast = &self.outlook.forecast;
        let counts = [
            (self.load.skipped, "malformed rows are passed over"),
            (forecast.too_large, "prompts need more input tokens than a minute of any project holds (TPM)"),
            (forecast.unserved, "prompts no project has any quota for"),
        ];
        counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, why)| line("left out", &format!("{} {why}", grouped(*count))))
            .collect()
    }
}

fn line(title: &str, text: &str) -> String {
    format!("{title:<14} {text}")
}

fn of_model(model: &ModelLoad) -> String {
    format!("{}: {}, {} input tokens", model.model, grouped(model.prompts), grouped(model.input_tokens))
}

fn model_json(model: &ModelLoad) -> Value {
    json!({
        "model": model.model,
        "prompts": model.prompts,
        "input_tokens": model.input_tokens,
        "output_tokens": model.output_tokens,
        "cost_usd": model.cost.map(Usd::dollars),
        "calibrated": model.calibrated,
    })
}

fn seconds(span: Duration) -> Value {
    json!((span.as_secs_f64() * 1000.0).round() / 1000.0)
}
