"""What hostile and broken clients do to everybody else: `tox -e abuse` prints a table."""
