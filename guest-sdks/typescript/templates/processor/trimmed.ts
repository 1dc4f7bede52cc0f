/** A text without white space at its ends; an empty one for `null`. */
export const trimmed = (text: string | null): string => (text ?? '').trim();
