//go:build race

package mappers_test

// raceDetector reports whether the tests were built with -race.
const raceDetector = true
