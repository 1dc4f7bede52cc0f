//! Makes rows of consecutive numbers, and continues where a read ended.

use dataflare_plugin::prelude::*;

/// The configuration: its JSON Schema, and the checks of what the operator writes, come from it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How many rows to make.
    #[serde(default = "default_rows")]
    #[schemars(range(min = 0))]
    rows: i64,
}

fn default_rows() -> i64 {
    10
}

/// A source of one dataset.
pub struct SamplePlugin {
    config: Config,
}

impl Source for SamplePlugin {
    type Config = Config;
    /// The next number.
    type State = i64;

    fn new(config: Config) -> Result<Self> {
        if config.rows < 0 {
            return Err(Error::InvalidConfig("rows: give at least 0".into()));
        }
        Ok(Self { config })
    }

    fn datasets(&self) -> Result<Vec<Dataset>> {
        let numbers = Dataset::new("numbers").column("id", "int64");
        Ok(vec![numbers.column("square", "int64").key(["id"])])
    }

    /// Return rows, and the state from which a later read continues.
    fn read(&mut self, request: &Request<i64>) -> Result<Option<Chunk<i64>>> {
        let begin = request.state.unwrap_or(0);
        let end = self.config.rows.min(begin + request.max_rows as i64);
        if begin >= end {
            return Ok(None);
        }
        let ids: Vec<i64> = (begin..end).collect();
        let squares = ids.iter().map(|id| id * id).collect();
        let rows = Batch::from_columns([("id", ids), ("square", squares)])?;
        Ok(Some(Chunk::new(rows, end)))
    }
}

export_source!(SamplePlugin);

#[cfg(test)]
mod tests {
    use super::*;
    use dataflare_plugin::testing;

    #[test]
    fn all_rows_are_read_in_chunks_of_any_size() {
        let config = testing::config(json!({ "rows": 2 })).unwrap();
        let mut plugin = SamplePlugin::new(config).unwrap();
        let dataset = plugin.datasets().unwrap().remove(0);
        let wanted = json!([{ "id": 0, "square": 0 }, { "id": 1, "square": 1 }]);
        for most in [1, 2, 100] {
            let rows = testing::read_all(&mut plugin, &dataset, most).unwrap();
            assert_eq!(rows, wanted);
        }
    }
}
