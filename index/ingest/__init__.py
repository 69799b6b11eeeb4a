"""Published catalogues: how they are got, and what their columns mean."""
