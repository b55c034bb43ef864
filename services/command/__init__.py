"""Commands of `hutongd` that look at a node: config, doctor and the version."""
