"""What is to be done, decided without doing it: no I/O, no clock, no thread, no random number."""
