"""The store of runs, tables of them, paired effects, and the authors' recorded runs. Nothing here imports torch."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
