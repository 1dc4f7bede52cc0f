//! A plugin's configuration: any type that serde reads, and schemars describes.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::Deserialize;

use crate::{Error, Result};

/// A type of configurations. Derive `Deserialize` and `JsonSchema`, and say `#[serde(deny_unknown_fields)]`.
pub trait Config: DeserializeOwned + JsonSchema {}

impl<T: DeserializeOwned + JsonSchema> Config for T {}

/// The configuration of a plugin that has none.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

/// Read a plugin's configuration.
///
/// The error is the text for [`Error::InvalidConfig`]: it names the key and what it should be.
pub fn parse_config<T: DeserializeOwned>(json: &str) -> Result<T, String> {
    let mut reader = serde_json::Deserializer::from_str(json);
    let config = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let text = error.inner().to_string();
        // The place in the text that the host wrote means nothing to the operator.
        let text = text.split(" at line ").next().unwrap_or_default();
        let place = if path == "." { "the configuration".into() } else { path };
        format!("{place}: {text}")
    })?;
    reader.end().map_err(|error| format!("the configuration: {error}"))?;
    Ok(config)
}

pub(crate) fn configured<T: Config>(json: &str) -> Result<T> {
    parse_config(json).map_err(Error::InvalidConfig)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        #[allow(dead_code)]
        rows: u32,
    }

    #[test]
    fn the_key_that_is_wrong_is_named() {
        assert_eq!(parse_config::<Settings>(r#"{"rows":-1}"#).unwrap_err(), "rows: invalid value: integer `-1`, expected u32");
        assert_eq!(parse_config::<Settings>("{}").unwrap_err(), "the configuration: missing field `rows`");
        assert_eq!(parse_config::<Settings>(r#"{"rows":1,"row":1}"#).unwrap_err(), "row: unknown field `row`, expected `rows`");
        assert!(parse_config::<Settings>("{\"rows\":1} x").is_err());
    }

    #[test]
    fn a_plugin_without_configuration_takes_no_key() {
        assert!(parse_config::<NoConfig>("{}").is_ok());
        assert!(parse_config::<NoConfig>(r#"{"a":1}"#).is_err());
    }
}
