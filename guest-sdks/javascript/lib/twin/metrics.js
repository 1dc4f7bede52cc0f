import { host } from './host.js';

export function addToCounter(name, amount) {
  host.figures.set(name, (host.figures.get(name) ?? 0) + amount);
}
export function setGauge(name, value) {
  host.figures.set(name, value);
}
export const recordObservation = setGauge;
