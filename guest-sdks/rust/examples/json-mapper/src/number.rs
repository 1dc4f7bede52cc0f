//! Numbers of any length, compared as they are written: no digit is lost to a binary fraction.

use std::cmp::Ordering;

/// A number of JSON, or one of the words for what JSON has no number for.
#[derive(Clone, Debug)]
pub enum Number {
    NotANumber,
    /// In order: minus infinity, the finite ones, infinity.
    Infinite {
        negative: bool,
    },
    Finite(Decimal),
}

/// 0.DIGITS times ten to the power of `magnitude`; no digits for zero.
#[derive(Clone, Debug)]
pub struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    magnitude: i64,
}

impl Number {
    /// Read a number in JSON's form, or `NaN`, `Infinity`, `-Infinity`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "NaN" => Some(Self::NotANumber),
            "Infinity" => Some(Self::Infinite { negative: false }),
            "-Infinity" => Some(Self::Infinite { negative: true }),
            _ => Decimal::parse(text).map(Self::Finite),
        }
    }

    /// How two numbers compare; `None` where one of them is not a number.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::NotANumber, _) | (_, Self::NotANumber) => None,
            (Self::Finite(left), Self::Finite(right)) => Some(left.compare(right)),
            _ => Some(self.rank().cmp(&other.rank())),
        }
    }

    /// The number as a value of an Arrow type, in words that the type is read from; `None` where none of its values is
    /// exactly this number, or it is not a type of numbers.
    pub fn as_value_of(&self, type_name: &str) -> Option<String> {
        let Self::Finite(decimal) = self else { return None };
        let text = decimal.plain()?;
        let exact = match type_name {
            "int8" => text.parse::<i8>().is_ok(),
            "int16" => text.parse::<i16>().is_ok(),
            "int32" => text.parse::<i32>().is_ok(),
            "int64" => text.parse::<i64>().is_ok(),
            "uint8" => text.parse::<u8>().is_ok(),
            "uint16" => text.parse::<u16>().is_ok(),
            "uint32" => text.parse::<u32>().is_ok(),
            "uint64" => text.parse::<u64>().is_ok(),
            "float" => self.is_written(&text.parse::<f32>().ok()?.to_string()),
            "double" => self.is_written(&text.parse::<f64>().ok()?.to_string()),
            _ => fits_decimal(&text, type_name)?,
        };
        exact.then_some(text)
    }

    /// Whether a double, written out, is this number.
    pub fn is_double(&self) -> bool {
        matches!(self, Self::Finite(decimal) if decimal.is_double())
    }

    /// Whether a text is this number.
    fn is_written(&self, text: &str) -> bool {
        Self::parse(text).is_some_and(|other| self.compare(&other) == Some(Ordering::Equal))
    }

    fn rank(&self) -> i8 {
        match self {
            Self::Infinite { negative: true } => -1,
            Self::Infinite { negative: false } => 1,
            _ => 0,
        }
    }
}

/// Whether a decimal type has places enough for a number in plain digits; `None` for any other type.
fn fits_decimal(text: &str, type_name: &str) -> Option<bool> {
    let (_, places) = type_name.strip_prefix("decimal")?.split_once('(')?;
    let (precision, scale) = places.strip_suffix(')')?.split_once(", ")?;
    let (precision, scale): (usize, usize) = (precision.parse().ok()?, scale.parse().ok()?);
    let digits = text.trim_start_matches('-');
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    Some(fraction.len() <= scale && whole.trim_start_matches('0').len() + scale <= precision)
}

impl Decimal {
    /// The number in digits alone, without an exponent; `None` where it takes more than a few.
    fn plain(&self) -> Option<String> {
        const MOST: usize = 80;
        let places = usize::try_from(self.magnitude.unsigned_abs()).ok()?;
        if places > MOST || self.digits.len() > MOST {
            return None;
        }
        let digits = std::str::from_utf8(&self.digits).ok()?;
        let sign = if self.negative { "-" } else { "" };
        Some(match (digits.len(), self.magnitude) {
            (0, _) => "0".into(),
            (_, ..=0) => format!("{sign}0.{}{digits}", "0".repeat(places)),
            (length, _) if length <= places => format!("{sign}{digits}{}", "0".repeat(places - length)),
            _ => format!("{sign}{}.{}", &digits[..places], &digits[places..]),
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (mantissa, ""),
        };
        if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let all = || whole.bytes().chain(fraction.bytes());
        let zeros = all().take_while(|byte| *byte == b'0').count();
        let mut digits: Vec<u8> = all().skip(zeros).collect();
        digits.truncate(digits.iter().rposition(|byte| *byte != b'0').map_or(0, |last| last + 1));
        let magnitude = exponent.checked_add(whole.len() as i64)?.checked_sub(zeros as i64)?;
        Some(Self { negative: negative && !digits.is_empty(), digits, magnitude })
    }

    /// Whether a double, written out, is this number, however large or small.
    fn is_double(&self) -> bool {
        let Ok(digits) = std::str::from_utf8(&self.digits) else { return false };
        let text = format!("{}0.{digits}0e{}", if self.negative { "-" } else { "" }, self.magnitude);
        let Ok(double) = text.parse::<f64>() else { return false };
        double.is_finite() && Self::parse(&format!("{double:e}")).is_some_and(|other| self.compare(&other).is_eq())
    }

    fn compare(&self, other: &Self) -> Ordering {
        let sign = |number: &Self| match (number.digits.is_empty(), number.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        };
        let order = sign(self).cmp(&sign(other));
        if order.is_ne() || self.digits.is_empty() {
            return order;
        }
        let size = self.magnitude.cmp(&other.magnitude).then_with(|| self.digits.cmp(&other.digits));
        if self.negative {
            size.reverse()
        } else {
            size
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(left: &str, right: &str) -> Option<Ordering> {
        Number::parse(left).unwrap().compare(&Number::parse(right).unwrap())
    }

    #[test]
    fn numbers_compare_by_value() {
        for (small, large) in [
            ("9.50", "10"),
            ("9.50", "100.00"),
            ("-100", "-9.5"),
            ("-1", "0"),
            ("0", "0.001"),
            ("9007199254740992", "9007199254740993"),
            ("18446744073709551615", "18446744073709551616"),
            ("0.10000000000000000001", "0.10000000000000000002"),
            ("9e2", "1e3"),
            ("-Infinity", "-1e400"),
            ("1e400", "Infinity"),
            ("-Infinity", "Infinity"),
        ] {
            assert_eq!(order(small, large), Some(Ordering::Less), "{small} {large}");
            assert_eq!(order(large, small), Some(Ordering::Greater), "{large} {small}");
        }
    }

    #[test]
    fn one_number_written_in_two_ways_is_equal() {
        for (left, right) in [("10", "10.00"), ("1e2", "100"), ("0.5", "5E-1"), ("0", "-0.0"), ("0", "0e9"), ("Infinity", "Infinity")] {
            assert_eq!(order(left, right), Some(Ordering::Equal), "{left} {right}");
        }
    }

    #[test]
    fn what_is_not_a_number_compares_with_nothing() {
        assert_eq!(order("NaN", "NaN"), None);
        assert_eq!(order("NaN", "1"), None);
    }

    #[test]
    fn a_number_is_a_value_of_the_types_that_hold_it_exactly() {
        for (text, type_name, value) in [
            ("10", "int8", Some("10")),
            ("1e2", "int64", Some("100")),
            ("10.00", "uint64", Some("10")),
            ("-0.0", "uint8", Some("0")),
            ("128", "int8", None),
            ("-1", "uint64", None),
            ("9.5", "int64", None),
            ("18446744073709551615", "uint64", Some("18446744073709551615")),
            ("18446744073709551616", "uint64", None),
            ("0.1", "double", Some("0.1")),
            ("0.1", "float", Some("0.1")),
            ("0.10000000000000001", "double", None),
            ("16777217", "float", None),
            ("9007199254740993", "double", None),
            ("1e400", "double", None),
            ("9.5", "decimal128(10, 2)", Some("9.5")),
            ("9.555", "decimal128(10, 2)", None),
            ("-99999999.99", "decimal128(10, 2)", Some("-99999999.99")),
            ("100000000", "decimal128(10, 2)", None),
            ("0.01", "decimal256(2, 2)", Some("0.01")),
            ("9.5", "decimal32(5, 2)", Some("9.5")),
            ("9.555", "decimal64(12, 2)", None),
            ("10", "decimal128(5, -1)", None),
            ("1", "string", None),
        ] {
            assert_eq!(Number::parse(text).unwrap().as_value_of(type_name).as_deref(), value, "{text} {type_name}");
        }
        assert_eq!(Number::NotANumber.as_value_of("double"), None);
    }

    #[test]
    fn other_texts_are_no_numbers() {
        for text in ["", "-", ".", ".5", "5.", "1e", "x", "1x", "--1", "+1", " 1", "inf", "1e99999999999999999999"] {
            assert!(Number::parse(text).is_none(), "{text:?}");
        }
    }
}
