from . import download as download
from . import made as made
from . import sources as sources
from . import steps as steps
