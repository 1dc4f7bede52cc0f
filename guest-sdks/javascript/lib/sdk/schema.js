// Columns, as plugins give them and as the bindings have them.

/** The columns as the bindings have them: Arrow types by name, or fields. */
export function toSchema(columns) {
  if (Array.isArray(columns)) return { fields: columns, metadata: [] };
  const fields = Object.entries(columns).map(([name, typeName]) => ({ name, typeName, nullable: true, metadata: [] }));
  return { fields, metadata: [] };
}

/** The fields of a dataset's columns, with the role of the key. */
export function withKey(columns, key) {
  const role = (name) => (key.includes(name) ? [['dataflare.key', `${key.indexOf(name)}`]] : []);
  return Array.isArray(columns) ? columns : toSchema(columns).fields.map((field) => ({ ...field, metadata: role(field.name) }));
}

/** Whether columns are the same. */
export const isSame = (fields, others) => JSON.stringify(fields) === JSON.stringify(others);
