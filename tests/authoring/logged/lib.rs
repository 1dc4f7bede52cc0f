//! A log of changes whose events are in the configuration, for tests; a position is the number of events before it.

use dataflare_plugin::prelude::*;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// JSON.
    events: String,
}

pub struct Shop {
    events: Vec<Value>,
    failed: bool,
    safe: Option<usize>,
}

fn columns(said: &Value) -> Schema {
    let columns = said.as_object().expect("an object");
    Schema::new(columns.iter().map(|(name, kind)| Field::new(name, kind.as_str().expect("a type"))))
}

impl Source for Shop {
    type Config = Config;
    type State = usize;

    fn new(config: Config) -> Result<Self> {
        Ok(Self { events: dataflare_plugin::serde_json::from_str(&config.events)?, failed: false, safe: None })
    }

    fn datasets(&self) -> Result<Vec<Dataset>> {
        let lines = Dataset::new("lines").column("order", "int64").column("line", "int64").column("what", "string");
        Ok(vec![
            Dataset::new("orders").column("id", "int64").column("note", "string").key(["id"]).modes([Mode::Changes]),
            lines.key(["order", "line"]).modes([Mode::Changes]),
            Dataset::new("others").column("id", "int64").key(["id"]).modes([Mode::Changes]),
        ])
    }

    fn acknowledge(&mut self, state: usize) -> Result<()> {
        self.safe = Some(state);
        Ok(())
    }

    fn health(&mut self) -> String {
        self.safe.map(|state| format!("safe: {state}")).unwrap_or_default()
    }

    fn changes(&mut self, position: Option<usize>, _: &[Dataset]) -> Result<Events<usize>> {
        let begin = position.unwrap_or(0);
        let Some(events) = self.events.get(begin..) else { return Err(Error::InvalidState("the log is shorter".into())) };
        let mut found: Vec<Result<Event<usize>>> = Vec::new();
        for (at, event) in events.iter().enumerate() {
            let name = |kind: &str| event[kind].as_str();
            let row = &event["row"];
            if let Some(dataset) = name("insert") {
                found.push(Event::insert(dataset, row));
            } else if let Some(dataset) = name("update") {
                found.push(match event.get("was") {
                    Some(was) => Event::update_of(dataset, was, row),
                    None => Event::update(dataset, row),
                });
            } else if let Some(dataset) = name("delete") {
                found.push(Event::delete(dataset, row));
            } else if let Some(dataset) = name("schema") {
                found.push(Ok(Event::NewSchema(dataset.into(), columns(&event["columns"]))));
            } else if event.get("commit").is_some() {
                found.push(Ok(Event::Commit(begin + at + 1)));
            } else if let Some(wait_ms) = event.get("idle") {
                found.push(Ok(Event::Idle(wait_ms.as_u64().expect("a number") as u32)));
            } else if !self.failed {
                // What comes after it is read by the next call.
                self.failed = true;
                if let Some(text) = name("fail") {
                    found.push(Err(Error::Unavailable(text.into())));
                }
                break;
            }
        }
        Ok(Box::new(found.into_iter()))
    }
}

export_source!(Shop);
