from . import arguments as arguments
from . import data as data
from . import entry as entry
from . import planning as planning
from . import printing as printing
from . import serving as serving
from . import training as training
