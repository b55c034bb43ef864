"""How the schema of a database fits this version, and statements on the schema of the release before."""
