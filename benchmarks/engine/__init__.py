"""How fast the processor is, how late, how large, and how soon it is back after a crash: `make bench-engine`."""
