line = 6
schedule = "A2 B2"
