//! A JSON object as an ordered list of names and raw values.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// From so many fields on, their names are looked up rather than looked through.
const MANY: usize = 64;

/// A JSON object whose values stay the text that they were: no number loses a digit, and no value is parsed for nothing.
///
/// An object that has a name twice is refused: one of the two values would be lost.
pub struct Record<'a>(pub Vec<(Name<'a>, &'a RawValue)>);

/// A field's name, borrowed unless it has an escape.
#[derive(serde::Deserialize)]
#[serde(transparent)]
pub struct Name<'a>(#[serde(borrow)] pub Cow<'a, str>);

impl<'a> Record<'a> {
    /// A field's value.
    pub fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(other, _)| other.0 == name).map(|(_, value)| *value)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Record<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Record<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields: Vec<(Name<'de>, &'de RawValue)> = Vec::with_capacity(32);
                let mut seen = 0;
                let mut names: HashSet<Cow<'de, str>> = HashSet::new();
                while let Some((name, value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                    let mark = mark(name.0.as_bytes());
                    let is_there = if fields.len() >= MANY {
                        if names.is_empty() {
                            names = fields.iter().map(|(name, _)| name.0.clone()).collect();
                        }
                        !names.insert(name.0.clone())
                    } else {
                        // Most names are alone with their mark, so that there is no need to look through the others.
                        seen & mark != 0 && fields.iter().any(|(other, _)| other.0 == name.0)
                    };
                    if is_there {
                        return Err(A::Error::custom(format_args!("it has the name {:?} twice", name.0)));
                    }
                    fields.push((name, value));
                    seen |= mark;
                }
                Ok(Record(fields))
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

/// One of 64 bits, the same for equal names.
fn mark(name: &[u8]) -> u64 {
    let ends = name.first().zip(name.last()).map_or(0, |(first, last)| usize::from(*first) * 5 + usize::from(*last));
    1 << ((ends + name.len() * 11) % 64)
}
