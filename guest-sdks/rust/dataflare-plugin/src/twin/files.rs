//! The twin of `files`: a path's first part is the directory, and every directory is granted.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use super::memory;
use crate::bindings::imports::dataflare::data::batches::WordBuffer;
use crate::bindings::imports::dataflare::host::files::{Directory, Entry, EntryKind, FileError, Position};

/// A file that is read.
#[derive(Debug)]
pub struct Reader {
    data: Vec<u8>,
    at: Cell<usize>,
}

impl Reader {
    /// The next bytes; none at the end.
    pub fn read(&self, max_bytes: u32) -> Result<Vec<u8>, FileError> {
        let begin = self.at.get().min(self.data.len());
        let end = self.data.len().min(begin + max_bytes as usize);
        self.at.set(end);
        Ok(self.data[begin..end].to_vec())
    }

    /// The next bytes, in words.
    pub fn read_words(&self, max_bytes: u32) -> Result<WordBuffer, FileError> {
        let bytes = self.read(max_bytes)?;
        let word = |chunk: &[u8]| chunk.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        Ok(WordBuffer { byte_length: bytes.len() as u32, words: bytes.chunks(8).map(word).collect() })
    }

    /// Go to a place.
    pub fn seek(&self, to: Position) -> Result<(), FileError> {
        self.at.set(to.offset_bytes as usize);
        Ok(())
    }

    /// The place.
    pub fn tell(&self) -> Position {
        Position { offset_bytes: self.at.get() as u64 }
    }

    /// The length.
    pub fn length(&self) -> Result<Position, FileError> {
        Ok(Position { offset_bytes: self.data.len() as u64 })
    }
}

/// A file that is written. It is there when it is published.
#[derive(Debug)]
pub struct Writer {
    path: String,
    data: RefCell<Vec<u8>>,
}

impl Writer {
    /// Write bytes.
    pub fn write(&self, data: &[u8]) -> Result<(), FileError> {
        self.data.borrow_mut().extend(data);
        Ok(())
    }

    /// Write a text.
    pub fn write_text(&self, text: &str) -> Result<(), FileError> {
        self.write(text.as_bytes())
    }

    /// Write bytes that are in words.
    pub fn write_words(&self, data: &WordBuffer) -> Result<(), FileError> {
        let bytes: Vec<u8> = data.words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.write(&bytes[..data.byte_length as usize])
    }

    /// The number of bytes that were written.
    pub fn tell(&self) -> Position {
        Position { offset_bytes: self.data.borrow().len() as u64 }
    }

    /// Make what was written durable.
    pub fn sync(&self) -> Result<(), FileError> {
        Ok(())
    }

    /// Make the file visible.
    pub fn publish(&self) -> Result<(), FileError> {
        memory(|memory| memory.files.insert(self.path.clone(), self.data.borrow().clone()));
        Ok(())
    }
}

fn file(path: &str) -> Option<Vec<u8>> {
    memory(|memory| memory.files.get(path).cloned())
}

/// The directories in which there are files.
pub fn granted() -> Vec<Directory> {
    let mut names: Vec<String> = memory(|memory| memory.files.keys().filter_map(|path| Some(path.split_once('/')?.0.into())).collect());
    names.dedup();
    names.into_iter().map(|name| Directory { name, writable: true }).collect()
}

/// Open a file to read it.
pub fn open(path: &str) -> Result<Reader, FileError> {
    let data = file(path).ok_or_else(|| FileError::NotFound(path.into()))?;
    Ok(Reader { data, at: Cell::new(0) })
}

/// Make a file.
pub fn create(path: &str, replace: bool) -> Result<Writer, FileError> {
    if !replace && file(path).is_some() {
        return Err(FileError::AlreadyExists(path.into()));
    }
    Ok(Writer { path: path.into(), data: RefCell::default() })
}

/// Write at the end of a file.
pub fn append(path: &str) -> Result<Writer, FileError> {
    Ok(Writer { path: path.into(), data: RefCell::new(file(path).unwrap_or_default()) })
}

/// What there is at a path.
pub fn stat(path: &str) -> Result<Entry, FileError> {
    let name = path.rsplit('/').next().unwrap_or_default().to_string();
    let data = file(path).ok_or_else(|| FileError::NotFound(path.into()))?;
    Ok(Entry { name, kind: EntryKind::File, size_bytes: data.len() as u64, modified_ms: 0 })
}

/// What there is in a directory.
pub fn list_entries(path: &str) -> Result<Vec<Entry>, FileError> {
    let inside = format!("{path}/");
    let mut found = BTreeMap::new();
    memory(|memory| {
        for (path, data) in &memory.files {
            let Some(rest) = path.strip_prefix(&inside) else { continue };
            let (name, kind) = match rest.split_once('/') {
                Some((folder, _)) => (folder, EntryKind::Directory),
                None => (rest, EntryKind::File),
            };
            let size_bytes = if kind == EntryKind::File { data.len() as u64 } else { 0 };
            found.insert(name.to_string(), Entry { name: name.into(), kind, size_bytes, modified_ms: 0 });
        }
    });
    Ok(found.into_values().collect())
}

/// Delete a file.
pub fn delete(path: &str) -> Result<(), FileError> {
    memory(|memory| memory.files.remove(path)).map(drop).ok_or_else(|| FileError::NotFound(path.into()))
}
