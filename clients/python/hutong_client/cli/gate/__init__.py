"""The gate: many people on a pipe or in a file, with one verdict each."""
