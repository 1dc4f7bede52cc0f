import { host } from './host.js';

export const now = () => host.now;
export const monotonicNow = () => ({ nanoseconds: host.now.seconds * 1_000_000_000n + BigInt(host.now.nanoseconds) });
