line = 6
schedule = "B2 A2 B A B A"
