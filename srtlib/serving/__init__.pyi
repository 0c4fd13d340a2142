from . import export as export
from . import filters as filters
from . import histories as histories
from . import recommender as recommender
from . import search as search
from . import vectors as vectors
