"""Serving: transport, interceptors, health, error status and validation of requests."""
