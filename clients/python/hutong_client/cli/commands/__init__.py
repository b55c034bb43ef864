"""The commands of `hutong`, one module for each group. No module imports another; `cli.main` combines them."""
