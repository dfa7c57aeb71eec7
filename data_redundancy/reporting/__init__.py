"""Contents of the report: verdicts, tables, plots and the data of the page."""
