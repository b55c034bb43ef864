"""Settings: their declarations, the TOML file, and the file of the pepper."""
