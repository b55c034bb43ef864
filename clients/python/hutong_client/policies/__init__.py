"""Policies in files, brought into force, and what applies by them. Needs the extra `cli` for YAML."""
