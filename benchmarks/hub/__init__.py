"""How many screens the hub serves, how late, and what it does when some of them misbehave: `make bench-hub`."""
