"""How many examples a property test draws: few in `make test`, ten times as many in `test-all`."""

from hypothesis import settings

FEW = 10
settings.register_profile("few", max_examples=FEW, deadline=None, derandomize=True, database=None)
settings.register_profile("thorough", max_examples=10 * FEW, deadline=None, print_blob=True)
settings.load_profile("few")  # another: --hypothesis-profile=thorough


def examples(number: int) -> settings:
    """Settings of a test that draws so many, or under `thorough` ten times as many."""
    profile = settings()  # what is left out comes from the profile
    return settings(max_examples=number * profile.max_examples // FEW)
