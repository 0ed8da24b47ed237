"""Grade a folder of submissions: labs/grade.py is its command line.

handed.py      the submissions in a folder
classroom.py   grade several at a time, collect
referee.py     one submission: the checks on the trusted side
nursery.py     where the students' processes come from: forked from one that knows nothing but torch
sandbox.py     what such a process may do: no network, no other process, no file but its own
landlock.py    the kernel's access rules for unprivileged processes
page.py        the table (CSV) and the report (HTML)

Trust. A student's process is a grandchild of the nursery, which was forked before the seed was drawn and before any
check was loaded: its memory holds no reference, no expected value and no verdict. It gets the arguments of each call
and answers with plain data (checking/protocol.py). All comparisons happen in the referee.
"""
