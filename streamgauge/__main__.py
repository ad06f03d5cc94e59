"""`python -m streamgauge`: the same as the `streamgauge` command."""

from streamgauge.cli import main

main()
