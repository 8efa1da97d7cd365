"""The processes that check an answer.

protocol.py    what the processes tell each other, and the one place that reads and writes a line of it
client.py      the learner's side: start the worker, hand it jobs, replace it when it has gone
worker.py      the warm process: one forked child a check, killed when its time is up
child.py       the child: limits, the answer, pytest over `checks.py`
collector.py   the pytest plugin that tells what became of each test
evidence.py    what a check shows beside its sentence
own_lines.py   from an exception to the learner's own lines
guard.py       an answer that replaces a function under the checker
limits.py      memory, files, processes
database.py    the database of one check
warm_up.py     imports and caches, paid once
"""
