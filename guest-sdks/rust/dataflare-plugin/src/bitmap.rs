//! Which rows of a column hold a value.

/// Which rows hold a value: one bit a row, as `dataflare:data/batches` has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bitmap {
    words: Vec<u64>,
    length: usize,
    zeros: usize,
}

impl Bitmap {
    /// An empty bitmap with space for this many rows.
    pub fn with_capacity(rows: usize) -> Self {
        Self { words: Vec::with_capacity(rows.div_ceil(64)), length: 0, zeros: 0 }
    }

    /// A bitmap from a plugin's view of a column; `None` means that every row holds a value.
    pub fn from_words(words: Option<Vec<u64>>, rows: usize) -> Self {
        let words = words.unwrap_or_else(|| vec![u64::MAX; rows.div_ceil(64)]);
        let mut bitmap = Self { words, length: rows, zeros: 0 };
        bitmap.count();
        bitmap
    }

    /// Add a row.
    #[inline]
    pub fn push(&mut self, valid: bool) {
        if self.length.is_multiple_of(64) {
            self.words.push(0);
        }
        // The word was pushed above: there is one for each 64 rows begun.
        self.words[self.length / 64] |= u64::from(valid) << (self.length % 64);
        self.zeros += usize::from(!valid);
        self.length += 1;
    }

    /// Whether a row holds a value.
    #[inline]
    pub fn get(&self, row: usize) -> bool {
        self.words[row / 64] >> (row % 64) & 1 == 1
    }

    /// Say that a row holds no value.
    pub fn clear(&mut self, row: usize) {
        self.zeros += usize::from(self.get(row));
        self.words[row / 64] &= !(1 << (row % 64));
    }

    /// Keep the rows that hold a value in both.
    pub fn and(mut self, other: &Self) -> Self {
        for (word, with) in self.words.iter_mut().zip(&other.words) {
            *word &= with;
        }
        self.count();
        self
    }

    /// The words for a builder of a column; `None` when every row holds a value.
    pub fn words(&self) -> Option<&[u64]> {
        (self.zeros > 0).then_some(self.words.as_slice())
    }

    fn count(&mut self) {
        if !self.length.is_multiple_of(64) {
            if let Some(last) = self.words.last_mut() {
                *last &= (1 << (self.length % 64)) - 1;
            }
        }
        let ones: usize = self.words.iter().map(|word| word.count_ones() as usize).sum();
        self.zeros = self.length - ones;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bitmap_without_zeros_has_no_words() {
        let mut bitmap = Bitmap::default();
        (0..130).for_each(|_| bitmap.push(true));
        assert_eq!(bitmap.words(), None);
    }

    #[test]
    fn a_bitmap_gives_back_what_was_pushed() {
        let mut bitmap = Bitmap::default();
        (0..130).for_each(|row| bitmap.push(row % 3 == 0));
        assert!((0..130).all(|row| bitmap.get(row) == (row % 3 == 0)));
        assert_eq!(bitmap.words().map(<[u64]>::len), Some(3));
    }

    #[test]
    fn bits_past_the_last_row_do_not_count() {
        let bitmap = Bitmap::from_words(Some(vec![u64::MAX, u64::MAX]), 70);
        assert_eq!(bitmap.words(), None);
    }

    #[test]
    fn a_row_is_valid_in_a_conjunction_when_it_is_in_both() {
        let both = Bitmap::from_words(Some(vec![0b1100]), 4).and(&Bitmap::from_words(Some(vec![0b1010]), 4));
        assert_eq!(both.words(), Some([0b1000].as_slice()));
    }

    #[test]
    fn a_cleared_row_counts_once() {
        let mut bitmap = Bitmap::from_words(None, 4);
        bitmap.clear(2);
        bitmap.clear(2);
        assert_eq!(bitmap.words(), Some([0b1011].as_slice()));
    }
}
