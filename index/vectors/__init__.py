"""Vector indexes: one port, one adapter a file."""

import numpy as np  # noqa: F401 - whose OpenBLAS knows the processor itself

from twinjet.index.vectors.openblas import for_this_processor

with for_this_processor():
    import faiss  # noqa: F401 - whoever imports it next has this one
