"""What the door costs: see `__main__`."""
