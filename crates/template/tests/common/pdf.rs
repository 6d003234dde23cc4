//! PDF files made for tests: one font, lines at given places, as many pages as wanted.

use std::fmt::Write;

/// A line of text at x and y, in points from the lower left corner.
pub type Line = (u32, u32, String);

pub fn pdf(pages: &[Vec<Line>]) -> Vec<u8> {
    let count = pages.len();
    let mut objects = vec![
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        format!(
            "<< /Type /Pages /Count {count} /Kids [{}] >>",
            (0..count).map(|page| format!("{} 0 R", 4 + 2 * page)).collect::<Vec<_>>().join(" ")
        ),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>".to_owned(),
    ];
    for (number, lines) in pages.iter().enumerate() {
        let mut content = String::from("BT /F1 11 Tf\n");
        for (x, y, text) in lines {
            let text = text.replace('\\', "\\\\").replace('(', "\\(").replace(')', "\\)");
            let _ = writeln!(content, "1 0 0 1 {x} {y} Tm ({text}) Tj");
        }
        content.push_str("ET");
        objects.push(format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents {} 0 R /Resources << /Font << /F1 3 0 R >> >> >>",
            5 + 2 * number
        ));
        let length = content.chars().count();
        objects.push(format!("<< /Length {length} >>\nstream\n{content}\nendstream"));
    }
    written(&objects)
}

/// Objects with their table. Letters beyond ASCII are written in the code page of the font.
fn written(objects: &[String]) -> Vec<u8> {
    let mut out = b"%PDF-1.4\n".to_vec();
    let mut places = Vec::new();
    for (number, object) in (1..).zip(objects) {
        places.push(out.len());
        out.extend(latin(&format!("{number} 0 obj\n{object}\nendobj\n")));
    }
    let table = out.len();
    let mut end = format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1);
    for place in places {
        let _ = writeln!(end, "{place:010} 00000 n ");
    }
    let _ = write!(end, "trailer\n<< /Size {} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n", objects.len() + 1);
    out.extend(end.into_bytes());
    out
}

fn latin(text: &str) -> Vec<u8> {
    text.chars().map(|letter| u8::try_from(u32::from(letter)).unwrap_or(b'?')).collect()
}

/// Lines one below the other from the top of a page.
pub fn column(lines: &[&str]) -> Vec<Line> {
    (0..).zip(lines).map(|(number, line)| (60, 780 - 16 * number, (*line).to_owned())).collect()
}
