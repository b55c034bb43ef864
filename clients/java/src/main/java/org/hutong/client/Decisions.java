package org.hutong.client;

import org.hutong.verification.v1.Decision;
import org.hutong.verification.v1.GateAction;

/** What a gate does with a decision. */
public final class Decisions {
  private Decisions() {}

  /**
   * Returns whether the gate lets the holder in now. An action that this version does not know lets nobody in, and
   * neither does ASK_AGAIN before the second answer.
   */
  public static boolean letsIn(Decision decision) {
    GateAction action = decision.getAction();
    return action == GateAction.GATE_ACTION_LET_IN || action == GateAction.GATE_ACTION_LET_IN_AND_REGISTER;
  }
}
