"""What the stage `train` refuses before it fits anything."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest

from core.contracts import ContractFeature
from core.errors import PlanError
from models.data.split import refuse_infinite

FEATURES = (ContractFeature("v", "visits", "int64"), ContractFeature("v", "amount", "float64"))


def test_an_infinite_number_is_refused_by_the_name_of_its_feature() -> None:
    table = pa.table({"v__visits": [1, 2, 3, None], "v__amount": [1.0, math.inf, -math.inf, None]})
    with pytest.raises(PlanError, match=r"^build_features: v\.amount is infinite in 2 of 4 training rows; .*nullif"):
        refuse_infinite(table, FEATURES)
    refuse_infinite(table.slice(0, 1), FEATURES)
    refuse_infinite(table.slice(3), FEATURES)
