export { type FieldViolation, HutongError, type Reason, UploadLost, hasReason } from "./errors.js";
export { letsIn } from "./gate.js";
export { pages } from "./pages.js";
export { DEFAULT_WITHOUT_PROGRESS_MS } from "./retry.js";
export {
  type Acknowledged,
  DEFAULT_WINDOW,
  MAX_BATCH_BYTES,
  MAX_TUBES,
  UploadSession,
  type UploadOptions,
  batchesOf,
} from "./upload.js";
export { DEFAULT_SILENCE_MS, type WatchOptions, watch } from "./watch.js";
