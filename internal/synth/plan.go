package synth

// part is a run of members whose claims are in the same numbered files. It is the unit of parallel
// work: its size depends only on the options.
type part struct {
	firstMember, members uint64
	firstClaim           uint64
	claims               int
}

// memberClaims is how many claims a member has over the years. Some have none.
func memberClaims(d *rng, seed, member uint64) int {
	d.start(seed, countStream, member)
	switch k := d.below(100); {
	case k < 5:
		return 0
	case k < 80:
		return d.between(4, 26)
	}
	return d.between(10, 80)
}

// plan cuts an extract into parts of at least the part size, which together have exactly the
// requested number of claims; the last member may get fewer.
func plan(opt *Options) []part {
	var d rng
	var parts []part
	p, left := part{}, opt.Claims
	for m := uint64(0); left > 0; m++ {
		n := min(memberClaims(&d, opt.Seed, m), left)
		p.members++
		p.claims += n
		left -= n
		if p.claims >= opt.partClaims || left == 0 {
			parts = append(parts, p)
			p = part{firstMember: m + 1, firstClaim: p.firstClaim + uint64(p.claims)}
		}
	}
	return parts
}
