//! Arithmetic on columns of numbers with nulls.

use example_support::Bitmap;
use serde::Deserialize;

/// What to do with two operands.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    Add,
    Subtract,
    Multiply,
    Divide,
}

/// A column of numbers.
#[derive(Clone, Debug, PartialEq)]
pub enum Numbers {
    Whole(Vec<i64>),
    Real(Vec<f64>),
}

impl Numbers {
    fn into_real(self) -> Vec<f64> {
        match self {
            Self::Whole(values) => values.into_iter().map(|value| value as f64).collect(),
            Self::Real(values) => values,
        }
    }
}

/// Compute `left op right` row by row.
///
/// Whole numbers stay whole except in a division. A row is null where an operand is, or where it would divide by zero.
/// The error is the first row whose whole result does not fit 64 bits.
pub fn evaluate(op: Op, left: (Numbers, Bitmap), right: (Numbers, Bitmap)) -> Result<(Numbers, Bitmap), usize> {
    let mut valid = left.1.and(&right.1);
    let values = match (op, left.0, right.0) {
        (Op::Add, Numbers::Whole(a), Numbers::Whole(b)) => whole(a, &b, &valid, i64::checked_add)?,
        (Op::Subtract, Numbers::Whole(a), Numbers::Whole(b)) => whole(a, &b, &valid, i64::checked_sub)?,
        (Op::Multiply, Numbers::Whole(a), Numbers::Whole(b)) => whole(a, &b, &valid, i64::checked_mul)?,
        (Op::Add, a, b) => real(a, b, |a, b| a + b),
        (Op::Subtract, a, b) => real(a, b, |a, b| a - b),
        (Op::Multiply, a, b) => real(a, b, |a, b| a * b),
        (Op::Divide, a, b) => {
            let divisors = b.into_real();
            for (row, _) in divisors.iter().enumerate().filter(|(_, divisor)| **divisor == 0.0) {
                valid.clear(row);
            }
            real(a, Numbers::Real(divisors), |a, b| if b == 0.0 { 0.0 } else { a / b })
        }
    };
    Ok((values, valid))
}

fn whole(mut left: Vec<i64>, right: &[i64], valid: &Bitmap, op: fn(i64, i64) -> Option<i64>) -> Result<Numbers, usize> {
    for (row, (a, b)) in left.iter_mut().zip(right).enumerate() {
        *a = match op(*a, *b) {
            Some(value) => value,
            None if valid.get(row) => return Err(row),
            None => 0,
        };
    }
    Ok(Numbers::Whole(left))
}

fn real(left: Numbers, right: Numbers, op: fn(f64, f64) -> f64) -> Numbers {
    let mut values = left.into_real();
    for (a, b) in values.iter_mut().zip(right.into_real()) {
        *a = op(*a, b);
    }
    Numbers::Real(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(values: Numbers) -> (Numbers, Bitmap) {
        let rows = match &values {
            Numbers::Whole(values) => values.len(),
            Numbers::Real(values) => values.len(),
        };
        (values, Bitmap::from_words(None, rows))
    }

    #[test]
    fn whole_numbers_stay_whole() {
        let (values, _) = evaluate(Op::Multiply, all(Numbers::Whole(vec![2, 3])), all(Numbers::Whole(vec![5, 7]))).unwrap();
        assert_eq!(values, Numbers::Whole(vec![10, 21]));
    }

    #[test]
    fn a_division_of_whole_numbers_is_real() {
        let (values, _) = evaluate(Op::Divide, all(Numbers::Whole(vec![7])), all(Numbers::Whole(vec![2]))).unwrap();
        assert_eq!(values, Numbers::Real(vec![3.5]));
    }

    #[test]
    fn a_division_by_zero_is_null() {
        let (_, valid) = evaluate(Op::Divide, all(Numbers::Real(vec![1.0, 1.0])), all(Numbers::Whole(vec![0, 4]))).unwrap();
        assert_eq!(valid.words(), Some([0b10].as_slice()));
    }

    #[test]
    fn a_row_with_a_null_operand_is_null() {
        let left = (Numbers::Whole(vec![1, 0]), Bitmap::from_words(Some(vec![0b01]), 2));
        let (_, valid) = evaluate(Op::Add, left, all(Numbers::Whole(vec![1, 1]))).unwrap();
        assert_eq!(valid.words(), Some([0b01].as_slice()));
    }

    #[test]
    fn an_overflow_names_its_row() {
        let result = evaluate(Op::Add, all(Numbers::Whole(vec![1, i64::MAX])), all(Numbers::Whole(vec![1, 1])));
        assert_eq!(result, Err(1));
    }
}
