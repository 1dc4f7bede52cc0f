//! Marks the flights that are late, and drops those that did not arrive.

use dataflare_plugin::prelude::*;

#[derive(Deserialize, Serialize)]
pub struct Flight {
    carrier: String,
    arr_delay: Option<f64>,
    #[serde(default)]
    late: bool,
}

pub struct MarkLate;

impl Processor for MarkLate {
    type Config = NoConfig;
    type Input = Flight;
    type Output = Flight;

    fn new(_: NoConfig) -> Result<Self> {
        Ok(Self)
    }

    fn process(&mut self, mut flight: Flight) -> Result<Option<Flight>> {
        flight.late = flight.arr_delay >= Some(15.0);
        Ok(flight.arr_delay.is_some().then_some(flight))
    }
}

export_processor!(MarkLate);
