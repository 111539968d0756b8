package pipeline

// The engine's own rules. The guide's rules are in schemas/carin, those for reading values in
// schemas/layouts.
const (
	RuleNoKey           = "required-claim-key"       // a row has no claim key
	RuleClaimType       = "code-claim_type"          // claim_type and claim_sub_type must name a profile
	RuleHeaderDisagrees = "header-disagrees"         // the rows of a claim repeat a header element with different values
	RuleDuplicateLine   = "duplicate-line"           // two lines of a claim have the same number
	RuleNoNumber        = "line-without-number"      // a row has a service and no line number
	RulePOAConflict     = "poa-conflict"             // one diagnosis of a claim has two answers to present on admission
	RuleTooMany         = "too-many-records"         // of a level
	RuleNoOrder         = "versions-without-order"   // neither of two records of a claim is the newer
	RuleOlderLine       = "line-of-older-record"     // an older record of a claim has a line that the newest lacks
	RuleVoid            = "void-without-lines"       // it cancels a claim that the target does not have
	RuleVoidOfOther     = "void-of-other-member"     // a record without lines names another member than the claim that it cancels
	RuleNotInEffect     = "coverage-not-in-effect"   // on the day of the admission or service
	RuleCoverageMember  = "coverage-of-other-member" // the coverage of a claim is another member's
	RuleUnknownMember   = "coverages-unknown-member" // a coverage must name a member
	RuleCannotChange    = "resource-cannot-change"   // a replay has other content for a resource of a target that can only be added to

	// Rules of servers: why a resource did not get there.
	RuleServerRefused = "server-refused"   // the server does not accept it
	RuleServerChanged = "server-changed"   // somebody else has changed it there since it was loaded
	RuleTooLarge      = "server-too-large" // it is larger than the server accepts
	RuleReferenceGone = "server-reference" // what it refers to was refused, or is not there

	// Warnings: counted, nothing is rejected.
	RuleNoCode       = "entry-without-code"    // a diagnosis or procedure without a code, a care team entry without a role
	RuleTextsDiffer  = "descriptions-differ"   // of one diagnosis
	RuleDatesDiffer  = "dates-of-rows-differ"  // of one version of a claim
	RuleOpenEnd      = "open-end"              // a date that means no end
	RuleVoided       = "void-of-loaded-claim"  // a record without lines cancels what the target has
	RuleNoOrderThere = "version-without-order" // a record that the target has is neither older nor newer
	RuleUndivided    = "amount-not-divided"    // of the header of a claim that was split

	// Rules that skip rows. Those of the small tables follow the name of the table.
	RuleSuperseded   = "superseded-in-extract"    // rows of an older record of a claim that is also in the extract in a newer one
	RuleSplitRest    = "nothing-left-after-split" // rows without a service once the fills of a claim are split off
	RuleDuplicateKey = "-duplicate-key"           // another row of the table has the same key and replaces it
	RuleNoRecord     = "-no-record"               // the row has no element that makes it a record of the table
)

// EngineRules are the texts of the engine's own rules.
var EngineRules = map[string]string{
	RuleHeaderDisagrees: "the rows of a claim repeat its header, so a header element must have the same value on all of them",
	RuleDuplicateLine:   "no two lines of a claim may have the same number; lenient mode drops exact copies of a line",
	RuleNoKey:           "a row of the claims table must have a claim key",
	RulePOAConflict:     "a diagnosis must have one answer to present on admission",
	RuleClaimType:       "claim_type must be institutional (with claim_sub_type inpatient or outpatient), professional, vision, pharmacy or oral",
	RuleCoverageMember:  "a coverage that a claim names, its own or another payer's, must belong to the claim's member",
	RuleNotInEffect:     "a coverage must be in effect on the day of the admission, or of the first service (claims: lapsed_coverage)",
	RuleNoNumber:        "a row with a service must have a line number; a row without one adds only diagnoses, procedures and care team",
	RuleVoid:            "a record without lines that cancels a claim needs that claim, under the same number, in the extract or in the store; otherwise the claim may still look paid elsewhere",
	RuleVoidOfOther:     "a record without lines must name the member of the claim that it cancels",
	RuleTooMany:         "a claim may have at most 10,000 lines, diagnoses, procedures or care team members; more than that means that many claims share a key",
	RuleNoOrder:         "one of several records of a claim must be the newest, but a number and a point in time cannot be compared",
	RuleOlderLine:       "a record of a claim replaces an older one completely; if the older one has a line that the newer one lacks, the layout must say what happens to it (claims: older_lines)",
	RuleCannotChange:    "a resource in a folder of NDJSON files cannot be changed: a claim or row for which a replay makes different content stays rejected; load the extract again into another folder",
	RuleUnknownMember:   "a coverage must name a member of the members table",
	RuleServerRefused:   "the server must accept a resource; what it says is in the reject file, its codes and elements are in the list",
	RuleServerChanged:   "a resource that somebody else has changed on the server is not overwritten, unless the load is told to",
	RuleTooLarge:        "a resource must not be larger than the server accepts",
	RuleReferenceGone:   "what a resource refers to must be on the server",
}

// EngineWarnings are the texts of what the engine counts without rejecting anything.
var EngineWarnings = map[string]string{
	RuleNoCode:       "a diagnosis or ICD procedure without a code, or a care team entry without a role, is left out",
	RuleDatesDiffer:  "rows of one version of a claim have different last update dates; the latest counts",
	RuleOpenEnd:      "a period that ends in the year 2200 or later, such as on 9999-12-31, is open-ended; the end is left out",
	RuleTextsDiffer:  "a diagnosis must have one description; of several, the last in sort order is used",
	RuleVoided:       "a record without lines cancels a claim that the store has; the store's lines stay as they are",
	RuleNoOrderThere: "the target has a record that cannot be compared by age: one has a number, the other a point in time. It stays, and the new one counts as stale",
	RuleNotInEffect:  EngineRules[RuleNotInEffect],
	RuleOlderLine:    EngineRules[RuleOlderLine],
	RuleUndivided:    "the claim is split, but the lines do not add up to a header amount, so it cannot be divided; the parts have no total of it",
}
