"""Missing reports: reports that a holder has shown and that have no record."""
