"""Verification itself: a question in, a decision out, kept where it must be."""
