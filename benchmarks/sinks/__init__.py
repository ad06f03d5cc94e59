"""What sinks cost: see `__main__`."""
