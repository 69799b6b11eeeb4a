"""How good an encoder is: labels, neighbours, invariance, each with its baselines.

Trained and judged parts are parts of the sky (`twinjet.model.split`); all methods
share images, sources, classifiers and folds; figures carry 95 % intervals.
"""
