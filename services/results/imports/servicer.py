"""ImportService: copies of other nodes' results in this node's store. The contract documents each RPC."""

from __future__ import annotations

from typing import Any

from hutong.results.v1.import_service_pb2 import ImportResultsRequest, ImportResultsResponse

from services.results.imports.importer import Importer

Context = Any
"""A grpc.aio.ServicerContext. Only the interceptors use it."""


class ImportServicer:
    """Serves ImportResults."""

    def __init__(self, importer: Importer) -> None:
        self._importer = importer

    async def ImportResults(self, request: ImportResultsRequest, context: Context) -> ImportResultsResponse:
        return await self._importer.import_results(request)
