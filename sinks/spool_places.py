"""Where the spools of the processes that share a state directory are.

`<state>/influx/<generation>-<processes>/<member>`. Which process says a point depends on how many there are, so that a
start with another number begins a new generation: what waits of the earlier ones is sent first, or an old value of one
process could come behind a newer one of another.
"""

from __future__ import annotations

import re
import shutil
from contextlib import suppress
from pathlib import Path

from sinks.errors import Misconfigured

_GENERATION = re.compile(r"(\d{6})-(\d+)")


class Places:
    """The spools below one directory, as seen by one of some processes that start together."""

    def __init__(self, root: Path, processes: int, member: int) -> None:
        """Chooses the generation, which all of them do alike. Raises `Misconfigured` for an unusable directory."""
        self.root = root
        try:
            root.mkdir(parents=True, exist_ok=True)
            found = _generations(root)
            number, of = found[-1] if found else (0, 0)
            self._number = number if of == processes else number + 1
            self.own = root / f"{self._number:06d}-{processes}" / str(member)
            self.own.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Misconfigured(
                f"{root} cannot be written: {error.strerror}. What waits for InfluxDB is kept there: give the state "
                "directory (STREAMGAUGE_STATE) to the processor's user, on a disk that can be written."
            ) from error

    def earlier(self) -> list[Path]:
        """The spools of earlier generations, the oldest first."""
        return [
            spool
            for number, of in _generations(self.root)
            if number < self._number
            for spool in sorted((self.root / f"{number:06d}-{of}").iterdir())
            if spool.is_dir()
        ]

    def remove(self, spool: Path) -> None:
        """An earlier spool that has nothing more to send; what was set aside in it is kept in the root."""
        for kept in spool.glob("*.corrupt"):
            kept.rename(self.root / f"{spool.parent.name}-{spool.name}-{kept.name}")
        shutil.rmtree(spool)
        with suppress(OSError):  # others of its generation are still there
            spool.parent.rmdir()


def left_bytes(root: Path) -> int:
    """About how much waits in any spool below `root`."""
    return sum(path.stat().st_size for path in root.glob("*/*/*.spool"))


def _generations(root: Path) -> list[tuple[int, int]]:
    """(number, processes) of each, in order."""
    matches = (_GENERATION.fullmatch(path.name) for path in root.iterdir())
    return sorted((int(match[1]), int(match[2])) for match in matches if match)
