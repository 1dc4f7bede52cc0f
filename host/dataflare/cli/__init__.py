"""The command `dataflare`: one module a subcommand."""
