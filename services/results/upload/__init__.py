"""Uploads: their batches are received, validated, committed and acknowledged."""
