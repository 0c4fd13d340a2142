"""SRT itself: item encoders, attention, packed batches, FLOPs, and the folder that a model is saved in."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
