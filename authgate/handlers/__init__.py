"""Handlers: a site's own functions, asked where a rule says ``handler:package.module::function``.

Rules of this module:
1. Modules are imported in the worker, so that a reload, which starts new workers, imports them anew and keeps the old
   ones when that fails.
2. A handler that raises, answers nonsense, takes over a second or finds no free thread ends the decision with
   ``handler_error``. Its traceback goes to the log, never to a client.
3. Whatever a handler raises ends with the handler: not the request, not the loop, not the worker.
"""

from authgate.handlers.asking import Handlers
from authgate.handlers.loading import load_functions, load_handlers, wanted_handlers

__all__ = ["Handlers", "load_functions", "load_handlers", "wanted_handlers"]
