// Decimals of any length, exactly.

const TYPE = /^decimal\d+\((\d+), (-?\d+)\)$/;
const NUMBER = /^(-?)(\d*)\.?(\d*)(?:[eE]([+-]?\d+))?$/;
const DOUBLE_DIGITS = 15;

/** Whether a type is a decimal of more digits than a double always keeps. */
export const isWide = (typeName) => Number(TYPE.exec(typeName)?.[1] ?? 0) > DOUBLE_DIGITS;

/** What makes BigInts of the texts of a decimal type and of one other number, so that they compare as the numbers do. */
export function toScale(typeName, other) {
  const places = Math.max(Number(TYPE.exec(typeName)[2]), 0, placesOf(other));
  return (text) => {
    const [, sign, whole, fraction] = NUMBER.exec(text);
    return BigInt(sign + whole + fraction) * 10n ** BigInt(places - placesOf(text));
  };
}

/** How many places after the point a number has; fewer than none where its last digits are zeros that are not written. */
function placesOf(text) {
  const [, , , fraction, exponent = '0'] = NUMBER.exec(text);
  return fraction.length - Number(exponent);
}
