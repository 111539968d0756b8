package messages

// Rules are the texts of the rules of messages.
var Rules = map[string]string{
	RuleEmpty:             "the message must not be empty; to delete a record its value must be null",
	RuleTooLarge:          "the message must not be longer than the limit",
	RuleTooDeep:           "objects and lists must not be nested more deeply than the limit",
	RuleTooManyFields:     "the message must not have more fields than the limit",
	RuleTooManyRows:       "the lists of the message must not have more elements than the limit",
	RuleTextTooLong:       "a value must not be longer than the limit",
	RuleNameTooLong:       "the name of a field must not be longer than 1,024 bytes",
	RuleNotUTF8:           "text must be UTF-8",
	RuleTruncated:         "the message ends too early",
	RuleTrailing:          "nothing may follow the record",
	RuleNotJSON:           "the message must be JSON, as RFC 8259 says",
	RuleNotAnObject:       "the message must be a JSON object",
	RuleDuplicateField:    "a name must not occur twice in an object",
	RuleNotAvro:           "the message must fit its Avro schema",
	RuleNotProtobuf:       "the message must fit its Protobuf schema",
	RuleDecoderFailed:     "reading the message failed; this is a bug, please report it with the schema",
	RuleFrameUnknown:      "a message of a registry must begin with a zero byte and the id of its schema",
	RuleFrameTruncated:    "the id of the schema must be complete",
	RuleFrameHeader:       "the id of the schema must be in the message, not in a header",
	RuleFrameIndex:        "the message must name a type of its Protobuf schema",
	RuleSchemaUnknown:     "the registry must know the schema of the message",
	RuleSchemaUnsupported: "the schema must describe a record",
	RuleSchemaInvalid:     "the schema must be valid",
	RuleSchemaUnavailable: "the registry must answer; the stream waits for it",
}
