"""Which schedule is run next, what a run must hold, and which verdict is true; it knows no way to run one."""
