"""Daily candles of instruments: read, made into weeks and months, imported and exported."""
