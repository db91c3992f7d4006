"""Contract suites: pytest base classes that any implementation of a seam can be held against.

Subclass one in a test module, give it the fixture it asks for, and every test in it runs against your implementation.
"""
