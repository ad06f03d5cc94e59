"""Where both `streamgauge` and `python -m streamgauge` begin."""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """Run the command line. A signal before a verb has taken over ends the process in order, as there is nothing yet to
    lose; loading the rest takes a second, so it is loaded only after that is so."""
    # At once, as long as modules are loaded: what is raised in a module's own code may come out as another error.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    # Read when Polars is loaded. Batches are small: sharing one among threads costs more than it saves, and a fifth of
    # the rate where another process of the cluster wants the core.
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    if sys.argv[1:2] == ["health"]:
        # Asked again and again while the machine has other work: it does without what the other verbs load.
        from streamgauge.cli_health import alone

        alone(sys.argv[2:])
    from streamgauge.cli import main as run

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
    run()


if __name__ == "__main__":
    main()
