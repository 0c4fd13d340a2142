from . import baselines as baselines
from . import experiments as experiments
from . import fine_tuning as fine_tuning
from . import forecast as forecast
from . import processes as processes
from . import ray_cluster as ray_cluster
from . import sweeping as sweeping
from . import transfer as transfer
