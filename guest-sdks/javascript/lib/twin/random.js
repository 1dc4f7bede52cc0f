/** The same bytes each time, so that a test gives the same each time. */
export const getRandomBytes = (length) => Uint8Array.from({ length }, (_, at) => at % 256);
