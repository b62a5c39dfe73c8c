# Serves moto's DynamoDB on the address and the port that it is given, of which
# it prints the port, until its standard input is closed. Requests take turns:
# moto checks a condition and writes in two steps, and real DynamoDB does not.
import os
import sys
import threading

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

dispatch = DomainDispatcherApplication(create_backend_app)
turn = threading.Lock()


def application(environ, start_response):
    with turn:
        return dispatch(environ, start_response)


class Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept

    def log_request(self, *args):
        pass


server = make_server(sys.argv[1], int(sys.argv[2]), application, threaded=True, request_handler=Quiet)
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
print(server.port, flush=True)
server.serve_forever()
