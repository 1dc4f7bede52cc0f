"""The native side: callbacks in C, the C API, memories that the host owns, the timer."""
