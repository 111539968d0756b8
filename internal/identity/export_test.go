package identity

import "context"

// Self returns the members that rules of one's own find by claims.
func Self(ctx context.Context, rules []Rule, m Members, c map[string]any) (list []string, err error) {
	l := &Login{members: m}
	if l.rules, err = compile(rules); err != nil {
		return nil, err
	}
	d, err := l.decide(ctx, c, false, "")
	if err != nil {
		return nil, err
	}
	for p := range d.links {
		list = append(list, p)
	}
	return list, nil
}
