"""Settings that are kept in files of the user: contexts of nodes and profiles of source systems."""
