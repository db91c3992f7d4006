"""The version of the service: the other side has a module of this name, too."""

ORIGIN = "service"


def origin():
    return ORIGIN


def version():
    return "code of the service"


def default(side="service"):
    return side
