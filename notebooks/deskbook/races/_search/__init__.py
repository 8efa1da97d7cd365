"""The search picks the next schedule, and judges whether a run is right and which verdict is true."""
