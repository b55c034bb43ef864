"""Legal holds: results that a purge must not destroy."""
