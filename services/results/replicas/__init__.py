"""Read replicas: hot standbys of PostgreSQL that answer look-ups."""
