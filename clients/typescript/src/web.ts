import type { Transport } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

import { type ConnectionOptions, interceptorsOf, withManners } from "./connection.js";

/**
 * Return a connection from a page to an Envoy, such as "https://node.example", by gRPC-Web. All services are at one
 * address. Envoy serves no uploads (docs/http.md).
 */
export function dialWeb(baseUrl: string, options: ConnectionOptions = {}): Transport {
  return withManners(createGrpcWebTransport({ baseUrl, interceptors: interceptorsOf(options) }), options);
}
