"""Scaling laws of any model's runs: forms, fits, frontiers, allocation, estimators. Nothing here imports torch."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
