"""What Rewake asks of a store and of a transport, as tests that their authors run with pytest.

    from rewake.conformance import TableContract

    class TestMyTable(TableContract):
        @asynccontextmanager
        async def table(self):
            table = MyTable(...)  # new, and empty
            yield table
            await table.close()

Each contract is a class of tests: one that inherits from it, and says how to make what is tested,
has them all. Raises `ConfigError` where pytest or hypothesis is missing.
"""

try:
    import hypothesis as _hypothesis  # noqa: F401 - to say at once that it is missing
    import pytest as _pytest  # noqa: PT013 - nor is it offered here
except ImportError:
    from rewake.errors import ConfigError as _ConfigError

    raise _ConfigError(
        "rewake.conformance needs pytest and hypothesis: install rewake[conformance]"
    ) from None

# Else a failure would say no more than that something was not so.
for _module in ("concurrency", "dispatchers", "shelves", "tables"):
    _pytest.register_assert_rewrite(f"{__name__}.{_module}")

from rewake.conformance.dispatchers import DispatcherContract  # noqa: E402
from rewake.conformance.shelves import ShelfContract  # noqa: E402
from rewake.conformance.tables import TableContract  # noqa: E402

__all__ = ["DispatcherContract", "ShelfContract", "TableContract"]
