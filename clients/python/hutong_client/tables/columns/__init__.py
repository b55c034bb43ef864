"""The columns of files: what they are called, and the search for the header that names them."""
