//! Splitting a stream of bytes into records, with their places.

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

/// The largest limit on a record: all of it is in memory, several times.
pub const MAX_RECORD_BYTES: usize = 64 << 20;

/// Some bytes of the file, as the host gives them.
#[derive(Default)]
pub struct Part {
    pub words: Vec<u64>,
    pub length: usize,
}

impl Part {
    pub fn bytes(&self) -> &[u8] {
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
    max_record_bytes: usize,
    /// Whether an empty line is a record: in a file of one column it holds a value.
    pub keep_empty_lines: bool,
    raw: Vec<u8>,
    fields: Vec<u8>,
    ends: Vec<usize>,
}

impl<E, F: FnMut() -> Result<Part, E>> Records<F> {
    /// Begin at `place`, whose bytes the first call of `read` returns; `read` returns an empty part at the end.
    pub fn new(read: F, place: Place, delimiter: u8, max_record_bytes: usize) -> Self {
        let splitter = ReaderBuilder::new().delimiter(delimiter).build();
        Self {
            read,
            part: Part::default(),
            used: 0,
            place,
            splitter,
            max_record_bytes,
            keep_empty_lines: false,
            raw: Vec::new(),
            fields: vec![0; 4096],
            ends: vec![0; 64],
        }
    }

    /// Bytes right before the next record, as far as they are at hand: 4 KiB at most.
    pub fn before(&self) -> &[u8] {
        let used = &self.part.bytes()[..self.used];
        &used[used.len().saturating_sub(4096)..]
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
        if self.keep_empty_lines && matches!(self.part.bytes()[self.used], b'\n' | b'\r') {
            self.end_line()?;
            return Ok(Some((line, Fields { bytes: &[], ends: &[0], raw: &[] })));
        }
        self.splitter.set_line(line);
        let (mut length, mut count) = (0, 0);
        self.raw.clear();
        let invented = loop {
            let at_end = !self.refill()?;
            // At the end of the file a line feed ends the last record, unless a quote is open.
            let input = if at_end { b"\n".as_slice() } else { &self.part.bytes()[self.used..] };
            let (result, read, written, ended) = self.splitter.read_record(input, &mut self.fields[length..], &mut self.ends[count..]);
            if !at_end {
                self.raw.extend_from_slice(&input[..read]);
                self.used += read;
                self.place.offset += read as u64;
            }
            (length, count) = (length + written, count + ended);
            if self.raw.len() > self.max_record_bytes {
                let why = format!("longer than max_record_bytes = {}: a quote is not closed, or set it to more", self.max_record_bytes);
                return Err(Failure::Broken { line, why });
            }
            match result {
                ReadRecordResult::Record => break at_end,
                ReadRecordResult::InputEmpty if at_end => {
                    return Err(Failure::Broken { line, why: "a quote is not closed before the end of the file".into() });
                }
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => self.fields.resize(self.fields.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::End => return Ok(None),
            }
        };
        self.place.line = self.splitter.line() - u64::from(invented);
        if self.raw.last() == Some(&b'\r') {
            self.take_line_feed()?;
        }
        Ok(Some((line, Fields { bytes: &self.fields[..length], ends: &self.ends[..count], raw: &self.raw })))
    }

    /// Skip empty lines, unless they are records. Returns whether something follows.
    pub fn skip_empty_lines(&mut self) -> Result<bool, Failure<E>> {
        while self.refill()? {
            if self.keep_empty_lines || !matches!(self.part.bytes()[self.used], b'\n' | b'\r') {
                return Ok(true);
            }
            self.end_line()?;
        }
        Ok(false)
    }

    /// Take the line end that comes next.
    fn end_line(&mut self) -> Result<(), Failure<E>> {
        let byte = self.part.bytes()[self.used];
        self.used += 1;
        self.place.offset += 1;
        if byte == b'\r' {
            return self.take_line_feed();
        }
        self.place.line += 1;
        Ok(())
    }

    /// Take the line feed after a carriage return, if there is one: together they are one line end.
    fn take_line_feed(&mut self) -> Result<(), Failure<E>> {
        if self.refill()? && self.part.bytes()[self.used] == b'\n' {
            self.used += 1;
            self.place.offset += 1;
            self.place.line += 1;
        }
        Ok(())
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
    /// The record as it is in the file.
    raw: &'a [u8],
}

impl<'a> Fields<'a> {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// All fields' bytes together.
    pub fn total_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether a quote occurs anywhere in the record.
    pub fn has_quotes(&self) -> bool {
        self.raw.contains(&b'"')
    }

    /// Find out which fields are in quotes: an empty one then is an empty text rather than nothing. Returns whether nothing but a
    /// delimiter follows each closing quote.
    pub fn quoted(&self, delimiter: u8, quoted: &mut Vec<bool>) -> bool {
        quoted.clear();
        if !self.has_quotes() {
            quoted.resize(self.ends.len(), false);
            return true;
        }
        // A byte order mark is no part of the first field.
        let mut rest = self.raw.strip_prefix(b"\xef\xbb\xbf").unwrap_or(self.raw);
        let past = |rest: &'a [u8], byte| rest.iter().position(|other| *other == byte).map(|at| &rest[at + 1..]);
        loop {
            quoted.push(rest.first() == Some(&b'"'));
            if rest.first() != Some(&b'"') {
                match past(rest, delimiter) {
                    Some(next) => rest = next,
                    None => return true,
                }
                continue;
            }
            rest = &rest[1..];
            loop {
                // A quote that is never closed is found where the record is split.
                let Some(next) = past(rest, b'"') else { return true };
                match next.strip_prefix(b"\"") {
                    Some(inside) => rest = inside,
                    None => {
                        rest = next;
                        break;
                    }
                }
            }
            match rest.first() {
                None | Some(b'\r' | b'\n') => return true,
                Some(byte) if *byte == delimiter => rest = &rest[1..],
                Some(_) => return false,
            }
        }
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
        let mut records = Records::new(read, Place::START, b',', 1 << 20);
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
    fn fields_in_quotes_are_told_from_others() {
        let bytes = b"\"\",,x,\"a,\"\"\",5\",\"y\"\n";
        let mut parts = bytes.chunks(3);
        let read = move || {
            let bytes = parts.next().unwrap_or_default();
            let mut words = vec![0; bytes.len().div_ceil(8)];
            bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(bytes);
            Ok::<_, ()>(Part { words, length: bytes.len() })
        };
        let mut records = Records::new(read, Place::START, b',', 1 << 20);
        let (_, fields) = records.next().unwrap().unwrap();
        let mut quoted = Vec::new();
        assert!(fields.quoted(b',', &mut quoted));
        assert_eq!(quoted, [true, false, false, true, false, true]);
    }

    #[test]
    fn only_a_delimiter_may_follow_a_closing_quote() {
        for (text, fine) in [
            ("\"a\"\"\",b", true),
            ("\"\"\"\"\n", true),
            ("b\"c\"d,\"e\"\r\n", true),
            ("\"a\"b,c", false),
            ("c,\"a\" \n", false),
            ("\"a\"\"\"b\"", false),
        ] {
            let raw = text.as_bytes();
            let ends = [0; 2];
            assert_eq!(Fields { bytes: &[], ends: &ends, raw }.quoted(b',', &mut Vec::new()), fine, "{text:?}");
        }
    }

    #[test]
    fn empty_lines_are_records_where_they_are_kept() {
        for text in ["x\n\n\"\"\ny", "x\r\n\r\n\"\"\r\ny\r\n"] {
            for size in 1..=text.len() {
                let mut parts = text.as_bytes().chunks(size);
                let read = move || {
                    let bytes = parts.next().unwrap_or_default();
                    let mut words = vec![0; bytes.len().div_ceil(8)];
                    bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(bytes);
                    Ok::<_, ()>(Part { words, length: bytes.len() })
                };
                let mut records = Records::new(read, Place::START, b',', 1 << 20);
                records.keep_empty_lines = true;
                let mut rows = Vec::new();
                while let Some((line, fields)) = records.next().unwrap() {
                    assert_eq!(fields.len(), 1);
                    rows.push((line, String::from_utf8(fields.iter().next().unwrap().to_vec()).unwrap()));
                }
                let texts = ["x", "", "", "y"];
                assert_eq!(rows, texts.iter().enumerate().map(|(n, text)| (n as u64 + 1, (*text).to_owned())).collect::<Vec<_>>());
            }
        }
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
    fn a_record_longer_than_the_limit_is_broken() {
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
