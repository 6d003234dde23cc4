//! What can be wrong with a scenario file.

/// Why a scenario is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScenarioError {
    /// Not TOML, or a name or value the scenario does not know.
    #[error("line {line}: {message}{}", hint(nearest.as_deref()))]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// What was found.
        message: String,
        /// The known name nearest to an unknown one.
        nearest: Option<String>,
    },
    /// Nobody could ask anything.
    #[error("no [[projects]] and accept_any_key is false: every request would be refused")]
    NoProjects,
    /// A probability outside 0 to 1.
    #[error("{0} is not between 0 and 1")]
    NotARate(&'static str),
    /// A distribution with a negative number or its ends swapped.
    #[error("{0} has a negative number or its ends swapped")]
    NotADraw(&'static str),
    /// A fault that ends before it begins.
    #[error("a fault has to_ms at or before from_ms")]
    EmptySpan,
    /// A minute or day of length zero.
    #[error("quota.minute_ms and quota.day_ms must be above zero")]
    NoLength,
    /// A scripted answer that says nothing.
    #[error("answers.scripts has an entry without replies")]
    NoReply,
    /// A key that stands twice.
    #[error("project {project} has a key that stands twice in the file")]
    KeyTwice {
        /// The project where it stands the second time.
        project: String,
    },
    /// A change of a key that is not the project's.
    #[error("project {project} changes a key that is not one of its own")]
    StrangeKey {
        /// The project.
        project: String,
    },
}

impl ScenarioError {
    pub(crate) fn syntax(text: &str, error: &toml::de::Error) -> Self {
        let start = error.span().map_or(0, |span| span.start.min(text.len()));
        let message = error.message().to_owned();
        Self::Syntax {
            line: text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count() + 1,
            nearest: nearest(&message),
            message: shown(&message),
        }
    }
}

/// Leaves out the list of all known names, and every value: it might be a key.
fn shown(message: &str) -> String {
    if message.starts_with("unknown ") {
        return message.split(", expected").next().unwrap_or_default().to_owned();
    }
    match (message.find('"'), message.rfind('"')) {
        (Some(first), Some(last)) if first < last => format!("{}\"…\"{}", &message[..first], &message[last + 1..]),
        _ => message.to_owned(),
    }
}

/// Finds, in "unknown field `x`, expected one of `a`, `b`", the name closest to the first.
fn nearest(message: &str) -> Option<String> {
    let mut names = message.strip_prefix("unknown ")?.split('`').skip(1).step_by(2);
    let unknown = names.next()?;
    let close = |name: &&str| strsim::damerau_levenshtein(name, unknown);
    names.min_by_key(close).filter(|name| close(name) <= 1 + unknown.len() / 2).map(str::to_owned)
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use crate::Scenario;

    fn told(text: &str) -> String {
        Scenario::from_toml(text).unwrap_err().to_string()
    }

    #[test]
    fn an_unknown_name_is_told_with_its_line_and_the_nearest_known_one() {
        let text = "name = 'x'\n\n[quota]\nminutes_ms = 5\n";
        assert_eq!(told(text), "line 4: unknown field `minutes_ms`; did you mean `minute_ms`?");
        let text = "accept_any_key = true\n[[faults]]\nkind = 'overload'\n";
        assert_eq!(told(text), "line 3: unknown variant `overload`; did you mean `overloaded`?");
    }

    #[test]
    fn a_name_like_no_other_gets_no_hint() {
        assert_eq!(told("zzzzzzzz = 1"), "line 1: unknown field `zzzzzzzz`");
    }

    #[test]
    fn a_value_of_the_wrong_type_is_not_repeated() {
        let text = told("[[projects]]\nname = 'p'\nkeys = 'SIM-secret'");
        assert!(text.starts_with("line 3: invalid type") && !text.contains("secret"), "{text}");
    }

    #[test]
    fn broken_toml_is_told_with_its_line() {
        assert!(told("name = 'x'\nseed = = 1\n").starts_with("line 2: "));
    }
}
