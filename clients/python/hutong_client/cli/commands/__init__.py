"""The commands of `hutong`, one module for each group. None imports another; `cli.main` puts them together."""
