"""Identifiers that derive from a course: the same course and version always get the same ones."""

from __future__ import annotations

import uuid

from coursebox.course import Course

NAMESPACE = uuid.UUID("5c1b8f4e-6f0e-5d53-9d39-0d4d6d6b1f6a")  # of this project; a course's identifiers derive from it


def identity(course: Course, part: str) -> uuid.UUID:
    """The fixed UUID (version 5) of one part of a course, "root" for its root file system."""
    return uuid.uuid5(NAMESPACE, f"{course.name}/{course.version}/{part}")
