"""Where cutouts come from: one provider a file."""
