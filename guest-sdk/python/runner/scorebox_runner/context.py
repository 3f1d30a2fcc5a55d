"""Flask's contexts, so that `flask.request`, `flask.g` and `flask.current_app` work in `run()`.

They are entered once, after `init()`, and are part of the snapshot. The request itself is built when somebody first asks
for it: most scripts never do.
"""

import os
from functools import cached_property

import flask
from flask.ctx import AppContext, RequestContext
from flask.globals import _cv_request
from flask.sessions import SessionMixin
from werkzeug.routing import MapAdapter

from .environ import environ
from .head import RequestHead


class ScoringContext(RequestContext):
    """The context of the one request that an instance serves."""

    def __init__(self, app_context: AppContext, is_raw: bool) -> None:
        # The base class would build the request, which there is none of before the snapshot.
        self.app = app_context.app
        self.flashes = None
        self._session = None
        self._after_request_functions = []
        self._cv_tokens = []
        self._globals = app_context.g
        self._is_raw = is_raw
        self._head: RequestHead | None = None
        self._body = b""

    def begin(self, head: RequestHead, body: bytes) -> None:
        """Says which request it is. `flask.g` gets the ids that the contract gives it."""
        self._head = head
        # The input of a GET request is made of its query, unless the request itself is the input.
        self._body = body if self._is_raw or head.method != "GET" else b""
        self._globals.request_id = head.request_id
        self._globals.client_request_id = head.client_request_id

    def forget(self) -> None:
        """Undoes `begin`, and forgets what the request has left: there was none before it."""
        for name in ("request", "url_adapter"):
            self.__dict__.pop(name, None)
        self._head = None
        self._body = b""
        self._session = None
        self._after_request_functions.clear()
        for name in list(self._globals):
            self._globals.pop(name)

    @cached_property
    def request(self) -> flask.Request:
        """Flask's request, matched to the route `main.handle_score`."""
        if self._head is None:
            raise RuntimeError("there is no request")
        request = self.app.request_class(environ(self._head, self._body))
        request.json_module = self.app.json
        request.url_rule = next(self.app.url_map.iter_rules("main.handle_score"))
        request.view_args = {}
        if not self._is_raw:
            # As in the original, the input has been read: there is no data of a form any more, and nothing in the stream.
            request.get_data(parse_form_data=True)
        return request

    @cached_property
    def url_adapter(self) -> MapAdapter | None:
        """What `url_for` builds URLs with."""
        return self.app.create_url_adapter(self.request)

    @property
    def session(self) -> SessionMixin:
        """Flask's session; a script that sets no secret key gets one that cannot be written."""
        if self._session is None:
            sessions = self.app.session_interface
            self._session = sessions.open_session(self.app, self.request) or sessions.make_null_session(self.app)
        self._session.accessed = True
        return self._session

    def after_request(self, response: flask.Response) -> flask.Response:
        """Runs what the script registered with `flask.after_this_request`."""
        for function in self._after_request_functions:
            response = self.app.ensure_sync(function)(response)
        return response

    @property
    def has_after_request(self) -> bool:
        """Whether `after_request` would do anything."""
        return bool(self._after_request_functions)

    def copy(self) -> "ScoringContext":
        """Itself: there is one request, and nothing runs beside it."""
        return self

    def push(self) -> None:
        """Enters the context."""
        self._cv_tokens.append((_cv_request.set(self), None))

    def pop(self, exc: BaseException | None = None) -> None:
        """Leaves the context."""
        token, _ = self._cv_tokens.pop()
        _cv_request.reset(token)


def enter(is_raw: bool) -> ScoringContext:
    """Makes the Flask application and enters its contexts, for good. `is_raw`: `run()` gets the request itself."""
    app = flask.Flask(
        "azureml_inference_server_http", root_path=os.environ.get("AML_APP_ROOT", os.getcwd()), static_folder=None
    )
    main = flask.Blueprint("main", "azureml_inference_server_http")
    main.add_url_rule("/score", "handle_score", methods=["GET", "POST", "OPTIONS"], provide_automatic_options=False)
    app.register_blueprint(main)
    app_context = app.app_context()
    app_context.push()
    context = ScoringContext(app_context, is_raw)
    context.push()
    return context
