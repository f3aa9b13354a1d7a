"""A small Flask application: a view that enqueues, and one that says how far the job is. Two
processes:

    flask --app examples.flask_app run
    soniq worker examples.flask_app:eq

    curl -X POST localhost:5000/reports -H 'content-type: application/json' -d '{"words": ["a", "b",
    "a"]}'
    curl localhost:5000/reports/<id>

Both use SONIQ_DATABASE_URL, or the embedded PostgreSQL where soniq-embedded is installed.
"""

from collections import Counter
from uuid import UUID

from flask import Flask, Response, abort, jsonify, request, url_for

from soniq import InvalidArguments, Soniq

eq = Soniq()
app = Flask(__name__)


@eq.job(queue="reports")
def count_words(words: list[str]) -> dict[str, int]:
    """A plain function: the worker runs it in a thread."""
    return dict(Counter(words))


@app.post("/reports")
def order_report() -> tuple[Response, int]:
    """Enqueue a report; 202 with where to ask for it."""
    try:
        job_id = eq.sync.enqueue(count_words, words=request.get_json().get("words"))
    except InvalidArguments as error:
        abort(422, str(error))
    return jsonify(id=job_id, at=url_for("show_report", job_id=job_id)), 202


@app.get("/reports/<uuid:job_id>")
def show_report(job_id: UUID) -> Response:
    """The status of a report, and its result once there is one."""
    status = eq.sync.get_job_status(str(job_id))
    if status is None:
        abort(404)
    error = status["error"]["message"] if status["error"] else None
    return jsonify(status=status["status"], result=status["result"], error=error)
