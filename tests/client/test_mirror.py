"""The clients for threads are those for event loops, without `await`."""

from __future__ import annotations

from tests.client.mirror import made, mirrored


def test_the_clients_for_threads_are_up_to_date() -> None:
    """What was changed of one kind is changed of both: else `make mirror` is to be run."""
    assert [path.name for path, text in made().items() if path.read_text() != text] == []


def test_what_is_other_in_a_program_without_an_event_loop() -> None:
    """Names, waits, loops and contexts; and what another module gives as a coroutine."""
    text = """
class AsyncThing:
    async def do(self) -> AsyncIterator[View]:
        await asyncio.sleep(1)
        async with self.lock:
            async for item in self.pages():
                yield item
        return await joined.start(self, await self.get())
"""
    assert (
        mirrored(text)
        == """
class Thing:
    def do(self) -> Iterator[View]:
        time.sleep(1)
        with self.lock:
            yield from self.pages()
        return joined.at_once(joined.start(self, self.get()))
"""
    )
