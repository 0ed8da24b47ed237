"""course-selftest: does PyTorch on this machine compute what it should, and how fast?

One process shows the table (`cli`, `suite`, `table`, `progress`, `report`) and never imports PyTorch. The checks run in
a second one (`worker`), which is replaced as soon as a fault has spoilt it, so that no check hides another.
"""
