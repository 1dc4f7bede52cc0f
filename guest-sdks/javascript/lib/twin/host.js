// What the twin of the host knows and was told. Tests fill it, and look at it.

export const host = {
  /** What `http` answers: `{ status, headers, body }` by URL. */
  answers: new Map(),
  /** The requests of `http`. */
  requests: [],
  /** Bytes by key. */
  state: new Map(),
  /** Texts by name. */
  secrets: new Map(),
  /** Bytes by path. */
  files: new Map(),
  /** The events of the log: `{ level, message, fields }`. */
  logged: [],
  /** The last value of each metric; counters are summed. */
  figures: new Map(),
  /** The time of `clock`. */
  now: { seconds: 0n, nanoseconds: 0 },
  /** What `tasks` says. */
  cancelled: false,
};

/** An error of a host's interface, as a component has it. */
export const refusal = (tag, val) => Object.assign(new Error(`${tag}: ${val}`), { payload: { tag, val } });

/** What only the real host does: a test that needs it must not pass by chance. */
export const onlyInAComponent = (what) => new Error(`the twin in memory lacks ${what}: test it by a case in tests/cases`);
