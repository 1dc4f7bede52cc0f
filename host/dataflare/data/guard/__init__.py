"""What decides whether Arrow may see a value that a plugin or a file can influence.

Arrow's own validation is taken to be incomplete. `types` is the closed list of Arrow types, `arrays` checks buffers
before an array is made of them and arrays that come from elsewhere, `costs` says what an operation takes before it
starts, and `vetted` remembers what was checked. Streams and files in Arrow's format are taken apart by
`dataflare.data.ipc`, which makes arrays only through `arrays.build`.
"""
