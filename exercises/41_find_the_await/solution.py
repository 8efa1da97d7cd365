"""The `await` in line 6 stands between the check in line 4 and the change in line 7.

Up to there A has seen enough cash. While it waits for the fee, B runs its check and sees the same cash. The
awaits in lines 3 and 8 let the other request in as well, but nothing that was checked before them is used
after them.
"""

line = 6
schedule = "A2 B2 A2 B2"
