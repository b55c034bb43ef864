"""The `hutong` command: what it takes, asks and prints. Needs the extra `cli`."""
