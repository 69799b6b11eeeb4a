"""Vector indexes: one port, one adapter a file."""
