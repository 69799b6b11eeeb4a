"""Which sources exist and which are alike.

Catalogues, the metadata store, vector indexes, generations and search. This
package may import `twinjet.model` and knows nothing of HTTP.
"""
