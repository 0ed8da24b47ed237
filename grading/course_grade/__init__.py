"""course-grade: grade a folder of submissions of one lab.

cli.py          the command line
run.py          one run: what is left to do, each result as it comes, the results at the end
submissions.py  what was handed in, in whatever form: each thing gets a line
candidates.py   which of several files was worked on
support.py      what an exercise brings along
archives.py     open a zip or tar archive, with limits
lms.py          Moodle and Canvas: names of files, class lists, files to import
names.py        names in any bytes
pool.py         grade several at a time, collect the reports
grader.py       one submission: the checks, on the trusted side
zygote.py       the process that all students' processes are forked from; it knows nothing but torch
sandbox.py      what a student's process may do: no network, no other process, no file but its own
landlock.py     the kernel's access rules for unprivileged processes
seccomp.py      the system calls that a student's process must not make
watch.py        what all processes of a submission take together
scratch.py      the folder of a submission: how full it may get, and how it is removed
journal.py      each result on the disk at once, so that a grading can go on
marks.py        from results to points: weights, a late rule, points by hand
likeness.py     which submissions are alike, as a hint
report.py       the table (CSV) and the page (HTML)
feedback.py     a page for each student
output.py       write the results as the owner of their folder

The checks themselves are in the package `checking` in the folder of the labs (`--labs`).

Trust. A student's process is a grandchild of the zygote. The zygote was forked before the seed was drawn and before any
check was loaded, so its memory holds no reference, no expected value and no verdict. A student's process gets the
arguments of each call and answers with plain data (checking/protocol.py). All comparisons happen in the grader.
"""
