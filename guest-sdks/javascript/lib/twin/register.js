// Gives imports of the host's interfaces their twins in memory: `node --import ./dataflare/twin/register.js --test`.
import * as modules from 'node:module';

const hooks = new URL('./hooks.js', import.meta.url);
if (modules.registerHooks) modules.registerHooks({ resolve: (await import(hooks)).resolve });
else modules.register(hooks);
