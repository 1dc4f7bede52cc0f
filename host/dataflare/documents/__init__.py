"""Documents that people write: YAML as plain values with their lines, and models that say what is wrong where."""
