"""srtlib: scaling sequential recommendation models with transformers.

Names and wings load when first used, so that `srtlib.runs` and `srtlib.laws` import without torch.

>>> import srtlib
>>> srtlib.load_dataset("synthetic").n_items
5000
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
