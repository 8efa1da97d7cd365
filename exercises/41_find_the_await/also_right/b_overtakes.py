line = 6
schedule = "A2 B4 A2"
