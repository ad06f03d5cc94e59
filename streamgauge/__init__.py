"""The front door of streamgauge: settings, the command line and the supervisor that runs every part."""

__version__ = "0.1.0"
