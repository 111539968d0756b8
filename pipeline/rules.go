package pipeline

// EngineRules says what the engine's own rules demand, for people.
var EngineRules = map[string]string{
	ruleHeaderDisagrees: "the rows of a claim repeat its header; a header element must have one value on all of them",
	ruleDuplicateLine:   "no two lines of a claim may have the same number; lenient mode drops a line that is a copy throughout",
	ruleNoKey:           "a row of the claims table must have a claim key",
	rulePOAConflict:     "a diagnosis must have one answer to present on admission",
	ruleClaimType:       "claim_type must be institutional (with claim_sub_type inpatient or outpatient), professional, vision, pharmacy or oral",
	ruleCoverageMember:  "a coverage that a claim names, its own or another payer's, must be one of the claim's member",
	ruleNoNumber:        "a row with a service must have a line number; a row without one adds diagnoses, procedures and care team only",
	ruleUnknownMember:   "a coverage must name a member of the members table",
}

// EngineWarnings says what the engine counts without rejecting anything.
var EngineWarnings = map[string]string{
	ruleNoCode:    "a diagnosis without its code, an ICD procedure without its code and an entry of the care team without its role are left out",
	ruleUndivided: "an amount of the header that the lines do not add up to cannot be divided among the claims that a claim is split into; they have no total of it",
}
