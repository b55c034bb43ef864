"""Uploads: frames in, validated, committed, acknowledged."""
