"""Worker processes of one service behind one port, and the parent that keeps them running."""
