"""Unattended uploads of a folder. A file is sent when it is complete. Of files with equal content, one is sent."""
