// Marks the flights that are late, and drops those that did not arrive.
import { Processor } from './dataflare/index.js';

export default class MarkLate extends Processor {
  process(record) {
    if (record.arr_delay === null) return null;
    record.late = record.arr_delay >= 15;
    return record;
  }
}
