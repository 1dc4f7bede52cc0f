//! Batches of the columns that were read.

use crate::columns::{Column, Values};
use crate::dataflare::data::batches::{new_batch, Batch, DataError, TextValues};
use crate::table::ColumnPlan;

/// A column that does not make a batch; `row` is the first one whose value does not fit the column's type.
pub struct Unfit {
    pub column: String,
    pub row: Option<usize>,
    pub error: DataError,
}

/// Make a batch of some of the columns, in the order of `chosen`.
pub fn build(plans: &[ColumnPlan], chosen: &[usize], columns: Vec<Column>, rows: usize) -> Result<Batch, Unfit> {
    let mut columns: Vec<Option<Column>> = columns.into_iter().map(Some).collect();
    chosen.iter().try_fold(new_batch(rows as u32), |batch, &index| {
        let plan = &plans[index];
        let column = columns[index].take().expect("no column is chosen twice");
        let valid = column.valid.words();
        let batch = match column.values {
            Values::Whole(values) => batch.with_int64_column(&plan.name, &values, valid),
            Values::Real(values) => batch.with_float64_column(&plan.name, &values, valid),
            // Each text was checked when it was added.
            Values::Text { offsets, text } => String::from_utf8(text)
                .map_err(|error| DataError::Malformed(error.to_string()))
                .and_then(|text| batch.with_text_column(&plan.name, &TextValues { offsets, text }, valid)),
        }
        .map_err(|error| Unfit { column: plan.name.clone(), row: None, error })?;
        if !plan.cast {
            return Ok(batch);
        }
        batch.cast_column(&plan.name, &plan.type_name).map_err(|error| unfit(&batch, plan, rows, error))
    })
}

/// Find the first row that cannot be converted, by halves.
fn unfit(batch: &Batch, plan: &ColumnPlan, rows: usize, error: DataError) -> Unfit {
    let cast = |length: usize| batch.slice(0, length as u32).and_then(|rows| rows.cast_column(&plan.name, &plan.type_name));
    let column = plan.name.clone();
    if let Err(error) = cast(0) {
        return Unfit { column, row: None, error };
    }
    let (mut good, mut bad, mut error) = (0, rows, error);
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        match cast(middle) {
            Ok(_) => good = middle,
            Err(earlier) => (bad, error) = (middle, earlier),
        }
    }
    Unfit { column, row: Some(good), error }
}

pub fn describe(error: &DataError) -> String {
    match error {
        DataError::NoSuchColumn(column) => format!("there is no column {column:?}"),
        DataError::NoSuchFunction(function) => format!("there is no function {function:?}"),
        DataError::WrongType(types) => format!("column {:?} is {}, not {}", types.column, types.actual, types.expected),
        DataError::OutOfRange(why) | DataError::Malformed(why) | DataError::TooLarge(why) | DataError::Other(why) => why.clone(),
    }
}
