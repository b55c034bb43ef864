import { create, toBinary } from "@bufbuild/protobuf";
import { type Client, Code, ConnectError } from "@connectrpc/connect";

import { HutongError, UploadLost } from "./errors.js";
import { Flight } from "./flight.js";
import { type Tube, TubeSchema, type Upload } from "./gen/hutong/results/v1/upload_pb.js";
import {
  UploadResultsRequestSchema,
  type UploadResultsResponse,
  type UploadService,
} from "./gen/hutong/results/v1/upload_service_pb.js";
import { CALL_TIMEOUT_MS, Tries } from "./retry.js";

/** The service's limit of tubes in one batch. */
export const MAX_TUBES = 1_000;
/** The service's limit of 1 MiB for one batch, less 4 KiB for the fields around the tubes. */
export const MAX_BATCH_BYTES = 1024 * 1024 - 4096;
/**
 * How many batches may wait for their acknowledgement: the service commits one, validates one and queues one while the
 * client writes one.
 */
export const DEFAULT_WINDOW = 4;
/** The tag and the length of a tube inside its batch. */
const FRAME_BYTES = 8;

/** Which upload a session sends, and its limits. */
export interface UploadOptions {
  /** The laboratory, as "labs/{uscc}". */
  lab: string;
  /** The id of the upload, chosen by the sender. */
  id: string;
  /** The items that the upload admits besides the default item, as "items/sars-cov-2-antigen". */
  items?: string[];
  /** Make a dry run: everything is validated and nothing stored. It fails at the first break. */
  validateOnly?: boolean;
  /** The greatest number of batches that may wait for their acknowledgement. */
  window?: number;
  /** The time in milliseconds without an acknowledgement after which the session gives up. */
  withoutProgressMs?: number;
  /** Ends the upload. */
  signal?: AbortSignal;
}

/** A batch that is durable. */
export interface Acknowledged {
  /** The position of its first tube in the upload. */
  readonly offset: bigint;
  /** The batch as it was sent. */
  readonly tubes: Tube[];
  /** The service's acknowledgement, with the rejections. */
  readonly response: UploadResultsResponse;
}

/**
 * One upload of one laboratory. It resumes after every break, and so does a session with the same id. Browsers cannot
 * upload.
 */
export class UploadSession {
  constructor(
    readonly uploads: Client<typeof UploadService>,
    readonly options: UploadOptions,
  ) {}

  /** The upload's resource name, "labs/{uscc}/uploads/{upload_id}". */
  get name(): string {
    return `${this.options.lab}/uploads/${this.options.id}`;
  }

  /** Return the upload as the service knows it; undefined if no batch of it was committed. */
  async get(): Promise<Upload | undefined> {
    try {
      const { upload } = await this.uploads.getUpload({ name: this.name }, this.#call(CALL_TIMEOUT_MS));
      return upload;
    } catch (error) {
      if (HutongError.from(error).code === Code.NotFound) {
        return undefined;
      }
      throw error;
    }
  }

  /**
   * Send batches from an offset on, and yield each once, in order, when it is durable. The session takes batches from the
   * source ahead of the acknowledgements, and holds at most one beyond the window. Transient failures are retried; any
   * other error ends the upload.
   */
  async *send(
    batches: Iterable<Tube[]> | AsyncIterable<Tube[]>,
    offset = 0n,
  ): AsyncGenerator<Acknowledged, void, undefined> {
    const flight = new Flight(batches, this.options.window ?? DEFAULT_WINDOW, offset);
    const tries = new Tries(this.options.withoutProgressMs, this.options.signal);
    try {
      for (;;) {
        let failure: unknown;
        try {
          for await (const acknowledged of this.#stream(flight)) {
            offset = acknowledged.offset + BigInt(acknowledged.tubes.length);
            tries.progress();
            yield acknowledged;
          }
          return;
        } catch (error) {
          failure = error;
        }
        while (failure !== undefined) {
          if (this.options.validateOnly) {
            throw failure;
          }
          await tries.wait(failure);
          failure = await this.#isBack(offset).catch((error: unknown) => error);
        }
      }
    } finally {
      flight.stop();
    }
  }

  /** Check that the service answers again and has everything that it acknowledged. */
  async #isBack(offset: bigint): Promise<undefined> {
    const upload = await this.get();
    if ((upload?.committedOffset ?? 0n) < offset) {
      throw new UploadLost();
    }
  }

  /** Send over one stream: first the unacknowledged batches of the previous stream, then new ones. */
  async *#stream(flight: Flight): AsyncGenerator<Acknowledged, void, undefined> {
    const { lab, id, items = [], validateOnly = false, signal } = this.options;
    const controller = new AbortController();
    const signals = signal ? [signal, controller.signal] : [controller.signal];
    const value = { lab, uploadId: id, items, validateOnly };
    const start = create(UploadResultsRequestSchema, { frame: { case: "start", value } });
    try {
      const frames = flight.frames(start, controller.signal);
      for await (const response of this.uploads.uploadResults(frames, { signal: AbortSignal.any(signals) })) {
        yield { ...flight.first(), response };
        flight.removeFirst();
      }
    } catch (error) {
      // Once every batch is acknowledged, an error at the end of the stream changes nothing.
      if (!flight.isFinished) {
        throw error;
      }
    } finally {
      controller.abort();
      flight.wake();
    }
    if (flight.failure !== undefined) {
      throw flight.failure;
    }
    if (!flight.isFinished) {
      const text = "the service closed the stream before all batches were acknowledged";
      throw HutongError.from(new ConnectError(text, Code.Unknown));
    }
  }

  #call(timeoutMs: number) {
    return this.options.signal ? { timeoutMs, signal: this.options.signal } : { timeoutMs };
  }
}

/** Yield tubes as batches within the service's limits of tubes and bytes. */
export async function* batchesOf(tubes: Iterable<Tube> | AsyncIterable<Tube>): AsyncGenerator<Tube[], void, undefined> {
  let batch: Tube[] = [];
  let bytes = 0;
  for await (const tube of tubes) {
    const size = toBinary(TubeSchema, tube).length + FRAME_BYTES;
    if (batch.length === MAX_TUBES || (batch.length > 0 && bytes + size > MAX_BATCH_BYTES)) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push(tube);
    bytes += size;
  }
  if (batch.length > 0) {
    yield batch;
  }
}
