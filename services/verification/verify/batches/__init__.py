"""Answers batches of questions. What the answers of a batch share is computed once."""
