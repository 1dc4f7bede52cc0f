//! Transformers: a batch in, a batch out.

use crate::export::common;
use crate::{Batch, Result, Schema};

/// Changes batches.
pub trait Transformer: Sized + 'static {
    common!();

    /// Return the batch, changed.
    fn transform(&mut self, batch: Batch) -> Result<Batch>;

    /// The columns of the result for these columns; found by transforming a batch without rows.
    fn output_schema(&mut self, input: Schema) -> Result<Schema> {
        Ok(self.transform(Batch::from_json_lines("", Some(&input))?)?.schema())
    }
}
