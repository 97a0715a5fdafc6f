"""Failures of what is no test itself are told as those of tests are."""

import pytest

for _module in ("front", "scenarios", "judge", "playing", "deployments"):
    pytest.register_assert_rewrite(f"tests.end_to_end.{_module}")
