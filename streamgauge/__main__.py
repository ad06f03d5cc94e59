"""Where both `streamgauge` and `python -m streamgauge` begin."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Run the command line. A signal before a verb has taken over ends the process in order, as there is nothing yet to
    lose; loading the rest takes a second, so it is loaded only after that is so."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
    from streamgauge.cli import main as run

    run()


if __name__ == "__main__":
    main()
