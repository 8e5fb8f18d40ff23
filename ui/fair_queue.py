"""The queue of whatever runs a model: visitors take turns, so that forty calls of one are one turn for another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradio.queueing import Event, Queue

from ui.gate import visitor_of

if TYPE_CHECKING:
    from gradio import Blocks

REMEMBERED = 1000  # addresses and sessions


class FairQueue(Queue):
    """Gradio's queue, which takes what came first, whoever sent it; here who was served longest ago comes first.

    Turns go by address and, among those of one address, by session: behind a proxy all visitors have one address, and
    a script may open a session for every call.
    """

    def __init__(self, queue: Queue):
        """
        Args:
            queue: what `Blocks.queue` has made; this one has its settings.
        """
        super().__init__(
            live_updates=queue.live_updates,
            concurrency_count=queue.max_thread_count,
            update_intervals=queue.update_intervals,
            max_size=queue.max_size,
            blocks=queue.blocks,
            default_concurrency_limit=queue.default_concurrency_limit,
        )
        self._turns = 0
        self._served: dict[str, int] = {}

    def get_events(self) -> tuple[list[Event], bool, str] | None:
        """What runs next: see `Queue.get_events`."""
        for waiting in (each.queue for each in self.event_queue_per_concurrency_id.values()):
            if len(waiting) > 1:
                waiting.insert(0, waiting.pop(waiting.index(min(waiting, key=self._last_turn))))
        taken = super().get_events()
        if taken:
            self._turns += 1
            for who in _visitor(taken[0][0]):
                self._served.pop(who, None)  # to the end of what is remembered
                self._served[who] = self._turns
            while len(self._served) > REMEMBERED:
                self._served.pop(next(iter(self._served)))
        return taken

    def _last_turn(self, event: Event) -> tuple[int, ...]:
        return tuple(self._served.get(who, 0) for who in _visitor(event))


def share_fairly(demo: Blocks) -> None:
    """Give a page that has a queue a fair one; before it is launched."""
    demo._queue = FairQueue(demo._queue)  # pyright: ignore[reportPrivateUsage]


def _visitor(event: Event) -> tuple[str, str]:
    """Who sent it: the person or the address, and the session."""
    address = visitor_of(event.request.scope, event.request.headers)
    return f"from {event.username or address}", f"session {event.session_hash}"
