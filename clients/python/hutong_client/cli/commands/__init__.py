"""The commands of `hutong`, one module for each group."""
