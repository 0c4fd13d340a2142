"""Amazon Product Data (2018) and Amazon Reviews 2023: sources, steps, downloads, and raw files made in their form."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
