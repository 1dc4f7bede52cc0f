//! Checks that a column is within bounds.

use dataflare_plugin::prelude::*;

/// The configuration: its JSON Schema, and the checks of what the operator writes, come from it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The column to check.
    #[schemars(length(min = 1))]
    column: String,
    /// The least value.
    #[serde(default)]
    least: f64,
    /// The greatest value.
    #[serde(default = "default_greatest")]
    greatest: f64,
}

fn default_greatest() -> f64 {
    100.0
}

/// Rows whose value is out of bounds break its rule; nulls do not.
pub struct SamplePlugin {
    config: Config,
}

impl Validator for SamplePlugin {
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        if config.least > config.greatest {
            return Err(Error::InvalidConfig("least: it is above greatest".into()));
        }
        Ok(Self { config })
    }

    /// The rules: expressions, which the host computes.
    fn rules(&self) -> Vec<Rule> {
        let (least, greatest) = (self.config.least, self.config.greatest);
        let column = &self.config.column;
        let within = Rule::new("within", col(column).between(least, greatest));
        let text = format!("{column} is within {least} and {greatest}");
        vec![within.description(text).column(column)]
    }
}

export_validator!(SamplePlugin);

#[cfg(test)]
mod tests {
    use super::*;
    use dataflare_plugin::testing;

    #[test]
    fn rows_out_of_bounds_are_found_and_nulls_are_not() {
        let config = testing::config(json!({ "column": "age" })).unwrap();
        let mut plugin = SamplePlugin::new(config).unwrap();
        let people = json!([{ "age": 36 }, { "age": -1 }, { "age": null }]);
        let found = plugin.validate(&testing::rows(people).unwrap()).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].row, Some(1));
    }
}
