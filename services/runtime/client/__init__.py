"""Calling other services and nodes: channels, reconnection, circuit breaker, coalescing."""
