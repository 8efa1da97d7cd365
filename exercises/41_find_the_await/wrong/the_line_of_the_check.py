# rejected by test_the_line_lets_the_other_request_in: the check is where the mistake begins, not the gap
line = 4
schedule = "A2 B2 A2 B2"
