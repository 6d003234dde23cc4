//! The command that goes on with what a run left.

/// The words of this command line as they can be typed again, without what would throw answers away.
pub fn command(words: impl Iterator<Item = String>) -> String {
    let mut words = words;
    let program = words.next().unwrap_or_default();
    let program = program.rsplit(['/', '\\']).next().unwrap_or("tidegate").to_string();
    let kept = words.filter(|word| !matches!(word.as_str(), "--fresh" | "--yes" | "-y" | "--retry-failed"));
    std::iter::once(program).chain(kept).map(|word| quoted(&word)).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_string() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn typed(words: &[&str]) -> String {
        command(words.iter().map(ToString::to_string))
    }

    #[test]
    fn words_are_quoted_where_a_shell_needs_it() {
        assert_eq!(
            typed(&["/usr/bin/tidegate", "run", "my file.csv", "--prompt", "It's {{ x }}", "-o", "out.jsonl"]),
            r"tidegate run 'my file.csv' --prompt 'It'\''s {{ x }}' -o out.jsonl"
        );
    }

    #[test]
    fn going_on_never_starts_over() {
        assert_eq!(typed(&["tidegate", "run", "a.jsonl", "-o", "b.jsonl", "--fresh", "-y"]), "tidegate run a.jsonl -o b.jsonl");
    }
}
