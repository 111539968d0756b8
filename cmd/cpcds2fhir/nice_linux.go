package main

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// yieldToReaders lets whoever serves a store come first where this process and that one want the same CPU. It
// cannot be undone. A process whose priority the user has lowered already stays as it is.
func yieldToReaders() {
	const niceness = 10
	threads, err := os.ReadDir("/proc/self/task") // the priority is one of each thread, and new ones inherit it
	if err != nil {
		return
	}
	for _, t := range threads {
		id, err := strconv.Atoi(t.Name())
		if err != nil {
			continue
		}
		if now, err := unix.Getpriority(unix.PRIO_PROCESS, id); err == nil && 20-now < niceness { // as the system call says it
			_ = unix.Setpriority(unix.PRIO_PROCESS, id, niceness) // a thread may have ended
		}
	}
}
