"""Type aliases of the arrays that the modules of this world exchange; one value per customer unless stated otherwise."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
#: Row numbers, codes into a tuple of names, counts.
Codes = NDArray[np.int64]
#: Days since the first day of the lead-in; see `months`.
Days = NDArray[np.int64]
#: datetime64[us], UTC.
Moments = NDArray[np.datetime64]
