package main

import "io"

// output is standard output. It keeps the first error of a write, so that what
// could not be printed is no success although most printing looks at no error.
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
