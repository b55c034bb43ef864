import { type Decision, GateAction } from "./gen/hutong/verification/v1/decision_pb.js";

/**
 * Return whether the gate lets the holder in now. An action that this version does not know lets nobody in, and neither
 * does ASK_AGAIN before the second answer.
 */
export function letsIn(decision: Decision): boolean {
  return decision.action === GateAction.LET_IN || decision.action === GateAction.LET_IN_AND_REGISTER;
}
