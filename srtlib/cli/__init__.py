"""The command line: srt data | train | sweep | evaluate | compare | recommend | export | plan."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
