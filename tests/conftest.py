"""What holds for all tests."""

from hypothesis import settings

settings.register_profile("ours", deadline=None)  # no test asserts a time
settings.load_profile("ours")
