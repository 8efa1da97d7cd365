"""The market knows the instruments, and asks the exchange for their present prices."""
