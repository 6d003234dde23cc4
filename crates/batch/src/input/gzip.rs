//! Gzip files, one after the other: all of a stream must be gzip.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;

/// The plain bytes of every member of a gzip stream.
pub(super) struct Members<R> {
    member: Option<GzDecoder<BufReader<R>>>,
}

impl<R: Read> Members<R> {
    pub(super) fn new(packed: R) -> Members<R> {
        Members { member: Some(GzDecoder::new(BufReader::new(packed))) }
    }
}

impl<R: Read> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let read = member.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let Some(member) = self.member.take() else { break };
            let mut rest = member.into_inner();
            match rest.fill_buf()?.first() {
                None => break,
                Some(0x1f) => self.member = Some(GzDecoder::new(rest)),
                Some(_) => return Err(io::Error::other("after its gzip part stands something that is no gzip; pack it again")),
            }
        }
        Ok(0)
    }
}
