"""What leaves the processor (`records`) and where it goes: one module a sink."""
