"""Backups of an installation, and what is wrong with one: what operators do."""
