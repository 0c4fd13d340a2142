"""Data sets and what is done to them before training: loading, splits, text, statistics, importing, preparation."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
