"""A wall that is left alone: the demo and a browser, and whether what they take stays what it was."""
