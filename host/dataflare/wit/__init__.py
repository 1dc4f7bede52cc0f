"""The WIT language: parse, resolve, check names, compare versions, write the reference."""
