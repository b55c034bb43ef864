"""Settings: their declarations, the TOML file, and the sources of the pepper."""
