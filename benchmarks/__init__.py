"""How fast, how much memory, against what, and how does it grow: on the machine that runs it."""
