"""`hutong import`: results of a person from other nodes."""

from __future__ import annotations

import click
from hutong.results.v1.import_service_pb2 import ImportResultsRequest
from hutong.type.v1 import identity_pb2
from hutong_texts import tr

from hutong_client.cli.commands.lookup import print_results
from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.options import Node, NodeCommand, document_options, json_option
from hutong_client.cli.output import echo, print_json
from hutong_client.connection import CALL_SECONDS
from hutong_client.formatting import as_dict


@click.command("import", cls=NodeCommand, example="--number -")
@document_options()
@json_option
@click.pass_obj
def import_results(node: Node, document: identity_pb2.IdentityDocument, as_json: bool) -> ExitCode:
    """Copy a person's results of SARS-CoV-2 tests from other nodes to this one. Later changes follow by themselves."""
    with node.connect() as connection:
        response = connection.imports.ImportResults(ImportResultsRequest(document=document), timeout=CALL_SECONDS)
    if as_json:
        results = [as_dict(it) for it in response.test_results]
        print_json({"test_results": results, "imported_count": response.imported_count})
        return ExitCode.DONE
    echo(
        tr(
            "{imported_count:,} results were imported; {count:,} are here now.",
            imported_count=response.imported_count,
            count=len(response.test_results),
        )
    )
    print_results(response.test_results)
    return ExitCode.DONE
