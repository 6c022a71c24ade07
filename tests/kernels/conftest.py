"""Settings of the property tests."""

from hypothesis import settings

settings.register_profile("kernels", deadline=None)  # a kernel's first call compiles it
settings.load_profile("kernels")
