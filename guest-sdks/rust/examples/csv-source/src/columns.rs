//! Typed columns, and finding out types.

use dataflare_plugin::Bitmap;

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

/// Find out what fits all texts of a column.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inference(Option<Reading>);

impl Inference {
    /// Take one more text, which does not mean null.
    pub fn add(&mut self, field: &[u8]) {
        let fits = if whole(field).is_some() {
            Reading::Whole
        } else if looks_real(field) && real(field).is_some() {
            Reading::Real
        } else {
            Reading::Text
        };
        self.0 = Some(match (self.0, fits) {
            (None, fits) => fits,
            (Some(before), fits) if before == fits => fits,
            (Some(Reading::Text), _) | (_, Reading::Text) => Reading::Text,
            _ => Reading::Real,
        });
    }

    /// The Arrow type; a column of nulls alone is of strings.
    pub fn type_name(self) -> &'static str {
        match self.0 {
            Some(Reading::Whole) => "int64",
            Some(Reading::Real) => "double",
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
}

impl Column {
    pub fn new(reading: Reading, rows: usize) -> Self {
        let values = match reading {
            Reading::Whole => Values::Whole(Vec::with_capacity(rows)),
            Reading::Real => Values::Real(Vec::with_capacity(rows)),
            Reading::Text => {
                let mut offsets = Vec::with_capacity(rows + 1);
                offsets.push(0);
                Values::Text { offsets, text: Vec::with_capacity(rows * 8) }
            }
        };
        Self { values, valid: Bitmap::with_capacity(rows) }
    }

    /// Add a value. The error says what it should have been.
    #[inline]
    pub fn push(&mut self, field: &[u8]) -> Result<(), &'static str> {
        match &mut self.values {
            Values::Whole(values) => values.push(whole(field).ok_or("a whole number of 64 bits")?),
            Values::Real(values) => values.push(real(field).ok_or("a number")?),
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

#[inline]
fn real(field: &[u8]) -> Option<f64> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// Whether to take a text that is no whole number of 64 bits for a real one: digits alone are rather a long identifier, which a double
/// would damage, what begins with a plus is rather a telephone number, and words such as `nan` may well be words.
fn looks_real(field: &[u8]) -> bool {
    !field.starts_with(b"+")
        && field.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'))
        && field.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E'))
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
        assert_eq!(Column::new(Reading::Text, 1).push(b"\xff"), Err("UTF-8"));
    }
}
