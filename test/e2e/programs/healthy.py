"""A gRPC server at 127.0.0.1:PORT that says that it is healthy, and nothing else."""

import sys
from concurrent import futures

import grpc

SERVING = b"\x08\x01"


class Health(grpc.GenericRpcHandler):
    def service(self, call):
        if call.method == "/grpc.health.v1.Health/Check":
            return grpc.unary_unary_rpc_method_handler(lambda request, context: SERVING)
        return None


server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[Health()])
assert server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
server.start()
server.wait_for_termination()
