"""The checks of untrusted values (from plugins and files) before Arrow may use them.

Arrow's own validation is incomplete. `types` is the closed list of Arrow types. `arrays` checks buffers before an array
is made from them, and arrays that come from elsewhere. `costs` computes the cost of an operation before it starts.
`vetted` remembers what was checked. `dataflare.data.ipc` reads streams and files in Arrow's format, and makes arrays
only through `arrays.build`.
"""
