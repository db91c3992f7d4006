"""A helper that the service cannot import."""


def double(number):
    return 2 * number
