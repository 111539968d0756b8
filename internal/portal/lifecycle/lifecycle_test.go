package lifecycle

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

var kinds = []Kind{Sandbox, Production}

// TestTable proves that every state can be reached, that only what is meant to be the end is one, and that no move
// lacks what every move has.
func TestTable(t *testing.T) {
	ends := map[Kind][]State{Sandbox: {Revoked}, Production: {Revoked, Retired}}
	for _, kind := range kinds {
		reached := slices.Clone(starts(kind))
		for grown := true; grown; {
			grown = false
			for _, m := range Moves {
				if m.Kind == kind && !slices.Contains(reached, m.To) && slices.ContainsFunc(m.From, func(s State) bool { return slices.Contains(reached, s) }) {
					reached, grown = append(reached, m.To), true
				}
			}
		}
		for _, s := range States(kind) {
			if !slices.Contains(reached, s) {
				t.Errorf("%s: nothing leads to %s", kind, s)
			}
			if got, want := Final(kind, s), slices.Contains(ends[kind], s); got != want {
				t.Errorf("%s: %s is an end: %t, want %t", kind, s, got, want)
			}
		}
	}
	type key struct {
		kind   Kind
		from   State
		action Action
		by     Role
	}
	seen := map[key]bool{}
	for _, m := range Moves {
		if len(m.From) == 0 || len(m.By) == 0 || m.To == "" || m.Action == "" {
			t.Errorf("%+v lacks something", m)
		}
		for _, from := range m.From {
			for _, by := range m.By {
				k := key{m.Kind, from, m.Action, by}
				if seen[k] {
					t.Errorf("%v stands twice in the table", k)
				}
				seen[k] = true
			}
		}
		staff := slices.Contains(m.By, Reviewer) || slices.Contains(m.By, Administrator)
		if staff && !slices.Contains(m.Needs, Unrelated) {
			t.Errorf("%s %s: staff could decide about themselves", m.Kind, m.Action)
		}
		applies := slices.Contains(m.By, Owner) || slices.Contains(m.By, Developer)
		if staff && applies {
			t.Errorf("%s %s: applicants and staff share a move", m.Kind, m.Action)
		}
		refuses := m.To == Denied && m.Action == Deny || m.To == Declined || m.To == Revoked || m.To == Suspended
		if refuses && !slices.Contains(m.Needs, Criterion) {
			t.Errorf("%s %s: an app is refused or cut off without an objective criterion", m.Kind, m.Action)
		}
		if m.Action == Suspend && !slices.ContainsFunc(m.Effects, func(e Effect) bool { return e == DisableClient || e == CloseSandbox }) {
			t.Errorf("%s %s: tokens would go on working", m.Kind, m.Action)
		}
	}
}

// TestClients proves that a client works in the states that Usable names, and in no other: whatever leads out of them
// disables it, and whatever leads into them finds one that is enabled.
func TestClients(t *testing.T) {
	for _, m := range Moves {
		if m.Kind != Production {
			continue
		}
		off, on := slices.Contains(m.Effects, DisableClient), slices.Contains(m.Effects, EnableClient) || slices.Contains(m.Effects, MakeClient)
		for _, from := range m.From {
			switch {
			case Usable(from) && !Usable(m.To) && !off:
				t.Errorf("%s from %s: the client stays enabled", m.Action, from)
			case !Usable(from) && Usable(m.To) && !on:
				t.Errorf("%s from %s: the client is not enabled", m.Action, from)
			case Usable(m.To) && off:
				t.Errorf("%s from %s: the client is disabled", m.Action, from)
			}
		}
	}
}

func TestFind(t *testing.T) {
	m, err := Find(Production, Proposed, Approve, []Role{Reviewer})
	if err != nil || m.To != Approved {
		t.Fatalf("got %v, %v", m, err)
	}
	var illegal *IllegalError
	if _, err := Find(Production, Draft, Approve, []Role{Administrator}); !errors.As(err, &illegal) || illegal.From != Draft || illegal.Error() == "" {
		t.Errorf("got %v", err)
	}
	var role *RoleError
	if _, err := Find(Production, Proposed, Approve, []Role{Owner}); !errors.As(err, &role) || !slices.Contains(role.By, Reviewer) || role.Error() == "" {
		t.Errorf("got %v", err)
	}
	if _, err := Find(Sandbox, Submitted, Approve, []Role{Reviewer}); !errors.As(err, &role) { // the portal alone does it
		t.Errorf("got %v", err)
	}
	for _, kind := range kinds {
		for _, s := range States(kind) {
			for _, m := range Possible(kind, s, []Role{Owner, Administrator}) {
				if got, err := Find(kind, s, m.Action, []Role{Owner, Administrator}); err != nil || got.Action != m.Action {
					t.Errorf("%s %s %s: %v", kind, s, m.Action, err)
				}
			}
		}
	}
}

func TestStates(t *testing.T) {
	for _, s := range States(Production) {
		if Open(s) && Usable(s) && s != ChangePending {
			t.Errorf("%s is both live and open", s)
		}
		if Editable(s) && Open(s) {
			t.Errorf("%s: applicants change what staff look at", s)
		}
	}
	if len(States(Sandbox)) != 10 {
		t.Errorf("the sandbox has %d states", len(States(Sandbox)))
	}
	if !Waits(Demo) || Waits(Review) {
		t.Error("the clock stands still in the wrong state")
	}
}

func TestDiagram(t *testing.T) {
	for _, kind := range kinds {
		text := Diagram(kind)
		for _, s := range States(kind) {
			if !strings.Contains(text, " "+string(s)) {
				t.Errorf("%s: %s is not drawn", kind, s)
			}
		}
		rows := 0
		for _, m := range Moves {
			if m.Kind == kind {
				rows++
				for _, from := range m.From {
					if !strings.Contains(text, string(from)+" --> "+string(m.To)+": ") {
						t.Errorf("%s: %s from %s is not drawn", kind, m.Action, from)
					}
				}
			}
		}
		if got := strings.Count(text, "\n| ") - 2; got != rows {
			t.Errorf("%s: %d rows for %d moves", kind, got, rows)
		}
	}
}
