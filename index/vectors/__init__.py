"""Vector indexes: one port, one adapter a file."""

from twinjet.index.vectors.openblas import for_this_processor

with for_this_processor():
    import faiss  # noqa: F401 - whoever imports it next has this one
