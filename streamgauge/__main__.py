"""Where both `streamgauge` and `python -m streamgauge` begin."""

from __future__ import annotations

import os
import signal
import sys
import threading

_STATUS = {signal.SIGTERM: 0, signal.SIGINT: 130}
_SERVICES = ("deliver", "run", "serve", "simulate", "up")
"""Verbs that have handlers of their own before they do anything that would have to be put in order."""
_AGAIN_S = 0.05


def main() -> None:
    """Run the command line. A signal before a verb has taken over ends the process in order, as there is nothing yet to
    lose; loading the rest takes a second, so it is loaded only after that is so."""
    # At once, as long as modules are loaded: what is raised in a module's own code may come out as another error.
    for number, status in _STATUS.items():
        signal.signal(number, lambda *_, status=status: os._exit(status))
    # Read when Polars is loaded. Batches are small: sharing one among threads costs more than it saves, and a fifth of
    # the rate where another process of the cluster wants the core.
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    verb = sys.argv[1] if len(sys.argv) > 1 else ""
    if verb == "health":
        # Asked again and again while the machine has other work: it does without what the other verbs load.
        from streamgauge.cli_health import alone

        alone(sys.argv[2:])
    from streamgauge.cli import main as run

    if verb not in _SERVICES:
        _end_in_order()
    run()


def _end_in_order() -> None:
    """Have signals raise SystemExit, so that files that a verb is writing are tidied up."""
    for number, status in _STATUS.items():
        signal.signal(number, lambda *_, status=status: sys.exit(status))
    sys.unraisablehook = _raise_again


def _raise_again(lost: sys.UnraisableHookArgs) -> None:
    """What is raised where the interpreter can only drop it, as in the callback of a weak reference, is raised anew."""
    if not isinstance(lost.exc_value, SystemExit):
        sys.__unraisablehook__(lost)
        return
    again = next((number for number, status in _STATUS.items() if status == lost.exc_value.code), signal.SIGTERM)
    timer = threading.Timer(_AGAIN_S, os.kill, (os.getpid(), again))
    timer.daemon = True
    timer.start()


if __name__ == "__main__":
    main()
