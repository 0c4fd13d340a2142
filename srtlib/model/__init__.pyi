from . import flops as flops
from . import folder as folder
from . import making as making
from . import memory as memory
from . import packing as packing
from . import srt as srt
