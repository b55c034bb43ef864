import type { CallOptions } from "@connectrpc/connect";

import { CALL_TIMEOUT_MS } from "./retry.js";

/** The services' limit for a page. */
const PAGE_SIZE = 500;

/**
 * Yield every page of a list (AIP-158):
 *
 *     for await (const { labs } of pages(client.listLabs, { region: "220000" })) { ... }
 *
 * A page may be empty although others follow. The page fields of the request are not read.
 */
export async function* pages<Request extends object, Page extends { nextPageToken: string }>(
  list: (request: Request, options?: CallOptions) => Promise<Page>,
  request: Request,
  options: CallOptions = {},
): AsyncGenerator<Page, void, undefined> {
  for (let pageToken = ""; ; ) {
    const asked = { ...request, pageSize: PAGE_SIZE, pageToken };
    const page = await list(asked, { timeoutMs: CALL_TIMEOUT_MS, ...options });
    yield page;
    if (page.nextPageToken === "") {
      return;
    }
    pageToken = page.nextPageToken;
  }
}
