package docs

// referenceEN are the words of the reference that are keys.
var referenceEN = map[string]string{
	"property": "Property", "value": "Value", "version": "FHIR version", "formats": "Formats", "guide": "Implementation guide", "types": "Types",
	"profiles": "Profiles that these resources follow:", "interactions": "interactions", "interaction": "Interaction", "request": "Request",
	"meaning": "Meaning", "parameters": "search parameters", "name": "Name", "type": "Type", "examples": "examples",
	"shape": "The shape of the answer to a search:", "operation parameters": "Parameters of %s:", "read parameters": "Parameters of a read",
	"what was asked for": "what was asked for",
	"in path":            "in the path", "in header": "header", "status": "Status", "column": "Column", "in": "In", "becomes": "Becomes",
	"does:read": "the current version of one resource", "does:vread": "one version of a resource", "does:history-instance": "all versions of a resource",
	"does:search-type": "resources that match the parameters",
}
