"""Uploads: receives, validates, commits and acknowledges their batches."""
