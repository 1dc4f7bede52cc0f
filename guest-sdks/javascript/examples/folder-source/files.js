// The files of partitioned folders, in the order in which they are read, and what a state says of them.

/** The files `PARTITION=VALUE/NAME.jsonl` of a dataset, by value and name. `list` returns a folder's entries. */
export function filesOf(folder, partition, list) {
  const found = [];
  for (const { name, kind } of list(folder)) {
    if (kind !== 'directory' || !name.startsWith(`${partition}=`)) continue;
    for (const file of list(`${folder}/${name}`)) {
      if (file.kind !== 'file' || !file.name.endsWith('.jsonl')) continue;
      const value = name.slice(partition.length + 1);
      found.push({ path: `${folder}/${name}/${file.name}`, value, size: Number(file.sizeBytes), row: 0 });
    }
  }
  return found.sort((one, other) => compare(one.value, other.value) || compare(one.path, other.path));
}

/** What is left of files after those that were read: `done` has the last value, and the paths of its files that were read. */
export const left = (files, done) =>
  done === null ? files : files.filter(({ value, path }) => value > done.value || (value === done.value && !done.paths.includes(path)));

/** What was read, after one more file. */
export const after = (done, { value, path }) =>
  done !== null && done.value === value ? { value, paths: [...done.paths, path] } : { value, paths: [path] };

/** Files in at most so many lists of about the same size; at least one. */
export function divide(files, atMost) {
  const total = files.reduce((sum, { size }) => sum + size + 1, 0);
  const parts = [];
  let before = 0;
  for (const file of files) {
    const part = Math.floor((before / total) * atMost);
    (parts[part] ??= []).push(file);
    before += file.size + 1;
  }
  const filled = parts.filter((part) => part !== undefined);
  return filled.length > 0 ? filled : [[]];
}

const compare = (one, other) => (one < other ? -1 : one > other ? 1 : 0);
