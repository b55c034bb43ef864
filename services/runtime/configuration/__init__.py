"""Settings: their declarations, the TOML file, and the source of the pepper."""
