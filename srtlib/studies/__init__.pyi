from . import baselines as baselines
from . import fine_tuning as fine_tuning
from . import sweeping as sweeping
from . import transfer as transfer
