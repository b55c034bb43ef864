import type { SecureClientSessionOptions } from "node:http2";

import type { Transport } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";

import { type ConnectionOptions, interceptorsOf, withManners } from "./connection.js";
import { table } from "./gen/service-config.js";

/** The options of a connection from Node. */
export interface DialOptions extends ConnectionOptions {
  /** Certificates for mutual TLS: `ca`, `cert` and `key` as PEM. Without it: plain text, which services accept on loopback alone. */
  tls?: Pick<SecureClientSessionOptions, "ca" | "cert" | "key" | "servername">;
}

/** A connection to one service. */
export interface Connection extends Transport {
  /** Close the connection and end its calls. A process can exit without it. */
  close(): void;
}

/** Open a connection to one service, such as "localhost:50051". It connects when the first call is made. */
export function dial(address: string, options: DialOptions = {}): Connection {
  const { channel } = table;
  const baseUrl = `${options.tls ? "https" : "http"}://${address}`;
  const sessions = new Http2SessionManager(
    baseUrl,
    {
      pingIntervalMs: channel.keepaliveTimeMillis,
      pingTimeoutMs: channel.keepaliveTimeoutMillis,
      connectTimeoutMs: channel.connectTimeoutMillis,
    },
    options.tls,
  );
  const transport = createGrpcTransport({
    baseUrl,
    sessionManager: sessions,
    readMaxBytes: channel.maxMessageBytes,
    writeMaxBytes: channel.maxMessageBytes,
    interceptors: interceptorsOf(options),
  });
  return { ...withManners(transport, options), close: () => sessions.abort() };
}
