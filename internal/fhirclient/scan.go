package fhirclient

import "bytes"

// members calls f for each member of a JSON object, in order, until f returns false. The values are
// pieces of text, and their insides are not looked at: resources are large, and little of them is needed
// here. It reports whether the text is an object as far as it was read.
func members(text []byte, f func(name string, value []byte) bool) bool {
	i := space(text, 0)
	if i >= len(text) || text[i] != '{' {
		return false
	}
	i = space(text, i+1)
	if i < len(text) && text[i] == '}' {
		return true
	}
	for {
		from := i
		if i = quoted(text, i); i < 0 {
			return false
		}
		name := text[from+1 : i-1]
		i = space(text, i)
		if i >= len(text) || text[i] != ':' {
			return false
		}
		from = space(text, i+1)
		if i = value(text, from); i < 0 {
			return false
		}
		if !f(string(name), text[from:i]) {
			return true
		}
		i = space(text, i)
		if i >= len(text) || text[i] != ',' {
			return i < len(text) && text[i] == '}'
		}
		i = space(text, i+1)
	}
}

// space is the place of the first character from i on that is no white space.
func space(text []byte, i int) int {
	for i < len(text) && (text[i] == ' ' || text[i] == '\n' || text[i] == '\t' || text[i] == '\r') {
		i++
	}
	return i
}

// quoted is the end of the string that begins at i; -1 if there is none.
func quoted(text []byte, i int) int {
	if i >= len(text) || text[i] != '"' {
		return -1
	}
	for i++; ; {
		end := bytes.IndexByte(text[min(i, len(text)):], '"')
		if end < 0 {
			return -1
		}
		end += i
		slashes := 0
		for end-1-slashes >= i && text[end-1-slashes] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return end + 1
		}
		i = end + 1
	}
}

// value is the end of the value that begins at i; -1 if there is none.
func value(text []byte, i int) int {
	if i >= len(text) {
		return -1
	}
	switch text[i] {
	case '"':
		return quoted(text, i)
	case '{', '[':
		depth := 0
		for i < len(text) {
			switch text[i] {
			case '"':
				if i = quoted(text, i); i < 0 {
					return -1
				}
				continue
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
			i++
		}
		return -1
	}
	from := i
	for i < len(text) && text[i] != ',' && text[i] != '}' && text[i] != ']' && text[i] > ' ' {
		i++
	}
	if i == from {
		return -1
	}
	return i
}
