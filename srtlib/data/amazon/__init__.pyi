from . import made as made
from . import sources as sources
from . import steps as steps
