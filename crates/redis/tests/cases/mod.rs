//! Reads the table of what a limiter promises; knows no store.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashMap;

/// One case: limits by name, then steps.
#[derive(Debug, Clone, Default)]
pub struct Case {
    pub name: String,
    pub limits: HashMap<String, f64>,
    pub steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    Pass(u64),
    Take { low: bool, costs: Vec<(u32, u32)>, waits: Vec<u64>, refused: Option<(String, After)> },
    Used { permit: usize, tokens: u64 },
    Unused { permit: usize },
    Hold(u64),
    Today(u64),
}

/// When the refused one could go.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum After {
    Millis(u64),
    Never,
    Untold,
}

/// All cases.
pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for line in include_str!("limiter.txt").lines().map(str::trim) {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("", _) | ("#", _) => {}
            ("case", name) => cases.push(Case { name: name.to_owned(), ..Case::default() }),
            ("limits", rest) => cases.last_mut().unwrap().limits = limits(rest),
            (verb, rest) => cases.last_mut().unwrap().steps.push(step(verb, rest)),
        }
    }
    cases
}

fn limits(text: &str) -> HashMap<String, f64> {
    let pairs = text.split_whitespace().map(|pair| pair.split_once('=').unwrap());
    pairs.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect()
}

fn step(verb: &str, rest: &str) -> Step {
    let number = |text: &str| text.trim().parse::<u64>().unwrap_or_else(|_| panic!("{verb} {rest}"));
    match verb {
        "take" | "low" => take(verb == "low", rest),
        "used" => {
            let (permit, tokens) = rest.split_once(' ').unwrap();
            Step::Used { permit: number(permit) as usize, tokens: number(tokens) }
        }
        "unused" => Step::Unused { permit: number(rest) as usize },
        "hold" => Step::Hold(number(rest)),
        "today" => Step::Today(number(rest)),
        _ => Step::Pass(number(verb.strip_prefix('+').expect("a verb of the table"))),
    }
}

fn take(low: bool, text: &str) -> Step {
    let (costs, granted) = text.split_once("->").unwrap();
    let (waits, refused) = granted.split_once('|').map_or((granted, None), |(waits, refused)| (waits, Some(refused)));
    let cost = |text: &str| {
        let (tokens, spread) = text.split_once('~').unwrap_or((text, "0"));
        (tokens.parse().unwrap(), spread.parse().unwrap())
    };
    let refused = refused.map(|text| {
        let (dimension, after) = text.trim().split_once(' ').unwrap();
        let after = match after {
            "never" => After::Never,
            "-" => After::Untold,
            millis => After::Millis(millis.parse().unwrap()),
        };
        (dimension.to_owned(), after)
    });
    Step::Take {
        low,
        costs: words(costs).map(cost).collect(),
        waits: words(waits).map(|wait| wait.parse().unwrap()).collect(),
        refused,
    }
}

/// Words, each as often as the number behind its `*` says.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_whitespace().flat_map(|word| {
        let (word, times) = word.split_once('*').unwrap_or((word, "1"));
        std::iter::repeat_n(word, times.parse().unwrap())
    })
}
