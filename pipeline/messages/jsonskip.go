package messages

// skip passes a value that cannot become text. It checks the form of the value but not whether a
// name occurs twice.
func (p *scanner) skip(depth int) *Error {
	switch p.next() {
	case '{':
		return p.skipAll('}', depth+1)
	case '[':
		return p.skipAll(']', depth+1)
	}
	at := p.s.text.mark()
	_, _, err := p.scalar()
	p.s.text.release(at)
	return err
}

// skipAll passes an object or a list from its opening bracket on.
func (p *scanner) skipAll(end byte, depth int) *Error {
	if depth > p.s.limits.Depth {
		return broken(RuleTooDeep, p.i)
	}
	p.i++
	if p.next() == end {
		p.i++
		return nil
	}
	for {
		if end == '}' {
			if p.next() != '"' {
				return p.syntax()
			}
			p.i++
			if _, err := p.text(); err != nil {
				return err
			}
			if p.next() != ':' {
				return p.syntax()
			}
			p.i++
		}
		if err := p.skip(depth); err != nil {
			return err
		}
		switch p.next() {
		case ',':
			p.i++
		case end:
			p.i++
			return nil
		default:
			return p.syntax()
		}
	}
}
