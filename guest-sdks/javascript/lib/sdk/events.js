// What happens in a log of changes: `Source.changes` yields it.

/** A row is new in a dataset. */
export const inserted = (dataset, row) => ({ type: 'insert', dataset, row });
/**
 * A row as it is now, with the values of all columns. `oldKey` has the values of the key's columns before, where they can have
 * changed: if they did, the SDK makes a delete of the old key and an insert of the new one.
 */
export const updated = (dataset, row, oldKey) => ({ type: 'update', dataset, row, oldKey });
/** A row is gone; `key` has the values of the key's columns. Those of others do not count. */
export const deleted = (dataset, key) => ({ type: 'delete', dataset, key });
/** The columns of a dataset's rows that follow: Arrow types by name, or fields. The key stays that of the dataset. */
export const newSchema = (dataset, columns) => ({ type: 'new-schema', dataset, columns });
/** The end of a transaction, and the position after it: anything that JSON has. Rows count only with it. */
export const committed = (position) => ({ type: 'commit', position });
/** Nothing to read for now; the log goes on from here when the host asks again, after so many milliseconds. */
export const idle = (retryAfterMs = 1000) => ({ type: 'idle', retryAfterMs });
