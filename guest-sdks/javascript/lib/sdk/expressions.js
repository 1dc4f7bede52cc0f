// Expressions: what the host computes on columns, so that no value is copied into the plugin.

class Expression {
  constructor(node, inputs = [], options = []) {
    Object.assign(this, { node, inputs, options });
  }

  /** A function of the host, of this expression and of others: `col('name').call('utf8_lower')`. */
  call(name, ...rest) {
    return call(name, this, ...rest);
  }
}

/** A column. */
export const col = (name) => new Expression({ tag: 'column', val: name });

/** A constant: `null`, a boolean, a text, a BigInt for a whole number, a number for a double. */
export const lit = (value) => new Expression({ tag: 'literal', val: literal(value) });

/** A function of the host; a last argument that is a plain object has its options: `call('round', col('a'), { ndigits: 2n })`. */
export function call(name, ...inputs) {
  const last = inputs.at(-1);
  const options = last !== null && typeof last === 'object' && !(last instanceof Expression) ? inputs.pop() : {};
  const given = Object.entries(options).map(([key, value]) => [key, literal(value)]);
  return new Expression(name, inputs.map((each) => (each instanceof Expression ? each : lit(each))), given);
}

/** The nodes of expressions, each after its inputs, and the place of each expression among them. */
export function nodesOf(expressions) {
  const nodes = [];
  const places = new Map();
  const place = (each) => {
    if (!places.has(each)) {
      const val = () => ({ name: each.node, arguments: new Uint32Array(each.inputs.map(place)), options: each.options });
      nodes.push(typeof each.node === 'string' ? { tag: 'call', val: val() } : each.node);
      places.set(each, nodes.length - 1);
    }
    return places.get(each);
  };
  return { places: expressions.map(place), nodes };
}

function literal(value) {
  if (value === null) return { tag: 'null-value' };
  const tag = { boolean: 'boolean', bigint: 'int64', number: 'float64', string: 'text' }[typeof value];
  if (tag === undefined) throw new TypeError(`a ${typeof value} cannot be in an expression`);
  return { tag, val: value };
}
