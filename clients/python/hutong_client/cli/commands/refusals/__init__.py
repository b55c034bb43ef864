"""The commands about reported refusals."""
