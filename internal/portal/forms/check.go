package forms

import (
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Problem is what keeps an answer from being taken. It never has the answer itself.
type Problem struct {
	Question string
	Key      string // the rule, such as "required" or "length"
	Text     Text   // what to do about it
}

func (f *Form) problem(id, key string, args ...any) *Problem {
	return &Problem{Question: id, Key: key, Text: f.words.text("problem." + key).with(args...)}
}

// Check says what is wrong with the answers, at most one thing for each question, in the order of the form. Of a draft
// only kinds and limits are checked; what is final must be complete too. Answers to questions that are not asked do not
// matter.
func (f *Form) Check(a Answers, final bool) []Problem {
	var out []Problem
	for _, q := range f.Visible(a) {
		p := f.check(q, a[q.ID])
		if p == nil && final && q.Required && len(a[q.ID]) == 0 {
			key := "required"
			switch q.Kind {
			case Attest, Document:
				key = "required_" + string(q.Kind)
			case Choice, YesNo:
				key = "required_choice"
			case Choices:
				key = "required_choices"
			}
			p = f.problem(q.ID, key)
		}
		if p != nil {
			out = append(out, *p)
		}
	}
	return out
}

// NotYet returns a problem for each date that should lie in the past and is after today, a date such as 2027-01-31.
func (f *Form) NotYet(a Answers, today string) []Problem {
	var out []Problem
	for _, q := range f.Visible(a) {
		if v := a[q.ID]; q.Kind == Date && q.Limits.Past && len(v) > 0 && isDate(v[0]) && v[0] > today {
			out = append(out, *f.problem(q.ID, "future"))
		}
	}
	return out
}

// lengths are the most characters of answers whose question sets no limit of its own.
var lengths = map[Kind]int{Plain: 200, Paragraph: 4000, URL: 2048, Email: 254, Phone: 40}

// Length is the most characters that an answer may have, 0 if its kind has no limit.
func (q *Question) Length() int {
	if q.Limits.Length > 0 {
		return q.Limits.Length
	}
	return lengths[q.Kind]
}

var (
	wholeNumber = regexp.MustCompile(`^-?\d{1,15}$`)
	phoneNumber = regexp.MustCompile(`^\+?[0-9(][0-9 ().\-/]*([ ,;]*(x|ext\.?|#) ?\d{1,6})?$`)
	upload      = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	hostLabel   = regexp.MustCompile(`^[\pL\pN]([\pL\pN\pM-]*[\pL\pN\pM])?$`)
	localPart   = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*$")
)

// check says what is wrong with the answer to one question, nil if nothing is.
func (f *Form) check(q *Question, values []string) *Problem {
	if len(values) == 0 {
		return nil
	}
	if q.Kind != Choices && q.Kind != Document && len(values) > 1 {
		return f.problem(q.ID, "several")
	}
	if n := q.Limits.Count; (q.Kind == Choices || q.Kind == Document) && n > 0 && len(values) > n {
		return f.problem(q.ID, "count", n)
	}
	for _, v := range values {
		if strings.ContainsFunc(v, func(r rune) bool { return forbidden(r) && (r != '\n' && r != '\t' || q.Kind != Paragraph) }) || !utf8.ValidString(v) {
			return f.problem(q.ID, "control")
		}
		if n := q.Length(); n > 0 && utf8.RuneCountInString(v) > n {
			return f.problem(q.ID, "length", n)
		}
	}
	return f.kind(q, values)
}

// kind says whether an answer is what its kind demands.
func (f *Form) kind(q *Question, values []string) *Problem {
	v, good, key := values[0], true, string(q.Kind)
	switch q.Kind {
	case Choice, Choices:
		key = "option"
		for i, v := range values {
			good = good && slices.ContainsFunc(q.Options, func(o Option) bool { return o.Value == v }) && !slices.Contains(values[:i], v)
		}
	case YesNo:
		good, key = v == "yes" || v == "no", "option"
	case Attest:
		good, key = v == "yes", "option"
	case URL:
		good = isURL(v)
	case Email:
		good = isEmail(v)
	case Phone:
		digits := len(strings.Map(func(r rune) rune {
			if r < '0' || r > '9' {
				return -1
			}
			return r
		}, v))
		good = phoneNumber.MatchString(v) && digits >= 7 && digits <= 21
	case Date:
		good = isDate(v)
	case Number:
		n, err := strconv.ParseInt(v, 10, 64)
		switch good = wholeNumber.MatchString(v) && err == nil; {
		case good && q.Limits.From != nil && n < *q.Limits.From:
			return f.problem(q.ID, "from", *q.Limits.From)
		case good && q.Limits.To != nil && n > *q.Limits.To:
			return f.problem(q.ID, "to", *q.Limits.To)
		}
	case Document:
		key = "file"
		for _, v := range values {
			good = good && upload.MatchString(v)
		}
	}
	if !good {
		return f.problem(q.ID, key)
	}
	return nil
}

// isURL reports whether a text is an address on the public web: https, a host with a domain, nobody's password.
func isURL(v string) bool {
	u, err := url.Parse(v)
	if err != nil || u.Scheme != "https" || u.User != nil || u.Opaque != "" || strings.ContainsAny(v, " <>\"'`{}|\\^") {
		return false
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return false
		}
	}
	return isDomain(u.Hostname())
}

// isDomain reports whether a host is a name of the public DNS by its form: no address, no localhost, no name of one
// label or of a special-use domain.
func isDomain(host string) bool {
	host = strings.ToLower(host)
	if _, err := netip.ParseAddr(host); err == nil || len(host) > 253 {
		return false
	}
	labels := strings.Split(host, ".")
	if len(labels) < 2 {
		return false
	}
	for _, l := range labels {
		if len(l) > 63 || !hostLabel.MatchString(l) {
			return false
		}
	}
	last := labels[len(labels)-1]
	if strings.Trim(last, "0123456789") == "" {
		return false // 127.1 is an address too
	}
	return !slices.Contains([]string{"localhost", "local", "internal", "invalid", "onion", "arpa", "home", "lan", "corp"}, last)
}

func isEmail(v string) bool {
	local, domain, ok := strings.Cut(v, "@")
	return ok && len(local) <= 64 && localPart.MatchString(local) && isDomain(domain)
}

// isDate reports whether a text is a day of the calendar.
func isDate(v string) bool {
	t, err := time.Parse(time.DateOnly, v)
	return err == nil && t.Year() >= 1900 && t.Year() < 2200
}

// Contradiction is what a reviewer should ask about: answers that do not go together.
type Contradiction struct {
	Rule      string
	Questions []string // that it is about, in the order of the form
	Text      Text
}

// Contradictions finds answers that contradict one another. They keep nobody from sending the form: the applicant and the
// reviewer see them.
func (f *Form) Contradictions(a Answers) []Contradiction {
	a = f.Asked(a)
	var out []Contradiction
	for _, r := range f.Checks {
		if !r.fires(a) {
			continue
		}
		c := Contradiction{Rule: r.ID, Text: r.Text}
		for _, q := range f.questions {
			if _, ok := r.If[q.ID]; ok || slices.Contains(slices.Concat(r.Same, r.Hosts, r.More), q.ID) {
				c.Questions = append(c.Questions, q.ID)
			}
		}
		out = append(out, c)
	}
	return out
}

func (r *Rule) fires(a Answers) bool {
	if !r.If.holds(a) {
		return false
	}
	first := func(id string) string {
		if v := a[id]; len(v) > 0 {
			return v[0]
		}
		return ""
	}
	if len(r.Same) > 0 {
		one := plain(first(r.Same[0]))
		for _, id := range r.Same {
			if v := plain(first(id)); v == "" || v != one {
				return false
			}
		}
	}
	if len(r.Hosts) > 0 {
		one, apart := host(first(r.Hosts[0])), false
		for _, id := range r.Hosts {
			h := host(first(id))
			if h == "" {
				return false
			}
			apart = apart || !related(one, h)
		}
		if !apart {
			return false
		}
	}
	if len(r.More) == 2 {
		x, errX := strconv.ParseInt(first(r.More[0]), 10, 64)
		y, errY := strconv.ParseInt(first(r.More[1]), 10, 64)
		return errX == nil && errY == nil && x > y
	}
	return true
}

// plain is an answer without what does not tell it from another: case, spaces, the end of a URL.
func plain(v string) string {
	v = strings.ToLower(strings.Join(strings.Fields(v), " "))
	if strings.HasPrefix(v, "https://") {
		v = strings.TrimPrefix(strings.TrimRight(v, "/?#"), "https://www.")
		v = strings.TrimPrefix(v, "https://")
	}
	return v
}

// host is the host of a URL or of an e-mail address, "" if a text is neither.
func host(v string) string {
	if _, domain, ok := strings.Cut(v, "@"); ok && !strings.Contains(v, "://") {
		return strings.ToLower(domain)
	}
	u, err := url.Parse(v)
	if err != nil {
		return ""
	}
	return strings.TrimPrefix(strings.ToLower(u.Hostname()), "www.")
}

// related reports whether two hosts are likely of one domain: one lies in the other, or both in the same domain.
func related(a, b string) bool {
	if a == b || strings.HasSuffix(a, "."+b) || strings.HasSuffix(b, "."+a) {
		return true
	}
	_, x, _ := strings.Cut(a, ".")
	_, y, _ := strings.Cut(b, ".")
	return x == y && strings.Contains(x, ".")
}
