//! Trims a text field, and drops records in which it is empty.

use dataflare_plugin::prelude::*;

/// The configuration: its JSON Schema, and the checks of what the operator writes, come from it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The field to trim.
    #[serde(default = "default_field")]
    #[schemars(length(min = 1))]
    field: String,
}

fn default_field() -> String {
    "name".into()
}

/// Changes records one by one.
pub struct SamplePlugin {
    config: Config,
}

impl Processor for SamplePlugin {
    type Config = Config;
    // A record with any fields. A struct that derives `Deserialize` and `Serialize` is faster: see the SDK's reference.
    type Input = Record;
    type Output = Record;

    fn new(config: Config) -> Result<Self> {
        Ok(Self { config })
    }

    /// Return the record, changed; `None` drops it.
    fn process(&mut self, mut record: Record) -> Result<Option<Record>> {
        let field = &self.config.field;
        match record.get_mut(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => {
                *text = text.trim().to_string();
                let keep = !text.is_empty();
                Ok(keep.then_some(record))
            }
            Some(_) => Err(Error::InvalidInput(format!("{field} is not a text"))),
        }
    }
}

export_processor!(SamplePlugin);

#[cfg(test)]
mod tests {
    use super::*;
    use dataflare_plugin::testing;

    fn trimmed(record: Value) -> Result<Option<Value>> {
        let config = testing::config(json!({}))?;
        let mut plugin = SamplePlugin::new(config)?;
        testing::process(&mut plugin, record)
    }

    #[test]
    fn white_space_at_the_ends_goes() {
        let found = trimmed(json!({ "id": 1, "name": " Ada " })).unwrap();
        assert_eq!(found, Some(json!({ "id": 1, "name": "Ada" })));
    }

    #[test]
    fn a_record_without_a_name_is_dropped() {
        assert_eq!(trimmed(json!({ "id": 2, "name": "  " })).unwrap(), None);
    }
}
