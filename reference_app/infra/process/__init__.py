"""What each process of the service does alike: it holds resources, and it ends cleanly."""
