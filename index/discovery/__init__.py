"""Discovery: a few of a kind in, candidates out, better with each round of labels."""
