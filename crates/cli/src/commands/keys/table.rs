//! A table of text, its columns as wide as they need to be.

/// The rows below their titles. A column that holds nothing in any row is left out.
pub fn table<const N: usize>(titles: [&str; N], rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let columns: Vec<(usize, usize)> =
        (0..N).filter(|&n| width(n) > 0).map(|n| (n, width(n).max(titles[n].chars().count()))).collect();
    let line = |cells: &[String; N]| {
        let padded = columns.iter().map(|&(n, width)| format!("{:<width$}", cells[n]));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_string()
    };
    let titles = titles.map(str::to_string);
    std::iter::once(&titles).chain(rows).map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_empty_ones_are_gone() {
        let rows = [["a".to_string(), String::new(), "AIza…6F2k".to_string()], ["long name".into(), String::new(), "x".into()]];
        assert_eq!(table(["KEY", "TIER", "IS"], &rows), "KEY        IS\na          AIza…6F2k\nlong name  x");
    }
}
