"""Summaries of reported refusals for supervisors."""
