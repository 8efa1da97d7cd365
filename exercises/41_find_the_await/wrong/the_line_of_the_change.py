# rejected by test_the_line_lets_the_other_request_in: no other request runs inside of this line
line = 7
schedule = "A2 B2 A2 B2"
