package main

import "io"

// output is standard output. It keeps the first write error, so that a command whose output could
// not be printed fails even though most printing ignores errors.
type output struct {
	to  io.Writer
	err error
}

func (o *output) Write(b []byte) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	n, err := o.to.Write(b)
	o.err = err
	return n, err
}
