package main

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"cpcds2fhir/internal/fhirtest"
)

// scriptServers are the FHIR servers that scripts have started, by URL.
var scriptServers sync.Map

// theServer is the server whose URL a variable of the script has.
func theServer(ts *testscript.TestScript, name string) *fhirtest.Server {
	s, ok := scriptServers.Load(ts.Getenv(name))
	if !ok {
		ts.Fatalf("there is no server %s", name)
	}
	return s.(*fhirtest.Server)
}

// cmdServer starts a FHIR server in this process, and sets a variable to its URL. It has referential integrity.
//
//	server NAME [assigns] [no-import] [token=TOKEN] [software=NAME]
func cmdServer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: server NAME [assigns] [no-import] [token=TOKEN] [software=NAME]")
	}
	o := &fhirtest.Options{Integrity: true}
	for _, a := range args[1:] {
		key, value, _ := strings.Cut(a, "=")
		switch key {
		case "assigns":
			o.AssignIDs = true
		case "no-import":
			o.Import.Off = true
		case "token":
			o.Auth = &fhirtest.Auth{Tokens: []string{value}}
		case "software":
			o.Software = value
		default:
			ts.Fatalf("server %s: no such option", a)
		}
	}
	s := fhirtest.Listen(o)
	scriptServers.Store(s.URL, s)
	ts.Defer(s.Close)
	ts.Setenv(args[0], s.URL)
}

// cmdFault makes something go wrong with the next N of some requests to a server, or with all.
//
//	fault NAME N|all writes|reads|imports STATUS|throttled|lost|reset|html|slow
func cmdFault(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 4, "fault NAME N|all writes|reads|imports STATUS|throttled|lost|reset|html|slow")
	when := map[string]fhirtest.When{"writes": fhirtest.Writes, "reads": fhirtest.Reads, "imports": fhirtest.Path("$import")}[args[2]]
	if when == nil {
		ts.Fatalf("fault: no such requests: %s", args[2])
	}
	if n, err := strconv.Atoi(args[1]); err == nil {
		when = fhirtest.First(n, when)
	}
	var f fhirtest.Fault
	switch args[3] {
	case "throttled":
		f = fhirtest.Throttle("0")
	case "lost":
		f = fhirtest.LoseAnswer()
	case "reset":
		f = fhirtest.ResetInBody()
	case "html":
		f = fhirtest.HTML()
	case "slow":
		f = fhirtest.Latency(300 * time.Millisecond)
	default:
		status, err := strconv.Atoi(args[3])
		ts.Check(err)
		f = fhirtest.Status(status)
	}
	s := theServer(ts, args[0])
	untilMended(s, s.Inject(when, f))
}

// cmdMend ends all faults and refusals of a server.
func cmdMend(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 1, "mend NAME")
	for _, stop := range takeStops(ts.Getenv(args[0])) {
		stop()
	}
}

var (
	stopsMu sync.Mutex
	stops   = map[string][]func(){}
)

func untilMended(s *fhirtest.Server, stop func()) {
	stopsMu.Lock()
	defer stopsMu.Unlock()
	stops[s.URL] = append(stops[s.URL], stop)
}

func takeStops(url string) []func() {
	stopsMu.Lock()
	defer stopsMu.Unlock()
	list := stops[url]
	delete(stops, url)
	return list
}

// cmdRefuse makes a server refuse every Nth resource of a type, until mend.
//
//	refuse NAME TYPE N
func cmdRefuse(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 3, "refuse NAME TYPE N")
	n, err := strconv.Atoi(args[2])
	ts.Check(err)
	s := theServer(ts, args[0])
	var ids []string
	stop := s.Refuse(func(typ, id string, _ map[string]any) bool {
		if typ != args[1] {
			return false
		}
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
		return slices.Index(ids, id)%n == 0
	})
	untilMended(s, stop)
}

// cmdServed checks how many resources of a type a server has.
//
//	served NAME TYPE N
func cmdServed(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 3, "served NAME TYPE N")
	if got := fmt.Sprint(len(ofType(theServer(ts, args[0]), args[1]))); got != args[2] {
		ts.Fatalf("the server has %s %s, want %s", got, args[1], args[2])
	}
}

// ofType are the resources of a type, sorted.
func ofType(s *fhirtest.Server, typ string) (refs []string) {
	for ref, r := range s.Resources() {
		if r.Type == typ {
			refs = append(refs, ref)
		}
	}
	slices.Sort(refs)
	return refs
}

// cmdWritten checks how many versions were made on a server since it was asked last.
//
//	written NAME N
func cmdWritten(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 2, "written NAME N")
	s := theServer(ts, args[0])
	if got := len(s.Writes()); fmt.Sprint(got) != args[1] {
		ts.Fatalf("the server has made %d versions, want %s", got, args[1])
	}
	s.Forget()
}

// cmdSomebody changes the first resource of a type on a server, as somebody else would: edits it, deletes it, or
// adds one. It sets the variable RESOURCE to what it was.
//
//	somebody edits|deletes|adds NAME TYPE|JSON
func cmdSomebody(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, args, 3, "somebody edits|deletes|adds NAME TYPE|JSON")
	s := theServer(ts, args[1])
	if args[0] == "adds" {
		s.Put(args[2])
		return
	}
	all := ofType(s, args[2])
	if len(all) == 0 {
		ts.Fatalf("the server has no %s", args[2])
	}
	ref := all[0]
	switch args[0] {
	case "edits":
		s.Edit(ref, func(r map[string]any) { r["language"] = "es" })
	case "deletes":
		s.Delete(ref)
	default:
		ts.Fatalf("somebody %s: edits, deletes or adds", args[0])
	}
	ts.Setenv("RESOURCE", ref)
}

// cmdAsked checks whether a server was asked for something since written was used last.
//
//	[!] asked NAME METHOD PATH
func cmdAsked(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: [!] asked NAME METHOD PATH")
	}
	asked := slices.ContainsFunc(theServer(ts, args[0]).Requests(), func(r fhirtest.Request) bool {
		return r.Method == args[1] && r.Path == args[2] && r.Status != http.StatusNotFound
	})
	if asked == neg {
		ts.Fatalf("asked for %s %s: %t", args[1], args[2], asked)
	}
}
