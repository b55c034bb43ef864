"""Transport and process: settings, server, interceptors, error status, channels, health, coalescing and the clock."""
