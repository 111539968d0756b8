package main

import (
	"reflect"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"cpcds2fhir/internal/fhirclient"
)

// TestFullServerConfig: the file that probe prints has every setting, and no other.
func TestFullServerConfig(t *testing.T) {
	c := new(fhirclient.Config)
	if err := yaml.UnmarshalWithOptions([]byte(fullServerConfig), c, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	if err := c.Check(); err != nil {
		t.Error(err)
	}
	var keys func(at string, of reflect.Type)
	keys = func(at string, of reflect.Type) {
		for f := range of.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			key := strings.TrimPrefix(at+"."+name, ".")
			if lineOf([]byte(fullServerConfig), key) == 0 {
				t.Errorf("the file does not have %s", key)
			}
			if f.Type.Kind() == reflect.Struct {
				keys(key, f.Type)
			}
		}
	}
	keys("", reflect.TypeFor[fhirclient.Config]())
}

// TestServerState: the state folder of a server is named after it, and holds no credentials.
func TestServerState(t *testing.T) {
	for url, want := range map[string]string{
		"https://FHIR.example.org/r4/fhir/": "fhir.example.org-r4-fhir.state",
		"http://127.0.0.1:8080/fhir":        "127.0.0.1-8080-fhir.state",
		"https://x.example.org":             "x.example.org.state",
		"http://[::1]:80/a%2Fb":             "---1--80-a-2Fb.state",
		"https://..example.org/../..":       "example.org-..-...state",
	} {
		target, err := parseTarget("fhir:" + url)
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if got := target.state(""); got != want || strings.ContainsAny(got, `/\:`) {
			t.Errorf("the state of %s is in %s, want %s", url, got, want)
		}
		bulk, err := parseTarget("import:" + url)
		if err != nil || bulk.state("") != target.state("") {
			t.Errorf("%s: an import has another state folder", url)
		}
	}
}
