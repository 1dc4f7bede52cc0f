//! Each kind of plugin, with the host in memory.

use dataflare_plugin::prelude::*;
use dataflare_plugin::{parse_config, state, testing, DataError, Error};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize, Serialize)]
struct Flight {
    carrier: Option<String>,
    distance: f64,
    #[serde(default)]
    late: bool,
}

struct Late;

impl Processor for Late {
    type Config = NoConfig;
    type Input = Flight;
    type Output = Flight;

    fn new(_: NoConfig) -> Result<Self> {
        Ok(Self)
    }

    fn process(&mut self, mut record: Flight) -> Result<Option<Flight>> {
        if record.distance < 0.0 {
            return Err(Error::InvalidInput("the distance is negative".into()));
        }
        record.late = record.distance > 100.0;
        Ok(record.carrier.is_some().then_some(record))
    }
}

#[test]
fn a_struct_is_filled_from_columns_and_columns_are_made_of_it() {
    let rows = testing::rows(json!([
        { "distance": 10, "carrier": "UA", "other": [1] },
        { "distance": 300, "carrier": null, "other": [] },
        { "distance": 200, "carrier": "é", "other": null },
    ]));
    let changed = Late.process_batch(rows.unwrap()).unwrap();
    let wanted = json!([{ "carrier": "UA", "distance": 10, "late": false }, { "carrier": "é", "distance": 200, "late": true }]);
    assert_eq!(testing::records(&changed).unwrap(), wanted);
    assert_eq!(changed.schema().fields[1].type_name, "int64", "a column keeps its type");
}

#[test]
fn one_record_and_a_batch_have_the_same_errors() {
    let record = json!({ "distance": -1, "carrier": "UA" });
    assert_eq!(testing::process(&mut Late, record.clone()).unwrap_err(), Error::InvalidInput("the distance is negative".into()));
    let rows = testing::rows(json!([{ "distance": 1, "carrier": "UA" }, record])).unwrap();
    assert_eq!(Late.process_batch(rows).unwrap_err(), Error::InvalidInput("row 1: the distance is negative".into()));
}

#[test]
fn a_value_of_the_wrong_type_is_named_with_its_row_and_field() {
    let rows = testing::rows(json!([{ "distance": "far", "carrier": "UA" }])).unwrap();
    let error = Late.process_batch(rows).unwrap_err();
    assert_eq!(error, Error::InvalidInput("row 0: distance: invalid type: string \"far\", expected f64".into()));
    let error = testing::process(&mut Late, json!({ "carrier": "UA" })).unwrap_err();
    assert!(matches!(error, Error::InvalidInput(text) if text.contains("missing field `distance`")));
}

#[derive(Deserialize, Serialize)]
struct Renamed {
    #[serde(alias = "id")]
    number: i64,
    name: String,
}

#[test]
fn fields_with_other_names_and_order_get_their_own_columns() {
    for records in [json!([{ "id": 1, "name": "a" }]), json!([{ "name": "a", "number": 1 }])] {
        let found: Vec<Renamed> = testing::rows(records).unwrap().records().unwrap();
        assert_eq!((found[0].number, found[0].name.as_str()), (1, "a"));
    }
    let twice = testing::rows(json!([{ "number": 1, "id": 2, "name": "a" }])).unwrap();
    assert!(twice.records::<Renamed>().is_err());
}

struct Any;

impl Processor for Any {
    type Config = NoConfig;
    type Input = Record;
    type Output = Record;

    fn new(_: NoConfig) -> Result<Self> {
        Ok(Self)
    }

    fn process(&mut self, mut record: Record) -> Result<Option<Record>> {
        record.insert("new".into(), json!({ "nested": [true] }));
        Ok(Some(record))
    }
}

#[test]
fn records_of_any_shape_keep_what_they_hold() {
    let rows = testing::rows(json!([{ "a": [1, 2], "b": 1.5 }, { "a": null, "b": null }])).unwrap();
    let wanted = json!([{ "a": [1, 2], "b": 1.5, "new": { "nested": [true] } }, { "a": null, "b": null, "new": { "nested": [true] } }]);
    assert_eq!(testing::records(&Any.process_batch(rows).unwrap()).unwrap(), wanted);
}

struct Numbers(u64);

impl Source for Numbers {
    type Config = NoConfig;
    type State = u64;

    fn new(_: NoConfig) -> Result<Self> {
        Ok(Self(7))
    }

    fn datasets(&self) -> Result<Vec<Dataset>> {
        Ok(vec![Dataset::new("numbers").column("id", "int32").column("name", "string").key(["id"])])
    }

    fn read(&mut self, request: &Request<u64>) -> Result<Option<Chunk<u64>>> {
        let begin = request.state.unwrap_or(0);
        let ids: Vec<i64> = (begin..self.0.min(begin + 3)).map(|id| id as i64).collect();
        if ids.is_empty() {
            return Ok(None);
        }
        let state = begin + ids.len() as u64;
        let names: Vec<String> = ids.iter().map(|id| format!("n{id}")).collect();
        Ok(Some(Chunk::new(Batch::from_columns([("id", ids)])?.with_column("name", names)?, state)))
    }
}

#[test]
fn a_source_is_read_in_chunks_that_the_host_takes() {
    let mut source = Numbers(7);
    let dataset = source.datasets().unwrap().remove(0);
    for most in [1, 2, 3, 100] {
        let found = testing::read_all(&mut source, &dataset, most).unwrap();
        assert_eq!(found.as_array().unwrap().len(), 7);
        assert_eq!(found[6], json!({ "id": 6, "name": "n6" }));
    }
}

#[test]
fn a_column_that_the_dataset_lacks_is_an_error_that_names_it() {
    let error = testing::read_all(&mut Numbers(1), &Dataset::new("numbers").column("id", "int32"), 10).unwrap_err();
    let what = "dataset \"numbers\": the rows have a column \"name\", which its schema lacks: name it there, leave it out, or give the chunk a schema";
    assert_eq!(error, Error::InvalidInput(what.into()));
}

/// Rows from the third on have a column more.
struct Growing(Vec<usize>);

impl Source for Growing {
    type Config = NoConfig;
    type State = i64;

    fn new(_: NoConfig) -> Result<Self> {
        Ok(Self(Vec::new()))
    }

    fn datasets(&self) -> Result<Vec<Dataset>> {
        Ok(vec![Dataset::new("people").column("id", "int64").key(["id"])])
    }

    fn read(&mut self, request: &Request<i64>) -> Result<Option<Chunk<i64>>> {
        let at = request.state.unwrap_or(0);
        self.0.push(request.schema.fields.len());
        let rows = Batch::from_columns([("id", vec![at])])?;
        Ok(match at {
            0..2 => Some(Chunk::new(rows, at + 1)),
            2 => {
                let schema = Schema::new([Field::new("id", "int64"), Field::new("age", "int32")]);
                Some(Chunk::new(rows.with_column("age", vec![at])?, at + 1).with_schema(schema))
            }
            3 => Some(Chunk::new(rows.with_column("age", vec![at])?, at + 1)),
            _ => None,
        })
    }
}

#[test]
fn columns_that_a_chunk_brings_are_those_of_the_chunks_after_it() {
    let mut source = Growing(Vec::new());
    let dataset = source.datasets().unwrap().remove(0);
    let wanted = json!([{ "id": 0 }, { "id": 1 }, { "id": 2, "age": 2 }, { "id": 3, "age": 3 }]);
    assert_eq!(testing::read_all(&mut source, &dataset, 10).unwrap(), wanted);
    assert_eq!(source.0, [1, 1, 1, 2, 2]);
}

/// A log of two transactions, of which the second changes a key.
struct Log;

impl Source for Log {
    type Config = NoConfig;
    type State = usize;

    fn new(_: NoConfig) -> Result<Self> {
        Ok(Self)
    }

    fn datasets(&self) -> Result<Vec<Dataset>> {
        Ok(vec![Dataset::new("people").column("id", "int64").column("name", "string").key(["id"]).modes([Mode::Changes])])
    }

    fn changes(&mut self, position: Option<usize>, _: &[Dataset]) -> Result<Events<usize>> {
        let events = [
            Event::insert("people", &json!({ "id": 1, "name": "Ada" })),
            Ok(Event::Commit(1)),
            Event::update_of("people", &json!({ "id": 1 }), &json!({ "id": 2, "name": "Ada" })),
            Event::delete("people", &json!({ "id": 2 })),
            Ok(Event::Commit(2)),
        ];
        Ok(Box::new(events.into_iter().skip(if position == Some(1) { 2 } else { 0 })))
    }
}

#[test]
fn a_log_of_changes_is_read_until_there_is_no_more() {
    let dataset = Log.datasets().unwrap().remove(0);
    let found = testing::read_all(&mut Log, &dataset, 10).unwrap();
    let operations: Vec<_> = found.as_array().unwrap().iter().map(|row| (row["_operation"].clone(), row["id"].clone())).collect();
    assert_eq!(operations, [(json!(0), json!(1)), (json!(2), json!(1)), (json!(0), json!(2)), (json!(2), json!(2))]);
}

struct Positive;

impl Validator for Positive {
    type Config = NoConfig;

    fn new(_: NoConfig) -> Result<Self> {
        Ok(Self)
    }

    fn rules(&self) -> Vec<Rule> {
        vec![Rule::new("positive", col("n").gt(0)), Rule::new("named", col("name").is_valid())]
    }
}

#[test]
fn rows_that_break_a_rule_are_found_and_nulls_do_not() {
    let batch = testing::rows(json!([{ "n": 1, "name": "a" }, { "n": 0, "name": null }, { "n": null, "name": "c" }])).unwrap();
    let found: Vec<_> = Positive.validate(&batch).unwrap().into_iter().map(|each| (each.rule, each.row)).collect();
    assert_eq!(found, [("positive".into(), Some(1)), ("named".into(), Some(1))]);
}

#[test]
fn columns_are_typed_values() {
    let batch = testing::rows(json!([{ "a": 1, "b": "x", "c": true, "d": 0.5 }, { "a": null, "b": null, "c": null, "d": null }])).unwrap();
    let a = batch.column::<i64>("a").unwrap();
    assert_eq!((a.values(), a.get(0), a.get(1)), ([1, 0].as_slice(), Some(1), None));
    assert_eq!(batch.column::<str>("b").unwrap().iter().collect::<Vec<_>>(), [Some("x"), None]);
    assert_eq!(batch.column::<bool>("c").unwrap().iter().flatten().collect::<Vec<_>>(), [true]);
    assert_eq!(batch.column::<f64>("d").unwrap().iter().collect::<Vec<_>>(), [Some(0.5), None]);
    assert_eq!(batch.column::<i64>("e").unwrap_err(), Error::Data(DataError::NoSuchColumn("e".into())));
    assert!(matches!(batch.column::<i64>("b").unwrap_err(), Error::Data(DataError::WrongType(_))));
    assert!(matches!(batch.with_column("a", vec![1_i64]).unwrap_err(), Error::Internal(text) if text.contains("1 values for 2 rows")));
}

#[test]
fn expressions_compute_as_the_host_does() {
    let batch = testing::rows(json!([{ "a": 7, "b": 2, "t": " Ä " }, { "a": null, "b": 0, "t": "b" }])).unwrap();
    let made = batch
        .with_columns([
            ("whole", col("a") / lit(2)),
            ("real", col("a").cast("double") / col("b")),
            ("text", col("t").call("utf8_trim_whitespace", []).call("utf8_lower", [])),
            ("both", col("a").gt(3) & col("b").gt(0)),
            ("filled", col("a").or_else(-1)),
        ])
        .unwrap()
        .select(["whole", "real", "text", "both", "filled"])
        .unwrap();
    let wanted = json!([
        { "whole": 3, "real": 3.5, "text": "ä", "both": true, "filled": 7 },
        { "whole": null, "real": null, "text": "b", "both": false, "filled": -1 },
    ]);
    assert_eq!(testing::records(&made).unwrap(), wanted);
    assert!(batch.with_column("x", col("a") / 0).is_err());
    assert!(batch.with_column("x", col("t") + 1).is_err());
    assert_eq!(batch.filter(col("a").is_null()).unwrap().len(), 1);
    assert_eq!(batch.sort(["b"]).unwrap().column::<i64>("b").unwrap().values(), [0, 2]);
}

#[test]
fn what_the_host_offers_has_a_twin() {
    testing::reset();
    testing::put_secret("token", "abc");
    testing::put_file("in/a.txt", "x");
    testing::answer("https://example.org/a", 200, "body");
    assert_eq!(dataflare_plugin::secrets::get("token").unwrap(), "abc");
    assert_eq!(dataflare_plugin::files::read("in/a.txt").unwrap(), b"x");
    dataflare_plugin::files::write("out/b.txt", b"y").unwrap();
    assert_eq!(testing::file("out/b.txt").unwrap(), b"y");
    assert_eq!(dataflare_plugin::http::get("https://example.org/a").unwrap().body, b"body");
    assert!(matches!(dataflare_plugin::http::get("https://example.org/b").unwrap_err(), Error::Denied(_)));
    state::put("seen", &[1, 2]).unwrap();
    assert_eq!(state::load::<Vec<i64>>("seen").unwrap(), Some(vec![1, 2]));
    assert!(matches!(Error::from(dataflare_plugin::secrets::get("none").unwrap_err()), Error::Denied(_)));
    log::info!("read {} rows", 3);
    assert_eq!(testing::logged(), [(log::Level::Info, "read 3 rows".into())]);
}

#[test]
fn wrong_configurations_name_the_key() {
    assert!(parse_config::<Nothing>(r#"{"a":1}"#).unwrap_err().starts_with("a: unknown field `a`"));
}
