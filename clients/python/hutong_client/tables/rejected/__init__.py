"""Rejected rows in a file that can be corrected and uploaded again."""
