package docs

// words are what the program writes into pages besides their text.
var words = map[string]map[string]string{
	"en": {
		"newtab": "(opens in a new tab)",
		"code":   "Code",
		"run":    "Run it",
		"table":  "Table",
		"day":    "working day",
		"days":   "working days",
	},
	"es": wordsES,
}

// word is one of words; a test knows that each language has all of them.
func word(lang, key string) string {
	if w, ok := words[lang][key]; ok {
		return w
	}
	return words["en"][key]
}
