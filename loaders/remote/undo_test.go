package remote

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

func organization(id, version, name string) *fhir.Resource {
	return record(fhir.Organization, id, version, name)
}

func (b *bed) wantThere(t *testing.T, when string, want ...string) {
	t.Helper()
	if got := slices.Sorted(maps.Keys(b.contents(t))); !slices.Equal(got, want) {
		t.Errorf("%s the server has %v, want %v", when, got, want)
	}
}

// wantUnaccounted counts what the index remembers to have landed without a checkpoint.
func (b *bed) wantUnaccounted(t *testing.T, l *Loader, want int) {
	t.Helper()
	n := 0
	for _, err := range l.store.AllMeta(unaccountedSpace) {
		if n++; err != nil {
			t.Fatal(err)
		}
	}
	if n != want {
		t.Errorf("%d resources are not accounted for, want %d", n, want)
	}
}

// TestUndo makes batches again, of which the first have reached the server, without what only claims mentioned.
func TestUndo(t *testing.T) {
	for name, lose := range map[string]func(*testing.T, *bed, **Loader, *fhir.Batch){
		"the process is killed": func(t *testing.T, b *bed, l **Loader, lost *fhir.Batch) {
			b.after = func(int, []Entry) error { return errLost }
			if _, err := loadStream(t, takeLane(t, *l), 10, lost, nil, nil); !errors.Is(err, errLost) {
				t.Fatal(err)
			}
			b.after = nil
			for range 2 { // also before it has taken anything back
				shut(t, *l)
				*l = b.open(t)
			}
			b.wantUnaccounted(t, *l, 3)
		},
		"another lane changes a record": func(t *testing.T, b *bed, l **Loader, lost *fhir.Batch) {
			lane := takeLane(t, *l)
			other, _, err := (*l).Take(t.Context(), "topic/1")
			if err != nil {
				t.Fatal(err)
			}
			b.before = func(int, []Entry) error {
				b.before = nil
				_, err := loadStream(t, other, 100, batch(), []pipeline.Record{{Name: "member/a", Value: []byte("1")}}, nil)
				return err
			}
			if _, err := loadStream(t, lane, 10, lost, nil, []pipeline.Record{{Name: "member/a"}}); !errors.Is(err, pipeline.ErrChanged) {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t)
			b.sloppy = true
			l := b.open(t)
			if _, err := loadStream(t, takeLane(t, l), 1, batch(organization("old", "1", "x"), organization("gone", "5", "x")), nil, nil); err != nil {
				t.Fatal(err)
			}
			if _, err := loadStream(t, takeLane(t, l), 2, batch(organization("gone", "9", "")), nil, nil); err != nil {
				t.Fatal(err)
			}
			lose(t, b, &l, batch(patient("a", "1", "x"), organization("kept", "1", "x"), organization("left", "1", "x"), organization("gone", "10", "y"), organization("old", "2", "y")))
			b.wantThere(t, "before it is made again", "Organization/gone", "Organization/kept", "Organization/left", "Organization/old", "Patient/a")

			lane := takeLane(t, l)
			if _, err := loadStream(t, lane, 9, batch(), nil, nil); err != nil {
				t.Fatal(err)
			}
			b.wantThere(t, "before the lane is past it", "Organization/gone", "Organization/kept", "Organization/left", "Organization/old", "Patient/a")
			got, err := loadStream(t, lane, 10, batch(patient("a", "1", "x"), organization("kept", "1", "x"), organization("old", "2", "y")), nil, nil)
			if want := []pipeline.Outcome{created, created, updated}; err != nil || !slices.Equal(got, want) {
				t.Fatalf("outcomes %v, want %v: %v", got, want, err)
			}
			b.wantThere(t, "at the end", "Organization/kept", "Organization/old", "Patient/a")
			b.wantUnaccounted(t, l, 0)
			if known, ok, err := l.Known(t.Context(), fhir.Organization, "left"); ok || err != nil {
				t.Errorf("the index has %v: %v", known, err)
			}
			for _, ref := range []string{"Organization/kept", "Patient/a"} {
				if v := b.have[ref].version; v != 1 {
					t.Errorf("%s has version %d", ref, v)
				}
			}
			if got, err = loadStream(t, lane, 11, batch(organization("left", "1", "z")), nil, nil); err != nil || got[0] != created {
				t.Errorf("created later: %v, %v", got, err)
			}
			writes := b.writes
			if _, err = loadStream(t, lane, 12, batch(), nil, nil); err != nil || b.writes != writes {
				t.Errorf("%d writes, %v", b.writes-writes, err)
			}
			b.wantThere(t, "later", "Organization/kept", "Organization/left", "Organization/old", "Patient/a")
		})
	}
}

// TestUndoOfOthers leaves what somebody else has changed meanwhile.
func TestUndoOfOthers(t *testing.T) {
	b := newBed(t)
	b.sloppy = true
	l := b.open(t)
	b.after = func(int, []Entry) error { return errLost }
	if _, err := loadStream(t, takeLane(t, l), 10, batch(organization("left", "1", "x")), nil, nil); !errors.Is(err, errLost) {
		t.Fatal(err)
	}
	b.after = nil
	shut(t, l)
	l = b.open(t)
	b.edit("Organization/left", `{"resourceType":"Organization","id":"left","name":"theirs"}`)
	if _, err := loadStream(t, takeLane(t, l), 10, batch(), nil, nil); err != nil {
		t.Fatal(err)
	}
	b.wantThere(t, "after somebody's edit", "Organization/left")
	b.wantUnaccounted(t, l, 0)
}

func takeLane(t *testing.T, l *Loader) pipeline.StreamLane {
	t.Helper()
	lane, _, err := l.Take(t.Context(), "topic/0")
	if err != nil {
		t.Fatal(err)
	}
	return lane
}

func TestIntentOfBefore(t *testing.T) { // indexes of earlier releases have no origins
	i := intent{outcome: created, digest: Digest{1, 2}}
	text := i.encode()
	got, err := decodeIntent(text)
	if err != nil || got != i {
		t.Errorf("%v, %v", got, err)
	}
	i.from = origin{"topic/3", 1 << 40}
	if got, err = decodeIntent(i.encode()); err != nil || got != i {
		t.Errorf("%v, %v", got, err)
	}
	for _, cut := range []int{1, 2 + len(i.digest) - 1, len(text) + 3, len(text) + 8} {
		if _, err := decodeIntent(i.encode()[:cut]); !errors.Is(err, errDamaged) {
			t.Errorf("cut at %d: %v", cut, err)
		}
	}
}
