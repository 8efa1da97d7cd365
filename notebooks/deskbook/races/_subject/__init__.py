"""What is explored: an application or an object, the requests that meet in it, and how they reach it."""
