"""The version of the client: the other side has a module of this name, too."""

ORIGIN = "client"


def origin():
    return ORIGIN


def version():
    return "code of the client"


def default(side="client"):
    return side


def only_here():
    return "code of the client, which the service's module lacks"
