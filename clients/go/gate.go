package hutong

import verificationv1 "github.com/hutong/hutong/clients/go/hutong/verification/v1"

// LetsIn says whether the gate lets the holder in now. An action that this version does not know lets nobody in, and
// neither does ASK_AGAIN before the second answer.
func LetsIn(decision *verificationv1.Decision) bool {
	switch decision.GetAction() {
	case verificationv1.GateAction_GATE_ACTION_LET_IN, verificationv1.GateAction_GATE_ACTION_LET_IN_AND_REGISTER:
		return true
	default:
		return false
	}
}
