"""The commands that read and change results, and that show uploads and nodes."""
