"""Unattended uploads: a folder whose complete files are sent, each content once."""
