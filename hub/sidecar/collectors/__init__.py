"""What a host has left, each source in a file of its own.

A source that is not there reads as unknown and never as an exception.
"""
