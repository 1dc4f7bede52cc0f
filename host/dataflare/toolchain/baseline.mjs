// Before a tool in WebAssembly that runs for a moment: optimizing its code would take longer than it runs.
import { setFlagsFromString } from 'node:v8';

setFlagsFromString('--liftoff-only');
