"""Corrections and recalls."""
