"""Parts of `hutong upload`."""
