"""Everything transport: settings, the life of a server, interceptors, status, channels, health, coalescing, clock."""
