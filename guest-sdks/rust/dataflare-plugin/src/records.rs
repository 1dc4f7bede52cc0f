//! Records of any type that serde knows, read from columns and written into columns.
//!
//! A struct is filled from the columns that it has fields for: no record is written out as JSON. What serde does not ask for
//! by the names of fields, such as a map, is read from JSON Lines.

mod reading;
mod writing;

use std::cell::Cell;

use serde::de::DeserializeOwned;
use serde::Serialize;

use crate::{Batch, Error, Result};

/// Read the rows of a batch as records, one after another.
pub(crate) fn read<T: DeserializeOwned>(batch: &Batch, mut take: impl FnMut(usize, T) -> Result<()>) -> Result<()> {
    let wrong = |row: usize, error: &dyn std::fmt::Display| Error::InvalidInput(format!("row {row}: {error}"));
    let Some(fields) = reading::fields_of::<T>() else {
        for (row, line) in batch.to_json_lines()?.lines().enumerate() {
            take(row, serde_json::from_str(line).map_err(|error| wrong(row, &error))?)?;
        }
        return Ok(());
    };
    let table = reading::Table::new(batch, fields)?;
    // By position it is faster; but serde's list of fields has other names of fields too, which one record shows.
    let mut by_position = table.is_complete();
    for row in 0..batch.len() {
        let taken = Cell::new(0);
        let record = by_position.then(|| T::deserialize(table.row(row, Some(&taken))));
        let record = match record {
            Some(Ok(record)) if taken.get() == fields.len() => record,
            // The error of the other way has the field's name.
            _ => {
                by_position = by_position && taken.get() == fields.len();
                T::deserialize(table.row(row, None)).map_err(|error| wrong(row, &error))?
            }
        };
        take(row, record)?;
    }
    Ok(())
}

/// Make a batch of what becomes of each record.
pub(crate) fn map<T: DeserializeOwned, U: Serialize>(batch: &Batch, mut change: impl FnMut(T) -> Result<Option<U>>) -> Result<Batch> {
    let mut writer = writing::Writer::new(batch);
    read(batch, |row, record| match change(record).map_err(|error| error.in_front(&format!("row {row}: ")))? {
        Some(changed) => writer.push(&changed),
        None => Ok(()),
    })?;
    writer.finish()
}
