"""Documents of one person, linked."""
