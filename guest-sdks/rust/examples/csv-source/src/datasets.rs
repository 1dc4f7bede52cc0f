//! The files as datasets: finding them, dividing them, and reading several as one.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use crate::dataflare::data::schemas::Schema;
use crate::dataflare::host::files::{list_entries, stat, EntryKind};
use crate::dataflare::plugin::datasets::ReadingModes;
use crate::exports::dataflare::plugin::lifecycle::Error;
use crate::exports::dataflare::plugin::source::{Chunk, Dataset, DatasetName, Division, EstimatedRows, Progress, ReadingMode, Selection};
use crate::file::{file_error, Cursor, File};
use crate::table::{Config, Fingerprint, State};

/// More parts than this are not made of a read.
const MAX_PARTS: u64 = 1024;

/// The rows of a file from a state on; `to_bytes` is the first byte that does not belong to them.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Span {
    from: State,
    to_bytes: Option<u64>,
}

/// A span, the selection that it is of, and the columns to read.
struct Task {
    selection: u32,
    file: Rc<File>,
    columns: Vec<usize>,
    span: Span,
}

/// The files.
pub struct Files {
    config: Rc<Config>,
    folder: bool,
    open: BTreeMap<String, Rc<File>>,
    reading: Option<Reading>,
}

/// A read that is under way.
struct Reading {
    left: VecDeque<Task>,
    cursor: Option<Cursor>,
}

impl Files {
    pub fn new(config: Config) -> Result<Self, Error> {
        let found = stat(&config.path).map_err(|error| file_error(&config.path, error))?;
        let folder = matches!(found.kind, EntryKind::Directory);
        let mut files = Self { config: Rc::new(config), folder, open: BTreeMap::new(), reading: None };
        if !folder {
            let (name, path) = files.paths()?.pop_first().expect("a file");
            files.file(&name, &path)?;
        }
        Ok(files)
    }

    /// Paths by the names of the datasets.
    fn paths(&self) -> Result<BTreeMap<String, String>, Error> {
        let path = self.config.path.trim_end_matches('/');
        if !self.folder {
            return Ok([(path.rsplit('/').next().unwrap_or(path).into(), path.into())].into());
        }
        let entries = list_entries(path).map_err(|error| file_error(path, error))?;
        let files =
            entries.into_iter().filter(|entry| matches!(entry.kind, EntryKind::File) && entry.name.to_lowercase().ends_with(".csv"));
        Ok(files.map(|entry| (entry.name.clone(), format!("{path}/{}", entry.name))).collect())
    }

    fn file(&mut self, name: &str, path: &str) -> Result<Rc<File>, Error> {
        if let Some(file) = self.open.get(name) {
            return Ok(Rc::clone(file));
        }
        let file = Rc::new(File::open(path, !self.folder, &self.config)?);
        self.open.insert(name.into(), Rc::clone(&file));
        Ok(file)
    }

    pub fn discover(&mut self) -> Result<Vec<Dataset>, Error> {
        if self.folder {
            self.open.clear();
        }
        let paths = self.paths()?;
        paths
            .into_iter()
            .map(|(name, path)| {
                let file = self.file(&name, &path)?;
                let all: Vec<usize> = (0..file.table.columns.len()).collect();
                Ok(Dataset {
                    name: DatasetName { namespace: String::new(), name },
                    description: format!("CSV, {} bytes, {} columns", file.length()?, all.len()),
                    schema: file.schema(&all)?,
                    key: Vec::new(),
                    cursors: Vec::new(),
                    modes: ReadingModes::FULL | ReadingModes::SPLITTABLE,
                })
            })
            .collect()
    }

    /// The tasks that selections, a part and a state make.
    fn tasks(&mut self, selections: &[Selection], part: Option<&[u8]>, state: Option<&[u8]>) -> Result<VecDeque<Task>, Error> {
        let paths = self.paths()?;
        let mut chosen: BTreeMap<String, (u32, Rc<File>, Vec<usize>)> = BTreeMap::new();
        let selected = fingerprint_of(selections);
        let mut tasks = Vec::new();
        for (index, selection) in selections.iter().enumerate() {
            let name = &selection.dataset.name;
            let wrong = |why: &str| Error::InvalidConfig(format!("dataset {name:?}: {why}"));
            let path = paths.get(name).filter(|_| selection.dataset.namespace.is_empty()).ok_or_else(|| wrong("there is no such file"))?;
            if !matches!(selection.mode, ReadingMode::Full) {
                return Err(wrong("it can only be read in the mode full"));
            }
            let file = self.file(name, path)?;
            let columns = chosen_columns(&file, selection).map_err(|why| wrong(&why))?;
            if chosen.insert(path.clone(), (index as u32, Rc::clone(&file), columns.clone())).is_some() {
                return Err(wrong("it is selected twice"));
            }
            let span = Span { from: State { selected: selected.clone(), ..file.beginning() }, to_bytes: None };
            tasks.push(Task { selection: index as u32, file, columns, span });
        }
        let foreign = |path: &str| Error::InvalidState(format!("{path} is not selected"));
        let check_selected = |given: &State, due: &Option<Fingerprint>, what: &str| {
            let why = || format!("{}: the {what} is of other files, columns or parts: read those, or without the {what}", given.path);
            (given.selected == *due).then_some(()).ok_or_else(|| Error::InvalidState(why()))
        };
        if let Some(part) = part {
            let of_part = Some(Fingerprint::of(&[format!("{selected:?}").as_bytes(), part].concat()));
            let spans: Vec<Span> = serde_json::from_slice(part)
                .map_err(|error| Error::InvalidState(format!("these bytes are not a part of this source: {error}")))?;
            tasks = spans
                .into_iter()
                .map(|span| {
                    let (selection, file, columns) = chosen.get(&span.from.path).cloned().ok_or_else(|| foreign(&span.from.path))?;
                    check_selected(&span.from, &selected, "part")?;
                    let from = State { selected: of_part.clone(), ..span.from };
                    Ok(Task { selection, file, columns, span: Span { from, ..span } })
                })
                .collect::<Result<_, Error>>()?;
        }
        let Some(state) = state else { return Ok(tasks.into()) };
        let state: State = serde_json::from_slice(state)
            .map_err(|error| Error::InvalidState(format!("these bytes are not a state of this source: {error}")))?;
        let mut tasks: VecDeque<Task> = tasks.into_iter().skip_while(|task| task.span.from.path != state.path).collect();
        let first = tasks.front_mut().ok_or_else(|| foreign(&state.path))?;
        check_selected(&state, &first.span.from.selected, "state")?;
        if state.offset_bytes < first.span.from.offset_bytes || first.span.to_bytes.is_some_and(|to| state.offset_bytes > to) {
            return Err(Error::InvalidState(format!("byte {} of {} is not within what is read", state.offset_bytes, state.path)));
        }
        first.span.from = state;
        Ok(tasks)
    }

    /// Divide the bytes of all files into parts of about the same size, each of whole records.
    pub fn split(&mut self, selections: &[Selection], state: Option<&[u8]>, at_most: u32) -> Result<Division, Error> {
        let tasks = self.tasks(selections, None, state)?;
        let sizes = tasks.iter().map(|task| Ok(task.file.length()?.saturating_sub(task.span.from.offset_bytes)));
        let total = sizes.sum::<Result<u64, Error>>()?;
        let parts = u64::from(at_most).clamp(1, MAX_PARTS).min(total.max(1));
        let mut bounds: VecDeque<u64> = (1..parts).map(|part| (u128::from(total) * u128::from(part) / u128::from(parts)) as u64).collect();
        let (mut found, mut spans, mut before) = (Vec::new(), Vec::new(), 0);
        for Task { file, span, .. } in tasks {
            let (begin, length) = (span.from.offset_bytes, file.length()?);
            let size = length.saturating_sub(begin);
            let mut within = Vec::new();
            while let Some(bound) = bounds.front().copied().filter(|bound| *bound < before + size) {
                within.push(begin + bound - before);
                bounds.pop_front();
            }
            let mut from = span.from;
            for cut in if within.is_empty() { Vec::new() } else { file.cuts(&within)? } {
                if cut.offset_bytes > from.offset_bytes {
                    spans.push(Span { from: from.clone(), to_bytes: Some(cut.offset_bytes) });
                }
                from = State { selected: from.selected, ..cut };
                if !spans.is_empty() {
                    found.push(std::mem::take(&mut spans));
                }
            }
            if from.offset_bytes < length || from.row == 0 {
                spans.push(Span { from, to_bytes: None });
            } else if let Some(last) = found.last_mut().and_then(|spans: &mut Vec<Span>| spans.last_mut()) {
                // Nothing follows the last cut: the part before it goes on to the end.
                last.to_bytes = None;
            }
            before += size;
        }
        if !spans.is_empty() || found.is_empty() {
            found.push(spans);
        }
        let parts = found.iter().map(|spans| serde_json::to_vec(spans).map_err(|error| Error::Internal(error.to_string())));
        // A full read has no rest: the next one begins again.
        Ok(Division { parts: parts.collect::<Result<_, _>>()?, rest: None })
    }

    pub fn estimate(&mut self, selections: &[Selection], part: Option<&[u8]>, state: Option<&[u8]>) -> Result<EstimatedRows, Error> {
        let mut rows = EstimatedRows { rows: 0, exact: true };
        for Task { file, span, .. } in self.tasks(selections, part, state)? {
            let to = span.to_bytes.unwrap_or(file.length()?);
            let left = to.saturating_sub(span.from.offset_bytes);
            rows.rows += (left as f64 / file.table.row_bytes.max(1.0)).round() as u64;
            rows.exact &= left == 0;
        }
        Ok(rows)
    }

    pub fn open(&mut self, selections: &[Selection], part: Option<&[u8]>, state: Option<&[u8]>) -> Result<Vec<Schema>, Error> {
        self.reading = None;
        let left = self.tasks(selections, part, state)?;
        let cursor = left.front().map(|task| task.file.go_to(task.span.from.clone())).transpose()?;
        let paths = self.paths()?;
        let schemas = selections.iter().map(|selection| {
            let name = &selection.dataset.name;
            let file = self.file(name, &paths[name])?;
            let columns = chosen_columns(&file, selection).map_err(Error::InvalidConfig)?;
            file.schema(&columns)
        });
        let schemas = schemas.collect::<Result<_, Error>>()?;
        self.reading = Some(Reading { left, cursor });
        Ok(schemas)
    }

    pub fn read(&mut self, max_rows: u32) -> Result<Progress, Error> {
        let max_rows = self.config.batch_rows.min(max_rows.max(1) as usize);
        let Some(Reading { left, cursor }) = &mut self.reading else {
            return Err(Error::Unsupported("no read is under way: `open` comes first".into()));
        };
        while let Some(task) = left.front() {
            let mut at = match cursor.take() {
                Some(at) => at,
                None => task.file.go_to(task.span.from.clone())?,
            };
            let read = task.file.read(&mut at, &task.columns, max_rows, task.span.to_bytes.unwrap_or(u64::MAX));
            let state = serde_json::to_vec(&at.at).map_err(|error| Error::Internal(error.to_string()))?;
            // After an error the next read begins anew from the same state.
            *cursor = Some(at);
            let (rows, count, more) = read?;
            let selection = task.selection;
            if !more {
                left.pop_front();
                *cursor = None;
            }
            if count > 0 {
                return Ok(Progress::Rows(Chunk { selection, rows, state: Some(state) }));
            }
        }
        Ok(Progress::Ended)
    }

    pub fn close(&mut self) {
        self.reading = None;
    }
}

/// What tells selections apart, in any order; `None` for all columns of one file, which a state names.
fn fingerprint_of(selections: &[Selection]) -> Option<Fingerprint> {
    if let [Selection { columns, .. }] = selections {
        if columns.is_empty() {
            return None;
        }
    }
    let mut selected: Vec<_> = selections.iter().map(|each| (&each.dataset.name, each.columns.clone())).collect();
    selected.iter_mut().for_each(|(_, columns)| columns.sort_unstable());
    selected.sort_unstable();
    Some(Fingerprint::of(format!("{selected:?}").as_bytes()))
}

/// The columns that are selected, as positions in the file.
fn chosen_columns(file: &File, selection: &Selection) -> Result<Vec<usize>, String> {
    let plans = &file.table.columns;
    if selection.columns.is_empty() {
        return Ok((0..plans.len()).collect());
    }
    let mut chosen = Vec::new();
    for name in &selection.columns {
        let index = plans.iter().position(|plan| plan.name == *name).ok_or_else(|| format!("there is no column {name:?}"))?;
        if chosen.contains(&index) {
            return Err(format!("column {name:?} is selected twice"));
        }
        chosen.push(index);
    }
    Ok(chosen)
}
