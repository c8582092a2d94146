"""Errors of calls, made to order."""

import grpc


class Unavailable(grpc.RpcError):
    def code(self):
        return grpc.StatusCode.UNAVAILABLE

    def details(self):
        return "not now"

    def trailing_metadata(self):
        return ()
