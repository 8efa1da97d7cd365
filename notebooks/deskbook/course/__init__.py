"""The course as a whole: its lessons, their map, and the pages that are written from both."""

from deskbook.course.pages import course_map

__all__ = ["course_map"]
