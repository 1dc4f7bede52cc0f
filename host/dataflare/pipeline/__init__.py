"""Pipelines: what their YAML says, the built-in readers and writers of files, and the runner."""
