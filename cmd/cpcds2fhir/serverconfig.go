package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/parser"
	"github.com/spf13/cobra"

	"cpcds2fhir/internal/fhirclient"
	"cpcds2fhir/loaders/bulkimport"
)

// serverFlags say how to reach a FHIR server, and where files for its bulk import are.
type serverFlags struct {
	file          string
	stage, listen string
	start         map[string]string
	keepStage     bool
}

// register adds the flags of a command that may write to a server.
func (f *serverFlags) register(c *cobra.Command) {
	f.registerFile(c)
	fl := c.Flags()
	fl.StringVar(&f.stage, "stage", "", "import: put the files where the server can read them, at `URL`: file:///DIR, s3://BUCKET/PATH, gs://… or azblob://… (default: the state folder, offered over HTTP)")
	fl.StringVar(&f.listen, "listen", "", "import: offer the files of a folder at `HOST:PORT` (default: a free port of 127.0.0.1)")
	fl.StringToStringVar(&f.start, "import-with", nil, "import: what the kick-off needs besides, as `NAME=VALUE`, such as data_access_role=ARN; may be repeated")
	fl.BoolVar(&f.keepStage, "keep-stage", false, "import: keep the files when the load is complete")
	completeFlag(c, "listen", cobra.NoFileCompletions)
	completeFlag(c, "stage", cobra.FixedCompletions([]string{"file:///", "s3://", "gs://", "azblob://"}, cobra.ShellCompDirectiveNoSpace))
	completeFlag(c, "import-with", func(*cobra.Command, []string, string) (names []string, _ cobra.ShellCompDirective) {
		for _, name := range slices.Sorted(maps.Keys(bulkimport.StartSettings)) {
			names = append(names, cobra.CompletionWithDesc(name+"=", bulkimport.StartSettings[name]))
		}
		return names, cobra.ShellCompDirectiveNoSpace
	})
}

// registerFile adds the flag of a command that only asks a server.
func (f *serverFlags) registerFile(c *cobra.Command) {
	c.Flags().StringVar(&f.file, "server", "", "a server's authentication, limits and rules are in this YAML `FILE`; 'cpcds2fhir server probe --print-config' prints one")
	cobra.CheckErr(c.MarkFlagFilename("server", "yaml", "yml"))
}

// check refuses flags that mean nothing for the target.
func (f *serverFlags) check(t target) error {
	s, ok := t.(serverTarget)
	switch {
	case f.file != "" && !ok:
		return usagef("--server is for targets that are servers, such as fhir:https://server.example.org/fhir; %s is none", t)
	case (f.stage != "" || f.listen != "" || len(f.start) > 0 || f.keepStage) && (!ok || !s.bulk):
		return usagef("--stage, --listen, --import-with and --keep-stage are for bulk imports, such as into import:https://server.example.org/fhir; %s is none", t)
	}
	return nil
}

// config reads the file, if one is named, for a target.
func (f *serverFlags) config(t target) (*fhirclient.Config, error) {
	c, err := new(fhirclient.Config), error(nil)
	if f.file != "" {
		c, err = readServerConfig(f.file)
	}
	if s, ok := t.(serverTarget); err == nil && ok {
		err = s.permitted(c)
	}
	return c, err
}

// readServerConfig reads the YAML of --server.
func readServerConfig(path string) (*fhirclient.Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, environmentf("read the settings of the server: %w", err)
	}
	c := new(fhirclient.Config)
	if len(strings.TrimSpace(string(text))) == 0 {
		return c, nil
	}
	if err := yaml.UnmarshalWithOptions(text, c, yaml.Strict()); err != nil {
		return nil, usagef("%s: %s", path, describeYAML(text, err))
	}
	if err := c.Check(); err != nil {
		return nil, usagef("%s", atSetting(path, text, "", err))
	}
	return c, nil
}

// atSetting says in which line of a file a wrong setting is. The settings of the error are below a key of
// the file, or "".
func atSetting(path string, text []byte, below string, err error) string {
	wrong, ok := errors.AsType[*fhirclient.ConfigError](err)
	if !ok {
		return fmt.Sprintf("%s: %s", path, err)
	}
	setting := strings.TrimPrefix(below+"."+wrong.Setting, ".")
	message := setting + " " + wrong.What
	for name := setting; name != ""; { // the setting itself, or the nearest above it that is there
		if line := lineOf(text, name); line > 0 {
			return fmt.Sprintf("%s:%d: %s", path, line, message)
		}
		name = name[:max(strings.LastIndexByte(name, '.'), 0)]
	}
	return fmt.Sprintf("%s: %s", path, message)
}

// lineOf returns the line of a setting in a YAML file, 0 if it is not there.
func lineOf(text []byte, setting string) int {
	p, err := yaml.PathString("$." + setting)
	if err != nil {
		return 0
	}
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		return 0
	}
	node, err := p.FilterFile(file)
	if err != nil || node == nil {
		return 0
	}
	return node.GetToken().Position.Line
}

// fullServerConfig is a file for --server with all settings.
const fullServerConfig = `# Settings of a FHIR server, for --server FILE, or for the section 'server' of a stream.yaml. Every key may be left
# out: its default follows from the server's profile, or is said here. Unknown keys are errors.

profile: ""                   # hapi, azure, google, healthlake, aidbox, medplum, blaze, generic, ...; empty: recognised by /metadata
ids: ""                       # client: resources keep our ids; conditional: the server makes its own
bundle: ""                    # transaction or batch

entries: 0                    # most entries of a bundle; 0: as the profile says, here and below
bytes: 0                      # most bytes of a bundle
concurrency: 0                # most requests at once; how many there really are follows from how the server answers
timeout: 0s                   # of one request
patience: 0s                  # how long a server that is away or overloaded is tried again before the run stops

headers: {}                   # more headers of every request, such as {X-Api-Key: "env:API_KEY"}

conflicts: report             # what somebody else has changed on the server is rejected; overwrite: it is replaced
deletions: delete             # delete, or mark: as entered in error, or as not active

insecure: false               # http is allowed to other hosts than this one

auth:
  type: none                  # none, smart-backend, client-secret, bearer, basic, google, azure or aws
  client_id: ""               # smart-backend, client-secret
  token_url: ""               # empty: that of /.well-known/smart-configuration
  scopes: []                  # such as [system/*.cud, system/*.rs]
  key: ""                     # smart-backend: a file with a JWK, a JWK set or a PEM key; read again when it changes
  key_id: ""                  # of the key to sign with; empty: the first of the set
  algorithm: ""               # RS384 or ES384; empty: as the key demands
  audience: ""                # empty: the token URL; azure: of the token, empty: the server
  secret: ""                  # client-secret: env:NAME or file:PATH, as all secrets
  token: ""                   # bearer
  username: ""                # basic
  password: ""                # basic
  region: ""                  # aws

tls:
  ca: ""                      # a file with further certificate authorities
  cert: ""                    # of the client, for mutual TLS
  key: ""
  server_name: ""
`
