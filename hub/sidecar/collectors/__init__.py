"""The resources of a host, with a module for each source.

A missing source gives unknown values and never raises.
"""
