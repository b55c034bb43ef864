"""Answers questions with decisions, and stores the decisions that have to be stored."""
