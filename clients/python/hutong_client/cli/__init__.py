"""The `hutong` command: its arguments, calls and output. It needs the extra `cli`."""
