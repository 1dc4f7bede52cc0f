//! Splitting a stream of bytes into records, with their places.

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

/// The longest record: what is longer is most likely a quote that is never closed.
const MAX_RECORD_BYTES: usize = 1 << 20;

/// Some bytes of the file, as the host gives them.
#[derive(Default)]
pub struct Part {
    pub words: Vec<u64>,
    pub length: usize,
}

impl Part {
    fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.length]
    }
}

/// Where a record begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// Bytes from the file's beginning.
    pub offset: u64,
    /// Line of the file, from 1.
    pub line: u64,
}

impl Place {
    pub const START: Self = Self { offset: 0, line: 1 };
}

/// Why there is no next record.
#[derive(Debug, PartialEq)]
pub enum Failure<E> {
    /// The file could not be read.
    Read(E),
    /// The record that begins in this line is broken.
    Broken { line: u64, why: String },
}

/// The records of a file from some place on.
pub struct Records<F> {
    read: F,
    part: Part,
    used: usize,
    place: Place,
    splitter: Reader,
    fields: Vec<u8>,
    ends: Vec<usize>,
}

impl<E, F: FnMut() -> Result<Part, E>> Records<F> {
    /// Begin at `place`, whose bytes the first call of `read` returns; `read` returns an empty part at the end.
    pub fn new(read: F, place: Place, delimiter: u8) -> Self {
        let splitter = ReaderBuilder::new().delimiter(delimiter).build();
        Self { read, part: Part::default(), used: 0, place, splitter, fields: vec![0; 4096], ends: vec![0; 64] }
    }

    /// Where the next record begins (or an empty line before it).
    pub fn place(&self) -> Place {
        self.place
    }

    /// The next record: the line that it begins in and its fields; `None` at the end of the file.
    pub fn next(&mut self) -> Result<Option<(u64, Fields<'_>)>, Failure<E>> {
        if !self.skip_empty_lines()? {
            return Ok(None);
        }
        let line = self.place.line;
        self.splitter.set_line(line);
        let (mut length, mut count) = (0, 0);
        let invented = loop {
            let at_end = !self.refill()?;
            // At the end of the file a line feed ends the last record, unless a quote is open.
            let input = if at_end { b"\n".as_slice() } else { &self.part.bytes()[self.used..] };
            let (result, read, written, ended) = self.splitter.read_record(input, &mut self.fields[length..], &mut self.ends[count..]);
            if !at_end {
                self.used += read;
                self.place.offset += read as u64;
            }
            (length, count) = (length + written, count + ended);
            match result {
                ReadRecordResult::Record => break at_end,
                ReadRecordResult::InputEmpty if at_end => {
                    return Err(Failure::Broken { line, why: "a quote is not closed before the end of the file".into() });
                }
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull if self.fields.len() >= MAX_RECORD_BYTES => {
                    return Err(Failure::Broken { line, why: "longer than 1 MiB: a quote is not closed, or this is no CSV".into() });
                }
                ReadRecordResult::OutputFull => self.fields.resize(self.fields.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::End => return Ok(None),
            }
        };
        self.place.line = self.splitter.line() - u64::from(invented);
        Ok(Some((line, Fields { bytes: &self.fields[..length], ends: &self.ends[..count] })))
    }

    /// Skip line ends; also the line feed after a carriage return that ended the record before. Returns whether something follows.
    pub fn skip_empty_lines(&mut self) -> Result<bool, Failure<E>> {
        while self.refill()? {
            match self.part.bytes()[self.used] {
                b'\n' => self.place.line += 1,
                b'\r' => {}
                _ => return Ok(true),
            }
            self.used += 1;
            self.place.offset += 1;
        }
        Ok(false)
    }

    /// See to it that there are bytes to use. Returns whether there are.
    fn refill(&mut self) -> Result<bool, Failure<E>> {
        if self.used == self.part.length {
            self.part = (self.read)().map_err(Failure::Read)?;
            self.used = 0;
        }
        Ok(self.part.length > 0)
    }
}

/// The fields of a record, without quotes.
#[derive(Clone, Copy)]
pub struct Fields<'a> {
    bytes: &'a [u8],
    ends: &'a [usize],
}

impl<'a> Fields<'a> {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// All fields' bytes together.
    pub fn total_bytes(&self) -> usize {
        self.bytes.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (bytes, mut start) = (self.bytes, 0);
        self.ends.iter().map(move |&end| {
            let field = &bytes[start..end];
            start = end;
            field
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Rows = Result<Vec<(u64, Vec<String>)>, Failure<()>>;

    /// All records of a text that comes in parts of `size` bytes.
    fn split(text: &[u8], size: usize) -> Rows {
        let mut parts = text.chunks(size);
        let read = move || {
            let bytes = parts.next().unwrap_or_default();
            let mut words = vec![0; bytes.len().div_ceil(8)];
            bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(bytes);
            Ok(Part { words, length: bytes.len() })
        };
        let mut records = Records::new(read, Place::START, b',');
        let mut rows = Vec::new();
        while let Some((line, fields)) = records.next()? {
            rows.push((line, fields.iter().map(|field| String::from_utf8_lossy(field).into_owned()).collect()));
        }
        let lines = text.iter().filter(|byte| **byte == b'\n').count() as u64;
        assert_eq!(records.place(), Place { offset: text.len() as u64, line: lines + 1 });
        Ok(rows)
    }

    fn row(line: u64, fields: &[&str]) -> (u64, Vec<String>) {
        (line, fields.iter().map(|field| (*field).into()).collect())
    }

    #[test]
    fn parts_may_end_anywhere() {
        let text = b"a,b\r\n\"x\r\ny\",\"q\"\"q\"\r\n\r\n1,2";
        for size in 1..=text.len() {
            assert_eq!(split(text, size), Ok(vec![row(1, &["a", "b"]), row(2, &["x\r\ny", "q\"q"]), row(5, &["1", "2"])]));
        }
    }

    #[test]
    fn lines_are_counted_with_every_line_ending() {
        assert_eq!(split(b"a\nb\nc\n", 64), Ok(vec![row(1, &["a"]), row(2, &["b"]), row(3, &["c"])]));
        assert_eq!(split(b"a\r\nb\r\nc\r\n", 64), Ok(vec![row(1, &["a"]), row(2, &["b"]), row(3, &["c"])]));
    }

    #[test]
    fn a_quote_that_is_not_closed_names_the_line_where_its_record_begins() {
        let Err(Failure::Broken { line, why }) = split(b"a\nb\n\"c\nd\n", 3) else { panic!("no failure") };
        assert_eq!(line, 3);
        assert!(why.contains("quote"));
    }

    #[test]
    fn a_record_of_more_than_a_mebibyte_is_broken() {
        let text = [b"a\n\"".as_slice(), &vec![b'x'; 3 << 20]].concat();
        assert!(matches!(split(&text, 1 << 16), Err(Failure::Broken { line: 2, .. })));
    }

    #[test]
    fn many_fields_and_long_ones_fit() {
        let wide = vec!["x"; 1000].join(",");
        let long = "y".repeat(100_000);
        let rows = split(format!("{wide}\n{long}\n").as_bytes(), 4096).unwrap();
        assert_eq!((rows[0].1.len(), rows[1].1[0].len()), (1000, 100_000));
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_field() {
        assert_eq!(split(b"\xef\xbb\xbfa,b\n", 64), Ok(vec![row(1, &["a", "b"])]));
    }
}
