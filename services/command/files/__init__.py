"""The files and folders of a node, as commands check them."""
