//! Rows of which the last two have a column more, for tests: `described` says whether the dataset has that column.

use dataflare_plugin::prelude::*;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default)]
    described: bool,
}

pub struct Growing(Config);

fn old() -> Dataset {
    Dataset::new("people").column("id", "int64").column("name", "string").key(["id"])
}

impl Source for Growing {
    type Config = Config;
    type State = i64;

    fn new(config: Config) -> Result<Self> {
        Ok(Self(config))
    }

    fn datasets(&self) -> Result<Vec<Dataset>> {
        Ok(vec![if self.0.described { old().column("age", "int32") } else { old() }])
    }

    fn schema_at(&self, request: &Request<i64>) -> Result<Schema> {
        let is_old = self.0.described && request.state.unwrap_or(0) <= 2;
        Ok(if is_old { old().schema() } else { request.schema.clone() })
    }

    fn read(&mut self, request: &Request<i64>) -> Result<Option<Chunk<i64>>> {
        let at = request.state.unwrap_or(0);
        let rows = Batch::from_columns([("id", vec![at])])?.with_column("name", vec![format!("n{at}")])?;
        Ok(match at {
            0..=1 => Some(Chunk::new(rows, at + 1)),
            2 => Some(Chunk::new(rows.with_column("age", vec![at])?, at + 1).with_schema(old().column("age", "int32").schema())),
            3 => Some(Chunk::new(rows.with_column("age", vec![at])?, at + 1)),
            _ => None,
        })
    }
}

export_source!(Growing);
