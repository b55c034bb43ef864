"""Code that tests share: factories, servers, processes, databases, and naive models to compare with."""
