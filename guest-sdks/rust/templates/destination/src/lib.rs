//! Keeps rows by key in the state that the host has for the plugin.

use std::collections::BTreeMap;

use dataflare_plugin::prelude::*;
use dataflare_plugin::state;

/// The configuration: its JSON Schema, and the checks of what the operator writes, come from it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The column whose values rows are kept by.
    #[serde(default = "default_key")]
    #[schemars(length(min = 1))]
    key: String,
}

fn default_key() -> String {
    "id".into()
}

/// Rows are visible when the run is finished.
pub struct SamplePlugin {
    config: Config,
    rows: BTreeMap<String, Record>,
}

impl Destination for SamplePlugin {
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        let rows = BTreeMap::new();
        Ok(Self { config, rows })
    }

    /// Write rows; those without a key are rejected.
    fn write(&mut self, target: &Target, rows: Batch) -> Result<Vec<RejectedRow>> {
        let key = &self.config.key;
        let mut rejected = Vec::new();
        for (row, record) in rows.records::<Record>()?.into_iter().enumerate() {
            match record.get(key) {
                None | Some(Value::Null) => {
                    rejected.push(RejectedRow::new(row, format!("{key} is null")).column(key));
                }
                Some(value) => {
                    let name = json!([target.namespace, target.name, value]).to_string();
                    self.rows.insert(name, record);
                }
            }
        }
        Ok(rejected)
    }

    /// Make them visible. After an error this may come again, and must do no harm.
    fn finish(&mut self, _token: &[u8]) -> Result<()> {
        for (name, record) in &self.rows {
            state::put(name, record)?;
        }
        self.rows.clear();
        Ok(())
    }

    /// Forget them.
    fn abort(&mut self) -> Result<()> {
        self.rows.clear();
        Ok(())
    }
}

export_destination!(SamplePlugin);

#[cfg(test)]
mod tests {
    use super::*;
    use dataflare_plugin::testing;

    #[test]
    fn rows_are_kept_when_the_run_is_finished() {
        let config = testing::config(json!({})).unwrap();
        let mut plugin = SamplePlugin::new(config).unwrap();
        let people = json!([{ "id": 1, "name": "Ada" }, { "id": null, "name": "Bo" }]);
        let rows = testing::rows(people).unwrap();
        let rejected = plugin.write(&Target::new("people"), rows).unwrap();
        assert_eq!(rejected, [RejectedRow::new(1, "id is null").column("id")]);
        let name = r#"["","people",1]"#;
        assert_eq!(state::load::<Value>(name).unwrap(), None);
        plugin.finish(b"").unwrap();
        let ada = json!({ "id": 1, "name": "Ada" });
        assert_eq!(state::load(name).unwrap(), Some(ada));
    }
}
