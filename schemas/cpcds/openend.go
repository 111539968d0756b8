package cpcds

// OpenEnd reports whether a day, YYYY-MM-DD, means an open or unknown end, as 9999-12-31 does.
func OpenEnd(day string) bool { return len(day) == len("9999-12-31") && day >= "2200" }
