//! The vectors of an output as one matrix in NumPy's own file form: a row for each record, in input order.
//!
//! The form is NumPy's version 1.0: a magic word, a header that tells type and shape, then 32-bit floats, row by row. A
//! record without a vector is a row of NaN, so that row `n` of the matrix is always the record of index `n`.

use std::io::{self, Write};

use serde::Deserialize;

const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";
/// The header ends at a multiple of this, so that the numbers lie well in memory when the file is mapped.
const ALIGNMENT: usize = 64;

#[derive(Deserialize)]
struct Line {
    id: String,
    #[serde(default)]
    embedding: Option<Vec<f32>>,
}

/// Writes `rows` records, handed over one by one and as often as asked, as a matrix.
///
/// # Errors
/// When two vectors differ in length (with both ids), or writing fails.
pub(crate) fn matrix(
    rows: usize,
    writer: &mut dyn Write,
    mut records: impl FnMut(&mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()>,
) -> io::Result<()> {
    let mut width: Option<(usize, String)> = None;
    records(&mut |record| {
        let Line { id, embedding } = serde_json::from_slice(record)?;
        let Some(vector) = embedding else { return Ok(()) };
        match &width {
            None => width = Some((vector.len(), id)),
            Some((first, other)) if *first != vector.len() => {
                return Err(io::Error::other(format!(
                    "the vector of {id} has {} numbers, that of {other} has {first}: rows of one matrix must be of one length; \
                     ask for one model and one --dimensions, or choose an output in .jsonl",
                    vector.len()
                )));
            }
            Some(_) => {}
        }
        Ok(())
    })?;
    let width = width.map_or(0, |(width, _)| width);
    writer.write_all(&header(rows, width))?;
    records(&mut |record| {
        let Line { embedding, .. } = serde_json::from_slice(record)?;
        let vector = embedding.unwrap_or_else(|| vec![f32::NAN; width]);
        vector.iter().try_for_each(|number| writer.write_all(&number.to_le_bytes()))
    })
}

fn header(rows: usize, width: usize) -> Vec<u8> {
    let mut told = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {width}), }}");
    let frame = MAGIC.len() + 2;
    let unpadded = frame + told.len() + 1;
    told.push_str(&" ".repeat(unpadded.next_multiple_of(ALIGNMENT) - unpadded));
    told.push('\n');
    let length = u16::try_from(told.len()).unwrap_or(u16::MAX);
    [MAGIC, &length.to_le_bytes(), told.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn written(lines: &[&str]) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        matrix(lines.len(), &mut bytes, |each| lines.iter().try_for_each(|line| each(line.as_bytes())))?;
        Ok(bytes)
    }

    #[test]
    fn every_record_is_a_row_and_one_without_a_vector_is_not_a_number() {
        let bytes = written(&[r#"{"id":"a","embedding":[1.5,-2]}"#, r#"{"id":"b","error":{}}"#]).unwrap();
        let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        let told = std::str::from_utf8(&bytes[10..10 + length]).unwrap();
        assert!(
            told.starts_with("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }") && told.ends_with('\n'),
            "{told:?}"
        );
        assert_eq!((10 + length) % ALIGNMENT, 0);
        let numbers: Vec<f32> = bytes[10 + length..].chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
        assert_eq!(numbers[..2], [1.5, -2.0]);
        assert!(numbers.len() == 4 && numbers[2..].iter().all(|number| number.is_nan()));
    }

    #[test]
    fn vectors_of_two_lengths_are_refused_with_both_ids() {
        let error = written(&[r#"{"id":"a","embedding":[1]}"#, r#"{"id":"b","embedding":[1,2]}"#]).unwrap_err().to_string();
        assert!(error.starts_with("the vector of b has 2 numbers, that of a has 1:"), "{error}");
    }

    #[test]
    fn an_output_without_any_vector_is_an_empty_matrix() {
        let bytes = written(&[r#"{"id":"a","error":{}}"#]).unwrap();
        assert!(String::from_utf8_lossy(&bytes).contains("'shape': (1, 0)"));
    }
}
