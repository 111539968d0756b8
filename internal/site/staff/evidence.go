package staff

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"time"

	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/portal/lifecycle"
	"cpcds2fhir/internal/site/desk"
	"cpcds2fhir/internal/site/frame"
)

// evidence is what the app has shown in the sandbox, by the log: when the application was submitted, and now.
func (s *Site) evidence(v *desk.Visit, x *view, c *applicationContent) error {
	if x.App == "" || x.rev == nil {
		return nil
	}
	now, missing, err := v.Actor.Evidence(v.Context(), x.App)
	if err != nil {
		return err
	}
	e := &evidence{Frozen: v.Text("evidence.frozen", v.DateTime(x.rev.At)), Rule: v.Text("evidence.rule")}
	tag := func(list []portal.Shown, what string, asked bool) (frame.State, time.Time) {
		i := slices.IndexFunc(list, func(s portal.Shown) bool { return s.Interaction == what })
		switch {
		case i >= 0:
			return frame.State{Kind: "good", Text: v.Count("evidence.shown", list[i].Count)}, list[i].At
		case asked:
			return frame.State{Kind: "bad", Text: v.Text("evidence.missing")}, time.Time{}
		}
		return frame.State{Kind: "idle", Text: v.Text("evidence.not")}, time.Time{}
	}
	for _, what := range portal.Interactions {
		row := shown{Text: v.Text("shown." + what), Asked: slices.Contains(s.Portal.Rules.Evidence, what) || slices.Contains(missing, what)}
		row.Then, _ = tag(x.rev.Evidence, what, row.Asked)
		var last time.Time
		if row.Now, last = tag(now, what, row.Asked); !last.IsZero() {
			row.Last = v.DateTime(last)
		}
		e.Rows = append(e.Rows, row)
	}
	c.Evidence = e
	return nil
}

// setWord is a value of a setting in words, where it is a code.
func setWord(v *desk.Visit, field, text string) string {
	switch field {
	case "kind", "auth", "category", "audience", "offline", "utah":
		if key := "set." + field + "." + text; v.Desk.HasText(key) {
			return v.Text(key)
		}
	case "platforms":
		if key := "set.platforms." + text; v.Desk.HasText(key) {
			return v.Text(key)
		}
	}
	return text
}

// settings are those of an app as facts. domain is the one that its publisher has proved, "" for none: addresses are
// told apart by it.
func (s *Site) settings(v *desk.Visit, set *portal.Settings, domain string) (list []fact, err error) {
	if set == nil {
		return nil, nil
	}
	label := func(field string) string { return v.Text("set." + field) }
	word := func(field, text string) { list = append(list, said(v, label(field), setWord(v, field, text))) }
	list = append(list, said(v, label("name"), set.Name))
	word("kind", set.Kind)
	word("auth", set.Auth)
	list = append(list, fact{label("redirect_uris"), hosts(v, set.RedirectURIs, domain)})
	var scopes []value
	for _, x := range set.Scopes {
		scopes = append(scopes, value{Text: frame.Plain(x.Scope, 200), Code: true, Note: frame.Plain(x.Reason, 500)})
	}
	list = append(list, fact{label("scopes"), orNone(v, scopes)})
	if set.JWKS != "" {
		list = append(list, fact{label("jwks"), keys(v, set.JWKS)})
	}
	if set.JWKSURI != "" {
		list = append(list, fact{label("jwks_uri"), hosts(v, []string{set.JWKSURI}, domain)})
	}
	yes := map[bool]string{true: "yes", false: "no"}
	word("offline", yes[set.Offline])
	word("category", set.Category)
	list = append(list, web(v, label("homepage"), set.Homepage), web(v, label("policy"), set.Policy), web(v, label("terms"), set.Terms), web(v, label("support"), set.Support))
	for _, lang := range []string{"en", "es"} {
		if set.About[lang] != "" {
			list = append(list, one(label("about_"+lang), value{Text: set.About[lang], Lines: true, Lang: lang}))
		} else {
			list = append(list, said(v, label("about_"+lang), ""))
		}
	}
	var platforms []string
	for _, p := range set.Platforms {
		platforms = append(platforms, setWord(v, "platforms", p))
	}
	list = append(list, said(v, label("platforms"), strings.Join(platforms, ", ")))
	word("audience", set.Audience)
	word("utah", yes[set.Utah])
	return list, nil
}

func orNone(v *desk.Visit, values []value) []value {
	if len(values) == 0 {
		return []value{{Text: v.Text("none")}}
	}
	return values
}

// hosts are addresses as code, each with a word on whether its host belongs to the proved domain.
func hosts(v *desk.Visit, list []string, domain string) (out []value) {
	for _, text := range list {
		x := value{Text: frame.Plain(text, 500), Code: true}
		if u, err := url.Parse(text); err == nil && u.Hostname() != "" {
			host := strings.ToLower(u.Hostname())
			switch {
			case domain == "":
				x.State = &frame.State{Kind: "warn", Text: v.Text("host.unproved")}
			case host == domain || strings.HasSuffix(host, "."+domain):
				x.State = &frame.State{Kind: "good", Text: v.Text("host.own")}
			default:
				x.State = &frame.State{Kind: "warn", Text: v.Text("host.other")}
			}
		}
		out = append(out, x)
	}
	return orNone(v, out)
}

// keys are the public keys of an app by id and kind.
func keys(v *desk.Visit, jwks string) (out []value) {
	var set struct {
		Keys []struct{ Kid, Kty, Crv, Alg string }
	}
	if json.Unmarshal([]byte(jwks), &set) != nil {
		return []value{{Text: v.Text("none")}}
	}
	for _, k := range set.Keys {
		out = append(out, value{Text: frame.Plain(k.Kid, 100), Code: true, Note: frame.Plain(strings.Join([]string{k.Kty, k.Crv, k.Alg}, " "), 60)})
	}
	return orNone(v, out)
}

// applicantFacts are the app's settings, the organisation and its people.
func (s *Site) applicantFacts(v *desk.Visit, x *view, c *applicationContent) error {
	domain := ""
	if x.Org != "" {
		o, err := v.Actor.Organisation(v.Context(), x.Org)
		if err != nil {
			return gone(err)
		}
		if !o.Domain.Proofed.IsZero() {
			domain = strings.ToLower(o.Domain.Name)
		}
		c.Org, c.OrgURL = s.orgFacts(v, o), orgsPath+"/"+o.ID
		if c.People, err = s.members(v, o.ID); err != nil {
			return err
		}
	}
	if x.rev == nil {
		return nil
	}
	var err error
	if c.Settings, err = s.settings(v, x.rev.Settings, domain); err == nil {
		s.texts(v, x.rev, c)
	}
	return err
}

// orgFacts are an organisation as facts.
func (s *Site) orgFacts(v *desk.Visit, o *portal.Organisation) []fact {
	proof := frame.State{Kind: "warn", Text: v.Text("domain.unproved")}
	note := ""
	if !o.Domain.Proofed.IsZero() {
		proof, note = frame.State{Kind: "good", Text: v.Text("domain.proved")}, v.Date(o.Domain.Proofed)
	}
	list := []fact{said(v, v.Text("org.legal"), o.Legal), said(v, v.Text("org.name"), o.Name), said(v, v.Text("org.type"), v.Text("org.type."+o.Type)),
		web(v, v.Text("org.website"), o.Website), one(v.Text("org.domain"), value{Text: frame.Plain(o.Domain.Name, 200), State: &proof, Note: note}),
		said(v, v.Text("org.hipaa"), v.Text("org.hipaa."+o.HIPAA)), said(v, v.Text("org.us"), v.Text(map[bool]string{true: "field.yes", false: "field.no"}[o.US]))}
	if o.Address != "" {
		list = append(list, one(v.Text("org.address"), value{Text: o.Address, Lines: true}))
	}
	if o.TaxID != "" {
		list = append(list, said(v, v.Text("org.tax"), o.TaxID))
	}
	if o.Parent != "" {
		list = append(list, said(v, v.Text("org.parent"), o.Parent))
	}
	for _, k := range o.Contacts {
		list = append(list, one(v.Text("contact."+k.Kind), value{Text: frame.Plain(strings.Join(slices.DeleteFunc([]string{k.Name, k.Email, k.Phone}, func(t string) bool { return t == "" }), ", "), 300)}))
	}
	return list
}

// members are the people of an organisation, with how their identity was proofed.
func (s *Site) members(v *desk.Visit, org string) (list []member, err error) {
	ms, err := v.Actor.MembersOf(v.Context(), org)
	if err != nil {
		return nil, err
	}
	for _, m := range ms {
		who, err := v.Actor.PersonOf(v.Context(), m.Person)
		if err != nil {
			return nil, err
		}
		x := member{Name: frame.Plain(who.Name, 80), Email: who.Email, Role: v.Text("orgrole." + string(m.Role)), Proof: proofState(v, &who.Proof), Note: s.proofNote(v, &who.Proof)}
		if is(v, portal.Reviewer) {
			x.URL = peoplePath + "/" + who.ID
		}
		list = append(list, x)
	}
	return list, nil
}

// proofState is how the proofing of an identity stands, as a tag.
func proofState(v *desk.Visit, p *portal.Proof) frame.State {
	switch p.State {
	case portal.ProofPassed:
		return frame.State{Kind: "good", Text: v.Text("proof.passed")}
	case portal.ProofFailed:
		return frame.State{Kind: "bad", Text: v.Text("proof.failed")}
	case portal.ProofRequested:
		return frame.State{Kind: "run", Text: v.Text("proof.requested")}
	}
	return frame.State{Kind: "idle", Text: v.Text("proof.none")}
}

// proofNote is the level of a proof, who has the evidence, and since when.
func (s *Site) proofNote(v *desk.Visit, p *portal.Proof) string {
	if p.State != portal.ProofPassed {
		return ""
	}
	return v.Text("proof.note", frame.Plain(p.Level, 40), frame.Plain(p.Issuer, 120), v.Date(p.At))
}

// findings are what a reviewer must look at: names that look alike, answers that contradict one another, and criteria
// that are not met, those that may be a ground apart from those that members are told.
func (s *Site) findings(v *desk.Visit, x *view, c *applicationContent) error {
	name := x.AppName
	if x.rev != nil && x.rev.Settings != nil {
		name = x.rev.Settings.Name
	}
	if x.Kind == lifecycle.Production && name != "" {
		like, reserved, err := v.Actor.Lookalikes(v.Context(), name, x.App, x.Org)
		if err != nil {
			return err
		}
		if len(like) > 0 {
			f := finding{State: frame.State{Kind: "warn", Text: v.Text("found.look")}, Text: v.Text("found.alike")}
			for _, l := range like {
				text := v.Text("found.near")
				if l.Same {
					text = v.Text("found.same")
				}
				f.Items = append(f.Items, value{Text: frame.Plain(l.Name, 80), URL: appsPath + "/" + l.App, Note: text + " " + frame.Plain(l.OrgName, 80)})
			}
			c.Findings = append(c.Findings, f)
		}
		if len(reserved) > 0 {
			f := finding{State: frame.State{Kind: "warn", Text: v.Text("found.look")}, Text: v.Text("found.reserved")}
			for _, w := range reserved {
				f.Items = append(f.Items, value{Text: w, Code: true})
			}
			c.Findings = append(c.Findings, f)
		}
	}
	if x.rev != nil {
		if list := x.form.Contradictions(x.rev.Answers); len(list) > 0 {
			f := finding{State: frame.State{Kind: "warn", Text: v.Text("found.look")}, Text: v.Text("found.contradictions")}
			for _, k := range list {
				f.Items = append(f.Items, value{Text: k.Text.In(v.Lang), Note: labels(x.form, k.Questions, v.Lang)})
			}
			c.Findings = append(c.Findings, f)
		}
		c.Findings = append(c.Findings, s.unmet(v, "found.answers", x.form, x.rev.Answers)...)
	}
	c.Findings = append(c.Findings, s.unmet(v, "found.checks", s.Portal.Forms.Form(forms.Review), x.Checks)...)
	return nil
}

// labels are questions as they were asked.
func labels(f *forms.Form, questions []string, lang string) string {
	var out []string
	for _, id := range questions {
		if q := f.Question(id); q != nil {
			out = append(out, q.Label.In(lang))
		}
	}
	return strings.Join(out, " / ")
}

// unmet are criteria that answers do not meet, gates first.
func (s *Site) unmet(v *desk.Visit, key string, f *forms.Form, a forms.Answers) (out []finding) {
	if f == nil {
		return nil
	}
	for _, g := range []struct {
		group forms.Group
		state frame.State
	}{
		{forms.Gate, frame.State{Kind: "bad", Text: v.Text("group.gate")}},
		{forms.Disclosure, frame.State{Kind: "idle", Text: v.Text("group.disclosure")}},
	} {
		found := finding{State: g.state, Text: v.Text(key + "." + string(g.group))}
		for _, q := range f.Unmet(a) {
			c := s.Portal.Forms.Criterion(q.Criterion)
			if c == nil || c.Group != g.group {
				continue
			}
			found.Items = append(found.Items, value{Text: q.Label.In(v.Lang), Note: c.Code + " " + c.Text.In(v.Lang)})
		}
		if len(found.Items) > 0 {
			out = append(out, found)
		}
	}
	return out
}
