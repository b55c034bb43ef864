"""Batches of questions: what their answers share is made once."""
