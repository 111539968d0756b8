package cpcds

import (
	"unicode"
	"unicode/utf8"
)

// FoldHeader makes the headers of an extract comparable: two that fold to the same text are
// one column for every layout. Case is ignored, and runs of spaces, hyphens and underscores
// are one underscore, none at the ends.
func FoldHeader(header string) string {
	return string(AppendFoldedHeader(make([]byte, 0, len(header)), []byte(header)))
}

// AppendFoldedHeader appends to dst what FoldHeader returns for the header. It needs no memory of
// its own.
func AppendFoldedHeader(dst, header []byte) []byte {
	start, gap := len(dst), false
	for len(header) > 0 {
		r, n := utf8.DecodeRune(header)
		header = header[n:]
		switch r {
		case ' ', '-', '_', '\t', '\u00a0', '\ufeff':
			gap = len(dst) > start
			continue
		}
		if gap {
			dst, gap = append(dst, '_'), false
		}
		dst = utf8.AppendRune(dst, unicode.ToLower(r))
	}
	return dst
}
