// A log of changes whose events are in the configuration, for tests; a position is the number of events before it.
import { committed, deleted, idle, inserted, invalidState, newSchema, Source, unavailable, updated } from './dataflare/index.js';

export default class Shop extends Source {
  static options = { events: { type: 'string', description: 'JSON.' } };
  failed = false;
  safe = null;

  /** Two with a key, and one that is read in no test. */
  datasets() {
    const modes = ['changes'];
    return [
      { name: 'orders', schema: { id: 'int64', note: 'string' }, key: ['id'], modes },
      { name: 'lines', schema: { order: 'int64', line: 'int64', what: 'string' }, key: ['order', 'line'], modes },
      { name: 'others', schema: { id: 'int64' }, key: ['id'], modes },
    ];
  }

  acknowledge(state) {
    this.safe = state;
  }

  health() {
    return this.safe === null ? '' : `safe: ${this.safe}`;
  }

  *changes(position, _datasets) {
    const events = JSON.parse(this.config.events);
    const begin = position ?? 0;
    if (begin > events.length) throw invalidState('the log is shorter');
    for (let at = begin; at < events.length; at += 1) {
      const event = events[at];
      if (event.insert) yield inserted(event.insert, event.row);
      else if (event.update) yield updated(event.update, event.row, event.was);
      else if (event.delete) yield deleted(event.delete, event.row);
      else if (event.schema) yield newSchema(event.schema, event.columns);
      else if (event.commit) yield committed(at + 1);
      else if (event.idle) yield idle(event.idle);
      else if (!this.failed) {
        // What comes after it is read by the next call.
        this.failed = true;
        if (event.fail) throw unavailable(event.fail);
        return;
      }
    }
  }
}
