// Made by protos/error_reasons.py.

package hutong

// Reasons of failed calls, as errors.Is(err, hutong.ReasonCursorTooOld) asks for them. A newer service may have others.
const (
	// ReasonInvalidField: a field breaks its rule.
	ReasonInvalidField Reason = "INVALID_FIELD"
	// ReasonMalformedName: a resource name is not of its form.
	ReasonMalformedName Reason = "MALFORMED_NAME"
	// ReasonNotFound: the named resource is not known to this service.
	ReasonNotFound Reason = "NOT_FOUND"
	// ReasonAlreadyExists: the resource to create exists already, with other content.
	ReasonAlreadyExists Reason = "ALREADY_EXISTS"
	// ReasonRequestIdReused: a request_id was used before with other content or by another caller.
	ReasonRequestIdReused Reason = "REQUEST_ID_REUSED"
	// ReasonInvalidPageToken: a page token was not issued for this request.
	ReasonInvalidPageToken Reason = "INVALID_PAGE_TOKEN"
	// ReasonInvalidConsistencyToken: a consistency token was not issued by any node.
	ReasonInvalidConsistencyToken Reason = "INVALID_CONSISTENCY_TOKEN"
	// ReasonUploadNotStarted: the first message of an upload was not "start", or a second "start" was sent.
	ReasonUploadNotStarted Reason = "UPLOAD_NOT_STARTED"
	// ReasonUploadGap: a batch starts after the committed offset.
	ReasonUploadGap Reason = "UPLOAD_GAP"
	// ReasonBatchTooLarge: a batch has over 1,000 tubes or over 1 MiB, or its responses would have over 4 MiB.
	ReasonBatchTooLarge Reason = "BATCH_TOO_LARGE"
	// ReasonLabUnknown: the laboratory is not registered at this node.
	ReasonLabUnknown Reason = "LAB_UNKNOWN"
	// ReasonPolicyBreach: a policy to publish breaks floors that are in force at its own start.
	ReasonPolicyBreach Reason = "POLICY_BREACH"
	// ReasonAmbiguous: a policy to publish applies as closely as another one for some purpose and origin.
	ReasonAmbiguous Reason = "AMBIGUOUS"
	// ReasonRetroactive: a policy to publish begins in the past without retroactive_reason.
	ReasonRetroactive Reason = "RETROACTIVE"
	// ReasonAlreadyWithdrawn: the policy revision is withdrawn already.
	ReasonAlreadyWithdrawn Reason = "ALREADY_WITHDRAWN"
	// ReasonConflict: a change contradicts what is stored, and another call exists for it.
	ReasonConflict Reason = "CONFLICT"
	// ReasonCursorTooOld: a cursor is older than the change log, or belongs to another log.
	ReasonCursorTooOld Reason = "CURSOR_TOO_OLD"
	// ReasonNotFreshEnough: a consistency token stands for writes that this node did not see within the deadline.
	ReasonNotFreshEnough Reason = "NOT_FRESH_ENOUGH"
	// ReasonDatabaseUnavailable: the database cannot be reached or took too long.
	ReasonDatabaseUnavailable Reason = "DATABASE_UNAVAILABLE"
	// ReasonUpstreamUnavailable: another service or node that the answer needs cannot be reached.
	ReasonUpstreamUnavailable Reason = "UPSTREAM_UNAVAILABLE"
	// ReasonOverloaded: a limit of this process is reached.
	ReasonOverloaded Reason = "OVERLOADED"
	// ReasonQuotaExceeded: a laboratory sends more than its quota.
	ReasonQuotaExceeded Reason = "QUOTA_EXCEEDED"
	// ReasonDeadline: the call's deadline passed before the work was done.
	ReasonDeadline Reason = "DEADLINE"
	// ReasonShuttingDown: the server is draining.
	ReasonShuttingDown Reason = "SHUTTING_DOWN"
	// ReasonNotPermitted: the caller is not permitted to do this.
	ReasonNotPermitted Reason = "NOT_PERMITTED"
	// ReasonInternal: a fault of the service.
	ReasonInternal Reason = "INTERNAL"
	// ReasonTimesOutOfOrder: only in a rejection: the times are out of order.
	ReasonTimesOutOfOrder Reason = "TIMES_OUT_OF_ORDER"
	// ReasonTimeInFuture: only in a rejection: a time lies more than 5 minutes ahead of the server's clock.
	ReasonTimeInFuture Reason = "TIME_IN_FUTURE"
	// ReasonRegionUnknown: in a rejection or INVALID_ARGUMENT: a region is not in GB/T 2260.
	ReasonRegionUnknown Reason = "REGION_UNKNOWN"
	// ReasonBadDocumentNumber: in a rejection or INVALID_ARGUMENT: a document number's form or check character is wrong
	// for its type.
	ReasonBadDocumentNumber Reason = "BAD_DOCUMENT_NUMBER"
	// ReasonBadUscc: in a rejection or INVALID_ARGUMENT: a unified social credit code's check character is wrong.
	ReasonBadUscc Reason = "BAD_USCC"
	// ReasonLabNotAuthorized: only in a rejection: the laboratory was not authorised at the report time.
	ReasonLabNotAuthorized Reason = "LAB_NOT_AUTHORIZED"
	// ReasonPoolMismatch: only in a rejection: a tube's outcome, pool size and number of persons do not fit together.
	ReasonPoolMismatch Reason = "POOL_MISMATCH"
	// ReasonBeforeHorizon: the answer would depend on rows that retention has removed.
	ReasonBeforeHorizon Reason = "BEFORE_HORIZON"
	// ReasonNotServed: the method is in the contract, but this process does not serve it.
	ReasonNotServed Reason = "NOT_SERVED"
	// ReasonPepperMismatch: a node sends subject keys made under another pepper or by another rule of document classes, so
	// no subject would be found.
	ReasonPepperMismatch Reason = "PEPPER_MISMATCH"
	// ReasonNotAnUpstream: the called node is not the national node, or the caller claims to be the national node.
	ReasonNotAnUpstream Reason = "NOT_AN_UPSTREAM"
	// ReasonNoUpstream: the question needs the national node, and this node has no upstream configured.
	ReasonNoUpstream Reason = "NO_UPSTREAM"
	// ReasonUploadIdReused: an upload_id was used before for other tubes.
	ReasonUploadIdReused Reason = "UPLOAD_ID_REUSED"
	// ReasonTooManyLinked: a link would give one person more linked documents than the limit, or one document more links
	// than are kept, with those that have ended.
	ReasonTooManyLinked Reason = "TOO_MANY_LINKED"
	// ReasonNotTheOrigin: another node received the report, and only that node may correct it.
	ReasonNotTheOrigin Reason = "NOT_THE_ORIGIN"
	// ReasonItemNotAdmitted: a tube is of an item that its upload does not admit.
	ReasonItemNotAdmitted Reason = "ITEM_NOT_ADMITTED"
	// ReasonNotAuthenticated: the caller is not known: its certificate names no caller of this trust domain or has
	// expired, or its token cannot be accepted.
	ReasonNotAuthenticated Reason = "NOT_AUTHENTICATED"
	// ReasonBudgetExceeded: the caller has used up one of its budgets: distinct persons or misses an hour, calls or
	// streams at once, work a second, or changes that wait for an approver.
	ReasonBudgetExceeded Reason = "BUDGET_EXCEEDED"
	// ReasonAnotherNodePublishes: another node publishes the policies of the jurisdiction, or has published the floor.
	ReasonAnotherNodePublishes Reason = "ANOTHER_NODE_PUBLISHES"
	// ReasonStreamReplaced: a batch belongs to a replication that its node has replaced by another one.
	ReasonStreamReplaced Reason = "STREAM_REPLACED"
	// ReasonNodeNotSilent: the node to be retired has sent something in the last minute.
	ReasonNodeNotSilent Reason = "NODE_NOT_SILENT"
	// ReasonSameApprover: the caller proposed the change itself, by this or another certificate or token.
	ReasonSameApprover Reason = "SAME_APPROVER"
	// ReasonNotPending: the change is decided already or has lapsed.
	ReasonNotPending Reason = "NOT_PENDING"
	// ReasonChangeGrew: the recall would recall more results than when it was proposed.
	ReasonChangeGrew Reason = "CHANGE_GREW"
	// ReasonChangeOvertaken: a revision of the policy was published or withdrawn after this publication was proposed.
	ReasonChangeOvertaken Reason = "CHANGE_OVERTAKEN"
	// ReasonProposerDenied: the proposer of the change has been put on the deny-list of this node since.
	ReasonProposerDenied Reason = "PROPOSER_DENIED"
	// ReasonGrantNotReviewed: another caller has not yet reviewed the caller's last emergency grant.
	ReasonGrantNotReviewed Reason = "GRANT_NOT_REVIEWED"
	// ReasonHolderTokenInvalid: a holder's token is not one that a node of this nation has made, or it was cut.
	ReasonHolderTokenInvalid Reason = "HOLDER_TOKEN_INVALID"
	// ReasonHolderTokenExpired: a holder's token is over 90 seconds old, or from the future.
	ReasonHolderTokenExpired Reason = "HOLDER_TOKEN_EXPIRED"
	// ReasonHolderTokenUsed: the holder's token was accepted before at this node, for another question.
	ReasonHolderTokenUsed Reason = "HOLDER_TOKEN_USED"
	// ReasonHolderTokenOtherPurpose: the holder's token is for another purpose than the question.
	ReasonHolderTokenOtherPurpose Reason = "HOLDER_TOKEN_OTHER_PURPOSE"
	// ReasonNotResponsible: another node answers the report of a refusal.
	ReasonNotResponsible Reason = "NOT_RESPONSIBLE"
)
