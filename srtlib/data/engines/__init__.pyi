from . import duckdb as duckdb
from . import engine as engine
from . import expressions as expressions
from . import interrupts as interrupts
from . import lines as lines
from . import spark as spark
