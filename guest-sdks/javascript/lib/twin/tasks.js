import { host } from './host.js';

export const isCancelled = () => host.cancelled;
export function reportProgress() {}
