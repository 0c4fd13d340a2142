from . import engine as engine
from . import expressions as expressions
from . import lines as lines
