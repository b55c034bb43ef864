"""Serving: transport, interceptors, health, status details, contract validation."""
