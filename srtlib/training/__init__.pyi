from . import checkpoint as checkpoint
from . import distributed as distributed
from . import losses as losses
from . import objective as objective
from . import trainer as trainer
