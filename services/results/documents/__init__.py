"""Links between documents of one subject."""
