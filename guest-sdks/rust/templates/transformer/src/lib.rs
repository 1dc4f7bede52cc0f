//! Adds a column that is a ratio of two others.

use dataflare_plugin::prelude::*;

/// The configuration: its JSON Schema, and the checks of what the operator writes, come from it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The column above the line.
    #[schemars(length(min = 1))]
    of: String,
    /// The column below it.
    #[schemars(length(min = 1))]
    to: String,
    /// The name of the new column.
    #[serde(default = "default_column")]
    column: String,
}

fn default_column() -> String {
    "ratio".into()
}

/// Adds the ratio of two columns.
pub struct SamplePlugin {
    config: Config,
}

impl Transformer for SamplePlugin {
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        Ok(Self { config })
    }

    /// Let the host compute: no value comes into the plugin.
    fn transform(&mut self, batch: Batch) -> Result<Batch> {
        let Config { of, to, column } = &self.config;
        batch.with_column(column, col(of).cast("double") / col(to))
    }
}

export_transformer!(SamplePlugin);

#[cfg(test)]
mod tests {
    use super::*;
    use dataflare_plugin::testing;

    #[test]
    fn a_ratio_is_added() {
        let config = testing::config(json!({ "of": "amount", "to": "quantity" })).unwrap();
        let mut plugin = SamplePlugin::new(config).unwrap();
        let rows = testing::rows(json!([{ "amount": 3, "quantity": 2 }])).unwrap();
        let changed = plugin.transform(rows).unwrap();
        let wanted = json!([{ "amount": 3, "quantity": 2, "ratio": 1.5 }]);
        assert_eq!(testing::records(&changed).unwrap(), wanted);
    }
}
