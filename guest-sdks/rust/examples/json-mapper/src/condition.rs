//! Which records are kept.

use std::cmp::Ordering;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::number::Number;
use crate::record::Record;

/// A comparison of a field with a value.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    pub field: String,
    pub op: Comparison,
    pub value: Operand,
}

/// What a field is compared with; a number as it is written.
#[derive(Deserialize)]
#[serde(try_from = "Box<RawValue>")]
pub enum Operand {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
}

impl TryFrom<Box<RawValue>> for Operand {
    type Error = String;

    fn try_from(raw: Box<RawValue>) -> Result<Self, String> {
        Self::parse(&raw)?.ok_or_else(|| "keep_if.value: give a string, a number, a boolean or null".into())
    }
}

impl Operand {
    /// Read a value; `None` for an array or an object.
    fn parse(raw: &RawValue) -> Result<Option<Self>, String> {
        let text = raw.get();
        Ok(match text.as_bytes().first() {
            Some(b'n') => Some(Self::Null),
            Some(b't') => Some(Self::Bool(true)),
            Some(b'f') => Some(Self::Bool(false)),
            Some(b'"') => Some(Self::Text(serde_json::from_str(text).map_err(|error| error.to_string())?)),
            Some(b'[' | b'{') => None,
            _ => Some(Self::Number(Number::parse(text).ok_or_else(|| format!("{text} cannot be compared"))?)),
        })
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
        }
    }
}

#[derive(Clone, Copy, Deserialize)]
pub enum Comparison {
    #[serde(rename = "==")]
    Equal,
    #[serde(rename = "!=")]
    NotEqual,
    #[serde(rename = "<")]
    Less,
    #[serde(rename = "<=")]
    LessOrEqual,
    #[serde(rename = ">")]
    Greater,
    #[serde(rename = ">=")]
    GreaterOrEqual,
}

impl Comparison {
    /// Whether the comparison holds for values in this order; `None` where one is null and the other not, or without an order.
    pub fn accepts(self, order: Option<Ordering>) -> bool {
        match self {
            Self::Equal => order == Some(Ordering::Equal),
            Self::NotEqual => order != Some(Ordering::Equal),
            Self::Less => order == Some(Ordering::Less),
            Self::LessOrEqual => order.is_some_and(Ordering::is_le),
            Self::Greater => order == Some(Ordering::Greater),
            Self::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
        }
    }
}

impl Condition {
    /// Whether a record is kept.
    ///
    /// The error says why the field cannot be compared.
    pub fn holds(&self, record: &Record) -> Result<bool, String> {
        self.holds_for(record.get(&self.field))
    }

    fn holds_for(&self, field: Option<&RawValue>) -> Result<bool, String> {
        let order = match field {
            Some(raw) => match Operand::parse(raw).map_err(|error| format!("keep_if: {}: {error}", self.field))? {
                Some(value) => self.compare(&value)?,
                None if matches!(self.value, Operand::Null) => None,
                None => return Err(self.mismatch("an array or an object")),
            },
            None => self.compare(&Operand::Null)?,
        };
        Ok(self.op.accepts(order))
    }

    /// How a field's value compares with the condition's; `None` where one is null and the other not, or without an order.
    fn compare(&self, field: &Operand) -> Result<Option<Ordering>, String> {
        Ok(match (field, &self.value) {
            (Operand::Null, Operand::Null) => Some(Ordering::Equal),
            (Operand::Null, _) | (_, Operand::Null) => None,
            (Operand::Bool(left), Operand::Bool(right)) => Some(left.cmp(right)),
            (Operand::Text(left), Operand::Text(right)) => Some(left.cmp(right)),
            (Operand::Number(left), Operand::Number(right)) => left.compare(right),
            // Long decimals are texts in JSON, and so is what is not finite.
            (Operand::Text(left), Operand::Number(right)) => match Number::parse(left) {
                Some(left) => left.compare(right),
                None => return Err(self.mismatch("a text that is no number")),
            },
            (other, _) => return Err(self.mismatch(other.kind())),
        })
    }

    fn mismatch(&self, found: &str) -> String {
        format!("keep_if: {:?} is {found}, and `value` is {}: give a value of the same kind", self.field, self.value.kind())
    }
}
