//! Where results go: reports by ending, the text form written back, one table for many sets.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tidegate_template::{Filled, ReportFormat, Template};

use super::form::{Form, ending};
use crate::args::FillArgs;
use crate::exit_code::{ExitCode, Failure};
use crate::screen;

/// Stands in a path for the name of a set.
const NAME: &str = "{name}";

/// All places a result is written to.
#[derive(Debug)]
pub struct Outputs(Vec<Output>);

#[derive(Debug)]
struct Output {
    path: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Report(ReportFormat),
    /// The form itself, filled.
    Form,
    /// One row or line for each set.
    Table(Table),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Table {
    Csv,
    Jsonl,
}

impl Outputs {
    /// Checks the places that were named before anything is asked.
    ///
    /// # Errors
    /// When an ending tells no form, or a result would overwrite what it is made from.
    pub fn of(wanted: &FillArgs, form: &Form) -> Result<Outputs, Failure> {
        let outputs = wanted.output.iter().map(|path| {
            let kind = kind(path, wanted.each.is_some(), form)?;
            let same = |file: &PathBuf| is_same(Path::new(path), file);
            if std::iter::once(&wanted.template).chain(&wanted.docs).any(same) {
                return Err(Failure::usage(format!("-o {path}: it would overwrite what is read: give another name")));
            }
            if wanted.json && path == "-" {
                return Err(Failure::usage("--json and -o - would both write to standard output: give -o a file"));
            }
            Ok(Output { path: path.clone(), kind })
        });
        Ok(Outputs(outputs.collect::<Result<_, _>>()?))
    }

    /// The paths as they were given.
    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(|output| output.path.clone()).collect()
    }

    /// The folder for work that is left, beside the first file.
    pub fn left(&self) -> Option<PathBuf> {
        let first = self.0.iter().find(|output| output.path != "-")?;
        Some(PathBuf::from(format!("{}.tidegate", first.path.replace(NAME, "each"))))
    }

    /// Writes the result of one set.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, form: &Form, name: &str, filled: &Filled) -> Result<(), Failure> {
        for output in &self.0 {
            let bytes = match output.kind {
                Kind::Report(format) => filled.report(format).into_bytes(),
                Kind::Form => form.filled(filled)?,
                Kind::Table(_) => continue,
            };
            put(&output.path.replace(NAME, name), &bytes)?;
        }
        Ok(())
    }

    /// Writes the results of all sets where one table is wanted.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_table(&self, template: &Template, all: &[(&str, &Filled)]) -> Result<(), Failure> {
        for output in &self.0 {
            let Kind::Table(table) = output.kind else { continue };
            put(&output.path, table.text(template, all).as_bytes())?;
        }
        Ok(())
    }
}

fn kind(path: &str, many: bool, form: &Form) -> Result<Kind, Failure> {
    let file = Path::new(path);
    let report = ReportFormat::of(file);
    match (many, ending(file).as_str()) {
        (false, _) if path == "-" => Ok(Kind::Report(ReportFormat::Json)),
        (true, "csv") if !path.contains(NAME) => Ok(Kind::Table(Table::Csv)),
        (true, "jsonl") if !path.contains(NAME) => Ok(Kind::Table(Table::Jsonl)),
        (true, _) if !path.contains(NAME) => Err(Failure::usage(format!(
            "-o {path}: with --each it must hold {NAME} (for example filled/{NAME}.json), or be one table (.csv, .jsonl)"
        ))),
        _ if form.is_written_as(file) => Ok(Kind::Form),
        _ => report.map(Kind::Report).ok_or_else(|| {
            let own = if let Form::Text(_, own) = form { format!(", or .{own} for the text filled") } else { String::new() };
            Failure::usage(format!("-o {path}: its ending tells no form of result: give .json, .csv, .md or .html{own}"))
        }),
    }
}

impl Table {
    fn text(self, template: &Template, all: &[(&str, &Filled)]) -> String {
        let names: Vec<&str> = template.fields.iter().map(|field| field.name.as_str()).collect();
        match self {
            Table::Csv => {
                let head = row(std::iter::once("name").chain(names.iter().copied()).map(str::to_owned));
                let line = |(name, filled): &(&str, &Filled)| {
                    let values = names.iter().map(|field| filled.values.get(*field).map(in_a_cell).unwrap_or_default());
                    row(std::iter::once((*name).to_owned()).chain(values))
                };
                head + &all.iter().map(line).collect::<String>()
            }
            Table::Jsonl => {
                let line = |(name, filled): &(&str, &Filled)| {
                    let pending = filled.pending();
                    json!({"name": name, "values": filled.values, "fields": filled.fields, "pending": pending}).to_string() + "\n"
                };
                all.iter().map(line).collect()
            }
        }
    }
}

fn row(cells: impl Iterator<Item = String>) -> String {
    let quoted = |cell: String| {
        let is_plain = !cell.contains([',', '"', '\n', '\r']);
        if is_plain { cell } else { format!("\"{}\"", cell.replace('"', "\"\"")) }
    };
    cells.map(quoted).collect::<Vec<_>>().join(",") + "\n"
}

fn in_a_cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

/// Writes a file whole or not at all; `-` is standard output.
fn put(path: &str, bytes: &[u8]) -> Result<(), Failure> {
    if path == "-" {
        screen::data(String::from_utf8_lossy(bytes).trim_end());
        return Ok(());
    }
    write_whole(Path::new(path), bytes)
}

/// Writes a file whole or not at all, with the folders above it.
///
/// # Errors
/// When it cannot be written.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let write = || {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let beside = folder.join(format!(".{name}.{}.part", std::process::id()));
        let mut file = std::fs::File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    };
    write().map_err(|error| Failure::new(ExitCode::Unreachable, format!("{}: cannot be written: {error}", path.display())))
}
