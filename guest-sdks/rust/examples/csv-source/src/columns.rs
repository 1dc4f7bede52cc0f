//! Typed columns, and finding out types.

use example_support::Bitmap;

/// What a column's texts are read as.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reading {
    Whole,
    Real,
    Text,
}

impl Reading {
    /// What to read for an Arrow type, and whether the host then has to convert to it.
    pub fn for_type(type_name: &str) -> (Self, bool) {
        match type_name {
            "int64" => (Self::Whole, false),
            "int8" | "int16" | "int32" | "uint8" | "uint16" | "uint32" => (Self::Whole, true),
            "double" => (Self::Real, false),
            "float" | "halffloat" => (Self::Real, true),
            "string" => (Self::Text, false),
            _ => (Self::Text, true),
        }
    }
}

/// Find out what keeps all texts of a column.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inference {
    reading: Option<Reading>,
    /// Whether there was a whole number that a double does not keep.
    long: bool,
}

/// Whether a column's type was inferred: it then takes no text that it would change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Exactness {
    /// `columns` names the type: what can be read as it may be.
    Given,
    Inferred,
}

impl Inference {
    /// Take one more text, which does not mean null.
    pub fn add(&mut self, field: &[u8]) {
        let fits = if is_canonical(field) && whole(field).is_some() {
            Reading::Whole
        } else if is_exact(field) {
            Reading::Real
        } else {
            Reading::Text
        };
        self.long |= fits == Reading::Whole && field.len() > 15 && !is_exact(field);
        self.reading = Some(match (self.reading, fits) {
            (None, fits) => fits,
            (Some(before), fits) if before == fits => fits,
            (Some(Reading::Text), _) | (_, Reading::Text) => Reading::Text,
            _ => Reading::Real,
        });
    }

    /// The Arrow type; a column of nulls alone is of strings.
    pub fn type_name(self) -> &'static str {
        match self.reading {
            Some(Reading::Whole) => "int64",
            Some(Reading::Real) if !self.long => "double",
            Some(Reading::Real) => "string",
            Some(Reading::Text) | None => "string",
        }
    }
}

/// The values of a column of a batch.
pub enum Values {
    Whole(Vec<i64>),
    Real(Vec<f64>),
    Text { offsets: Vec<u32>, text: Vec<u8> },
}

/// A column of a batch being built.
pub struct Column {
    pub values: Values,
    pub valid: Bitmap,
    exactness: Exactness,
}

impl Column {
    pub fn new(reading: Reading, exactness: Exactness, rows: usize) -> Self {
        let values = match reading {
            Reading::Whole => Values::Whole(Vec::with_capacity(rows)),
            Reading::Real => Values::Real(Vec::with_capacity(rows)),
            Reading::Text => {
                let mut offsets = Vec::with_capacity(rows + 1);
                offsets.push(0);
                Values::Text { offsets, text: Vec::with_capacity(rows * 8) }
            }
        };
        Self { values, valid: Bitmap::with_capacity(rows), exactness }
    }

    /// Add a value. The error says what it should have been.
    #[inline]
    pub fn push(&mut self, field: &[u8]) -> Result<(), &'static str> {
        let exact = self.exactness == Exactness::Inferred;
        match &mut self.values {
            Values::Whole(_) if exact && !is_canonical(field) => return Err("a whole number as it is written again"),
            Values::Whole(values) => values.push(whole(field).ok_or("a whole number of 64 bits")?),
            Values::Real(_) if exact && !is_exact(field) => return Err("a number that a double keeps"),
            Values::Real(values) => values.push(real(field).ok_or("a number within the range of a double")?),
            Values::Text { offsets, text } => {
                std::str::from_utf8(field).map_err(|_| "UTF-8")?;
                text.extend_from_slice(field);
                // A batch ends long before its texts have 4 GiB.
                offsets.push(text.len() as u32);
            }
        }
        self.valid.push(true);
        Ok(())
    }

    /// Add a null.
    #[inline]
    pub fn push_null(&mut self) {
        match &mut self.values {
            Values::Whole(values) => values.push(0),
            Values::Real(values) => values.push(0.0),
            Values::Text { offsets, text } => offsets.push(text.len() as u32),
        }
        self.valid.push(false);
    }
}

/// A minus sign or none, and digits that fit 64 bits.
#[inline]
fn whole(field: &[u8]) -> Option<i64> {
    let digits = field.strip_prefix(b"-").unwrap_or(field);
    if digits.len() > 18 && digits[0] != b'+' {
        return std::str::from_utf8(field).ok()?.parse().ok();
    }
    if digits.is_empty() {
        return None;
    }
    let mut value = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(if digits.len() < field.len() { -value } else { value })
}

/// A number; none where digits stand for more than a double can be.
#[inline]
fn real(field: &[u8]) -> Option<f64> {
    let value: f64 = std::str::from_utf8(field).ok()?.parse().ok()?;
    (value.is_finite() || !field.iter().any(u8::is_ascii_digit)).then_some(value)
}

/// Whether a whole number is written again as it is: without zeros before it, and without a plus sign.
#[inline]
fn is_canonical(field: &[u8]) -> bool {
    match field {
        b"0" => true,
        [b'-', rest @ ..] => matches!(rest.first(), Some(b'1'..=b'9')),
        _ => matches!(field.first(), Some(b'1'..=b'9')),
    }
}

/// Whether a text is a number that a double, written out with as many digits, is too. Zeros before it and a plus sign are
/// rather those of a code, and words such as `nan` may well be words.
fn is_exact(field: &[u8]) -> bool {
    let unsigned = field.strip_prefix(b"-").unwrap_or(field);
    let plain = match unsigned {
        [b'0', rest @ ..] => !matches!(rest.first(), Some(b'0'..=b'9')),
        _ => matches!(unsigned.first(), Some(b'1'..=b'9' | b'.')),
    };
    if !plain || !field.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')) {
        return false;
    }
    let Some(value) = real(field) else { return false };
    let mantissa = unsigned.split(|byte| matches!(byte, b'e' | b'E')).next().unwrap_or_default();
    let digits: Vec<u8> = mantissa.iter().copied().filter(u8::is_ascii_digit).skip_while(|byte| *byte == b'0').collect();
    let length = digits.iter().rposition(|byte| *byte != b'0').map_or(0, |last| last + 1);
    match length {
        0 => true,
        _ if value == 0.0 => false,
        1..=15 if value.is_normal() => true,
        1..=17 => {
            let written = format!("{:.*e}", length - 1, value.abs());
            written.bytes().take_while(|byte| *byte != b'e').filter(u8::is_ascii_digit).eq(digits[..length].iter().copied())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn infer(texts: &[&str]) -> &'static str {
        let mut inference = Inference::default();
        texts.iter().for_each(|text| inference.add(text.as_bytes()));
        inference.type_name()
    }

    #[test]
    fn the_type_fits_all_texts() {
        assert_eq!(infer(&["1", "-2", "0"]), "int64");
        assert_eq!(infer(&["1", "2.5", "1e3"]), "double");
        assert_eq!(infer(&["1", "2.5", "x"]), "string");
        assert_eq!(infer(&["2013-01-01T10:00:00Z"]), "string");
        assert_eq!(infer(&[]), "string");
    }

    #[test]
    fn identifiers_are_no_numbers() {
        assert_eq!(infer(&["12345678901234567890"]), "string");
        assert_eq!(infer(&["+4930123456"]), "string");
        assert_eq!(infer(&["+493012345678901234"]), "string");
        assert_eq!(infer(&["01234", "99999"]), "string");
        assert_eq!(infer(&["-007"]), "string");
        assert_eq!(infer(&["00.5"]), "string");
    }

    #[test]
    fn a_double_keeps_every_digit_or_the_column_is_text() {
        assert_eq!(infer(&["0.30000000000000004", "0.10000000000000001", "-0.5", "1e-7", "5e-324"]), "double");
        assert_eq!(infer(&["0.1000000000000000055"]), "string");
        assert_eq!(infer(&["9007199254740993.5"]), "string");
        assert_eq!(infer(&["1e999", "1.5"]), "string");
        assert_eq!(infer(&["9007199254740993", "1.5"]), "string");
        assert_eq!(infer(&["18446744073709551616", "1.5"]), "string");
    }

    #[test]
    fn an_inferred_column_takes_nothing_that_it_would_change() {
        let mut whole = Column::new(Reading::Whole, Exactness::Inferred, 1);
        assert!(whole.push(b"007").is_err());
        let mut real = Column::new(Reading::Real, Exactness::Inferred, 1);
        assert!(real.push(b"0.1000000000000000055").is_err());
        let mut given = Column::new(Reading::Whole, Exactness::Given, 1);
        assert_eq!(given.push(b"007"), Ok(()));
        let mut given = Column::new(Reading::Real, Exactness::Given, 1);
        assert!(given.push(b"1e999").is_err());
        assert_eq!(given.push(b"inf"), Ok(()));
    }

    #[test]
    fn words_are_no_numbers() {
        assert_eq!(infer(&["nan"]), "string");
        assert_eq!(infer(&["infinity"]), "string");
    }

    #[test]
    fn whole_numbers_reach_the_bounds_of_64_bits() {
        assert_eq!(whole(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(whole(b"9223372036854775807"), Some(i64::MAX));
        assert_eq!(whole(b"9223372036854775808"), None);
        for text in ["", "-", "1-", "--1", " 1", "1.0"] {
            assert_eq!(whole(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn a_text_that_is_not_utf_8_is_refused() {
        assert_eq!(Column::new(Reading::Text, Exactness::Inferred, 1).push(b"\xff"), Err("UTF-8"));
    }
}
