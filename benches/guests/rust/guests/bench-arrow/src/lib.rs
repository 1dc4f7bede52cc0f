//! Doubles the column `a` of an Arrow stream with arrow-rs.

use std::sync::Arc;

use arrow_arith::numeric::mul;
use arrow_array::{Float64Array, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::ArrowError;
use dataflare_plugin::report_panics;

use dataflare::data::batches::{from_arrow_words, Batch, WordBuffer};
use dataflare::data::schemas::Schema;
use dataflare::host::logging::{log, Level};
use exports::dataflare::plugin::lifecycle::{Error, Guest as Lifecycle, Health, Metadata};
use exports::dataflare::plugin::transformer::Guest as Transformer;

wit_bindgen::generate!({
    path: ["../../../../../wit/data", "../../../../../wit/host", "../../../../../wit/plugin", "wit"],
    world: "bench:arrow/bench-arrow",
    generate_all,
});

struct Plugin;

impl Lifecycle for Plugin {
    fn get_metadata() -> Metadata {
        Metadata {
            name: "bench-arrow".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            kind: dataflare::plugin::types::Kind::Transformer,
            description: env!("CARGO_PKG_DESCRIPTION").into(),
            config_schema: String::new(),
        }
    }

    fn configure(_config: String) -> Result<(), Error> {
        report_panics(|message| log(Level::Error, message, &[]));
        Ok(())
    }

    fn initialize() -> Result<(), Error> {
        Ok(())
    }

    fn shutdown() -> Result<(), Error> {
        Ok(())
    }

    fn health_check() -> Health {
        Health { status: dataflare::plugin::types::HealthStatus::Healthy, message: String::new() }
    }
}

impl Transformer for Plugin {
    fn output_schema(input: Schema) -> Result<Schema, Error> {
        Ok(input)
    }

    fn transform(input: Batch) -> Result<Batch, Error> {
        let stream = input.to_arrow_words().map_err(Error::Data)?;
        drop(input);
        let doubled = double(stream).map_err(|error| Error::InvalidInput(error.to_string()))?;
        from_arrow_words(&doubled).map_err(Error::Data)
    }
}

/// Decodes without copying: the columns are parts of the stream.
fn double(stream: WordBuffer) -> Result<WordBuffer, ArrowError> {
    let length = stream.byte_length as usize;
    let mut bytes = Buffer::from_vec(stream.words).slice_with_length(0, length);
    let batch = StreamDecoder::new()
        .decode(&mut bytes)?
        .ok_or_else(|| ArrowError::IpcError("a stream without a batch".into()))?;
    let position = batch.schema().index_of("a")?;
    let mut columns = batch.columns().to_vec();
    columns[position] = Arc::new(mul(&columns[position], &Float64Array::new_scalar(2.0))?);
    let made = RecordBatch::try_new(batch.schema(), columns)?;
    let mut words = WordSink { words: Vec::with_capacity(length / 8 + 512), length: 0 };
    let mut writer = StreamWriter::try_new(&mut words, &made.schema())?;
    writer.write(&made)?;
    writer.finish()?;
    drop(writer);
    Ok(WordBuffer { byte_length: words.length as u32, words: words.words })
}

/// Takes bytes into words.
struct WordSink {
    words: Vec<u64>,
    length: usize,
}

impl std::io::Write for WordSink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let end = self.length + bytes.len();
        match bytemuck::try_cast_slice::<u8, u64>(bytes) {
            // Room that is filled with zeros first would be written twice.
            Ok(words) if self.length % 8 == 0 => self.words.extend_from_slice(words),
            _ => {
                self.words.resize(end.div_ceil(8), 0);
                bytemuck::cast_slice_mut::<u64, u8>(&mut self.words)[self.length..end].copy_from_slice(bytes);
            }
        }
        self.length = end;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

export!(Plugin);
