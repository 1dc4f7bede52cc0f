"""Values in the canonical ABI: types and their layout, codecs, and the memory that codecs read and write."""
