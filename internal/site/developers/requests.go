package developers

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/site/desk"
	"cpcds2fhir/internal/site/frame"
)

// requestsContent is the content of the page with what an app has asked for.
type requestsContent struct {
	Tabs     []frame.Link
	Rows     []requestRow
	Statuses []frame.Link
	Older    string
	Client   string
	Looked   int // rows that were looked at
}

type requestRow struct {
	At, Method, Route, Status, Cause, ID string
	Bad                                  bool
}

const requestsLimit = 200

// statusClasses are what the log can be filtered by.
var statusClasses = []string{"", "2", "3", "4", "5"}

// requests shows the log of an app: methods and routes, and never a value.
func (s *Site) requests(v *desk.Visit) error {
	a, _, err := s.ownApp(v)
	if err != nil {
		return err
	}
	q := v.R.URL.Query()
	w := portal.InSandbox
	if q.Get("where") == string(portal.InProduction) {
		w = portal.InProduction
	}
	class := ""
	for _, c := range statusClasses {
		if c == q.Get("status") {
			class = c
		}
	}
	at := func(w portal.Where, class, before string) string {
		u := url.Values{}
		if w == portal.InProduction {
			u.Set("where", string(w))
		}
		if class != "" {
			u.Set("status", class)
		}
		if before != "" {
			u.Set("before", before)
		}
		if len(u) == 0 {
			return appPath(a.ID, "requests")
		}
		return appPath(a.ID, "requests") + "?" + u.Encode()
	}
	c := requestsContent{Client: a.Sandbox}
	if w == portal.InProduction {
		c.Client = a.Production
	}
	if a.Production != "" {
		for _, x := range []portal.Where{portal.InSandbox, portal.InProduction} {
			c.Tabs = append(c.Tabs, frame.Link{Text: v.Text("where." + string(x)), URL: at(x, "", ""), Current: x == w})
		}
	}
	for _, x := range statusClasses {
		key := "requests.all"
		if x != "" {
			key = "requests.status." + x
		}
		c.Statuses = append(c.Statuses, frame.Link{Text: v.Text(key), URL: at(w, x, ""), Current: x == class})
	}
	if c.Client != "" {
		list, err := v.Actor.Requests(v.Context(), a.ID, w, before(v), requestsLimit)
		if err != nil {
			return err
		}
		c.Looked = len(list)
		for _, r := range list {
			status := strconv.Itoa(r.Status)
			if class != "" && !strings.HasPrefix(status, class) {
				continue
			}
			c.Rows = append(c.Rows, requestRow{At: v.DateTime(r.At), Method: frame.Plain(r.Method, 10), Route: frame.Plain(strings.TrimPrefix(r.Route, r.Method+" "), 200), Status: status, Cause: frame.Plain(r.Cause, 80), ID: frame.Plain(r.Request, 80), Bad: r.Status >= 400})
		}
		if len(list) == requestsLimit {
			c.Older = at(w, class, strconv.FormatInt(list[len(list)-1].At.UnixMilli(), 10))
		}
	}
	return v.Render(http.StatusOK, "requests", &frame.Page{Title: v.Text("requests.title"), Content: c, Full: true, Trail: s.appTrail(v, a), Side: s.side(v, a)})
}
