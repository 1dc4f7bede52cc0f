"""A second, slow engine over wasmtime's own values, which tests compare with the fast one."""
