"""Instruments and their daily candles."""
