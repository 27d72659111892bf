"""What goes over the wire: every message, query answer and HTTP body, and nothing else.

A leaf: it imports pydantic and the standard library only, so every service and every client can share it.
"""
