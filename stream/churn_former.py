"""What is still to be done about churn where the catalog has none any more."""

from __future__ import annotations

import logging

from stream.batches import Scores
from stream.churn_files import ChurnFiles
from stream.people.journal import Files
from stream.snapshots import StateError, unpack_state

logger = logging.getLogger(__name__)

STATE_VERSION = 1
"""Of the state of the stage of churn, which is taken over."""


class FormerChurn:
    """Takes the place of the stage of churn, and lets go of all that it knew.

    Nobody tells any more who came back: to a catalog that has `[churn]` again, all people of before would have left.
    And what is kept of nobody's scores is kept of people for nothing.

    *Guarantee*: whoever has a score loses it, once; files go once no snapshot names them that may be gone back to.
    """

    def __init__(self, files: Files) -> None:
        self._files = ChurnFiles(files)
        self._snapshot = b""
        """Of the stage, until everybody has lost their score."""
        self._names: list[str] = []
        self.is_done = True
        """Whether there is nothing left to tell, nor any file, as of the last snapshot."""

    def tell(self) -> Scores | None:
        """Who has a score no more; None after the first time."""
        if not self._snapshot:
            return None
        state = unpack_state(self._snapshot, STATE_VERSION)
        self._snapshot, self._names = b"", []
        last_ms = state["last_ms"]
        name = dict(state["scored"]).get(last_ms)
        if name is None:
            return None
        logger.warning("the catalog has no [churn] any more: scores of people, and what was learned, are let go of")
        try:
            return Scores(last_ms + 1, [], self._files.read_rows(name).persons.texts())
        except StateError as error:
            logger.warning("who had a score is not known: %s", error)
            return None

    def to_bytes(self) -> bytes:
        self._files.named(self._names)
        self.is_done = not self._snapshot and not self._files.has_old
        return self._snapshot

    def restore(self, snapshot: bytes) -> None:
        """Take over a snapshot of the stage of churn, or what is left of one."""
        state = unpack_state(snapshot, STATE_VERSION)
        self._snapshot, self.is_done = snapshot, False
        self._names = [*(name for _, name in state["scored"]), *(name for name, _ in state["parts"])]
        self._files.named(self._names)
