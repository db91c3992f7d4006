"""What a web framework would call for each request. It never waits for a task."""

from shop.accounts import client, sign_up
from shop.reports import yearly_report


def post(path: str, form: dict[str, str]) -> tuple[int, str]:
    """Answer a POST: a status and a text."""
    if path == "/accounts":
        sign_up(form["user"])
        return 201, "welcome"
    if path == "/reports":
        return 202, str(yearly_report.launch(int(form["year"])))
    return 404, ""


def get(path: str) -> tuple[int, str]:
    """Answer a GET of `/reports/<id>`."""
    response = client.get_response(path.removeprefix("/reports/"))
    if response is None:
        return 202, "not yet"
    if "result" not in response.arguments:
        return 500, "the report failed"
    return 200, f"{response.arguments['result']['total']} in total"
