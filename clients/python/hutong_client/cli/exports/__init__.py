"""Tables that a command writes as CSV or as a workbook."""
