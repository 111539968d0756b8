// Package rooms has no code. Its tests hold the plan of the house: which package
// may import which, where outside modules may be used, that every package says
// what it is, and that no file grows without end. The linter's depguard rules say
// the same; these need nothing but Go.
package rooms
