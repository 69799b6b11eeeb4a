"""Pixels in, vectors out: cutouts, preprocessing, the encoder and its training.

This package knows nothing of SQL, FAISS or HTTP.
"""
