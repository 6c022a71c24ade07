"""Settings of the property tests, and a check that every kernel has to pass."""

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("kernels", deadline=None)  # a kernel's first call compiles it
settings.load_profile("kernels")


@pytest.fixture
def assert_nan():
    """That a kernel gives NaN at a point, alone and in a loop that is long enough for SIMD."""

    def check(kernel, args):
        assert np.isnan(kernel(*args))
        assert np.isnan(kernel(*(np.full(9, arg, float) for arg in args))).all()

    return check
