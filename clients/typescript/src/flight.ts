import { create } from "@bufbuild/protobuf";

import type { Tube } from "./gen/hutong/results/v1/upload_pb.js";
import { type UploadResultsRequest, UploadResultsRequestSchema } from "./gen/hutong/results/v1/upload_service_pb.js";

interface Batch {
  readonly offset: bigint;
  readonly tubes: Tube[];
}

/**
 * The batches that are not acknowledged yet. They are taken from the source in the background, so that a slow source
 * delays no acknowledgement.
 */
export class Flight {
  /** The error of the source, after which no more batches come. */
  failure: unknown;

  readonly #batches: Batch[] = [];
  #removed = 0;
  #isDrained = false;
  #isStopped = false;
  #wake = () => {};
  #change: Promise<void>;

  constructor(
    source: Iterable<Tube[]> | AsyncIterable<Tube[]>,
    readonly window: number,
    offset: bigint,
  ) {
    this.#change = this.#nextChange();
    void this.#take(source, offset);
  }

  /** Whether the source has ended and every batch of it is acknowledged. */
  get isFinished(): boolean {
    return this.#isDrained && this.#batches.length === 0;
  }

  /** Return the oldest batch. */
  first(): Batch {
    const batch = this.#batches[0];
    if (batch === undefined) {
      throw new Error("the service acknowledged a batch that was not sent");
    }
    return batch;
  }

  /** Remove the oldest batch, which is acknowledged. */
  removeFirst(): void {
    this.#batches.shift();
    this.#removed += 1;
    this.wake();
  }

  /** Take no more batches from the source. */
  stop(): void {
    this.#isStopped = true;
    this.wake();
  }

  /** Let all waiting loops look again. */
  wake(): void {
    const wake = this.#wake;
    this.#change = this.#nextChange();
    wake();
  }

  /** Yield the frames of a new stream: the start, the batches in flight, then new ones until the source ends. */
  async *frames(start: UploadResultsRequest, signal: AbortSignal): AsyncGenerator<UploadResultsRequest, void, undefined> {
    yield start;
    for (let position = this.#removed; !signal.aborted; ) {
      const batch = this.#batches[position - this.#removed];
      if (batch !== undefined) {
        position += 1;
        yield create(UploadResultsRequestSchema, { frame: { case: "batch", value: batch } });
      } else if (this.#isDrained) {
        return;
      } else {
        await this.#change;
      }
    }
  }

  async #take(source: Iterable<Tube[]> | AsyncIterable<Tube[]>, offset: bigint): Promise<void> {
    try {
      for await (const tubes of source) {
        while (this.#batches.length >= this.window && !this.#isStopped) {
          await this.#change;
        }
        if (this.#isStopped) {
          break;
        }
        this.#batches.push({ offset, tubes });
        offset += BigInt(tubes.length);
        this.wake();
      }
    } catch (error) {
      this.failure = error;
    }
    this.#isDrained = true;
    this.wake();
  }

  #nextChange(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}
