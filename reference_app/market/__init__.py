"""Instruments, and what the exchange says about them now."""
