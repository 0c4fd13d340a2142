from . import categories as categories
from . import made as made
from . import making as making
from . import official as official
from . import sources as sources
from . import steps as steps
