"""Vector indexes: one port, one adapter a file."""

from twinjet.index.vectors.openblas import load_faiss

load_faiss()
