"""The policies of the nodes below: their streams are received, checked and stored here."""
