"""What learns: pure models without I/O and without a clock."""
