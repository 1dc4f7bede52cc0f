// Where Node finds the host's interfaces: in modules that the host has written for this run.
let known = {};
let app = '';

export function initialize(given) {
  ({ known, app } = given);
}

/** A component has no more modules than the plugin's own and these, so that others are missing here too. */
export async function resolve(specifier, context, next) {
  if (Object.hasOwn(known, specifier)) return { url: known[specifier], shortCircuit: true };
  const missing = () => new Error(`Error loading module "${specifier}"`);
  if (!context.parentURL?.startsWith(app)) return next(specifier, context);
  if (!/^\.{0,2}\//.test(specifier)) throw missing();
  try {
    return await next(specifier, context);
  } catch {
    throw missing();
  }
}
