"""HuleEdu assesses a class's essays, shows the teacher live what happens, and keeps the results."""

__version__ = "0.1.0"
