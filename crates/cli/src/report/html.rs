//! Pieces of the page as text. Everything that comes from outside goes through [`escape`].

use std::fmt::Write;

/// Text that stands in HTML, SVG and quoted attributes as itself. Characters that cannot be seen become blanks.
///
/// Whatever a row's id or a server's message holds, it can end no element and begin none.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            unseen if unseen.is_control() || turns(unseen) => safe.push(' '),
            other => safe.push(other),
        }
    }
    safe
}

/// Characters that turn the direction of what follows: an id could hide behind them.
fn turns(letter: char) -> bool {
    matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// At most `most` characters of a text, with an ellipsis where some are missing.
pub fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    }
}

/// A table; a column whose head begins with `#` holds numbers. Cells are text, escaped here.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let numeric: Vec<bool> = head.iter().map(|name| name.starts_with('#')).collect();
    let class = |column: usize| if numeric.get(column) == Some(&true) { " class=\"n\"" } else { "" };
    let mut html = String::from("<div class=\"wide\"><table><thead><tr>");
    for (column, name) in head.iter().enumerate() {
        let _ = write!(html, "<th{}>{}</th>", class(column), escape(name.trim_start_matches('#')));
    }
    html.push_str("</tr></thead><tbody>");
    for row in rows {
        html.push_str("<tr>");
        for (column, cell) in row.iter().enumerate() {
            let _ = write!(html, "<td{}>{}</td>", class(column), escape(cell));
        }
        html.push_str("</tr>");
    }
    html.push_str("</tbody></table></div>");
    html
}

/// A section with a heading, a remark below it, and a body of HTML.
pub fn section(heading: &str, remark: &str, body: &str) -> String {
    let remark = if remark.is_empty() { String::new() } else { format!("<p>{}</p>", escape(remark)) };
    format!("<section><h2>{}</h2>{remark}{body}</section>\n", escape(heading))
}

/// A large figure with its name.
pub fn card(name: &str, value: &str) -> String {
    format!("<div class=\"card\"><b>{}</b><span>{}</span></div>", escape(value), escape(name))
}

/// Names of classes with the colour each stands for in a chart.
pub fn legend(entries: &[(&str, String)]) -> String {
    let entries = entries.iter().map(|(class, name)| format!("<li><i class=\"{class}\"></i>{}</li>", escape(name)));
    format!("<ul class=\"legend\">{}</ul>", entries.collect::<String>())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn nothing_from_outside_can_open_or_close_an_element() {
        assert_eq!(
            escape("</td><script>alert('\"&\u{1b}\u{202e}m')</script>"),
            "&lt;/td&gt;&lt;script&gt;alert(&#39;&quot;&amp;  m&#39;)&lt;/script&gt;"
        );
    }

    #[test]
    fn tables_escape_their_cells_and_set_numbers_apart() {
        assert_eq!(
            table(&["code", "#calls"], &[vec!["<b>".into(), "3".into()]]),
            "<div class=\"wide\"><table><thead><tr><th>code</th><th class=\"n\">calls</th></tr></thead>\
             <tbody><tr><td>&lt;b&gt;</td><td class=\"n\">3</td></tr></tbody></table></div>"
        );
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(shortened("überlang", 4), "über…");
        assert_eq!(shortened("kurz", 4), "kurz");
    }
}
