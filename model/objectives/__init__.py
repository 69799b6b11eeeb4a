"""What training asks of two views of the same images: one loss a file.

Each objective is a module called with the online features of all views and the
views themselves; the backbone stays outside, so that all of them train the same.
"""
