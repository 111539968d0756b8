// Package frame is what all pages of the server have in common: the layout, languages, cookies, forms that no other
// site can send, security headers, problems, static files, and the look of an agency. A set of pages (those of
// members, of developers, the documentation) makes a Frame of its own with its templates and texts, and knows what
// its pages are about; this package knows nothing of that.
package frame

import (
	"cmp"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// Config says what a set of pages shows around its contents. Zero values mean defaults where a field says so.
type Config struct {
	// Issuer is the origin of the server, as browsers reach it. With https, cookies have the prefix __Host- and are
	// Secure. http is refused but for loopback addresses.
	Issuer string

	Name    string // of the agency, as readers know it, unless Assets bring a name
	Contact string // its support: a URL or an e-mail address; "" shows none
	Phone   string // of its support, such as 1-800-555-0100; "" shows none
	TTY     string // of its support, for people who are deaf or hard of hearing, such as 711; "" shows none
	Policy  string // URL of its privacy policy; "" shows none
	Notices string // URL of its notices on language help and nondiscrimination; "" shows none

	Zone *time.Location // in which dates are written; nil is UTC

	// Key makes the tokens of forms: at least 32 bytes, the same in all processes that serve the pages.
	Key []byte

	// Session is the name of the cookie with the session's id, without its prefix: "session" is that of members.
	Session string

	// Texts are what readers read. No key may be in two of them. A key of the frame itself ("page.skip") may be
	// given: then that text is shown instead.
	Texts []Texts

	// Templates has a file NAME.html for each page NAME at its root, which defines the template "content". Files that
	// begin with _ are part of every page: they may define the block "tools" (links and forms at the top, beside the
	// languages), and what pages share. A page "problem" replaces the frame's; it gets ProblemContent.
	Templates fs.FS

	// Wide pages have a menu at the top, and room for a menu at the side, tables and columns. Others are one narrow
	// column.
	Wide bool

	// Menu is the menu at the top of wide pages; nil is none. It may set Current; if it does not, the link that fits
	// the path best is the current one.
	Menu func(v *Visit) []Link

	// Before, unless it is nil, runs before each page: it finds the session. What it returns is as if the page did.
	Before func(v *Visit) error

	// Problem, unless it is nil, shows the page of a problem: for sets of pages whose template "problem" needs another
	// content than ProblemContent. It mostly ends in ShowProblemPage.
	Problem func(v *Visit, p *ProblemError)

	// Assets are the static files, and the agency's look; nil is the frame's own. All sets of pages of a server share
	// them.
	Assets *Assets

	// Fault reports what readers could not help; nil reports nothing. The error has no value of a person if those
	// that the pages return have none.
	Fault func(path string, err error)
}

//go:embed templates/*.html
var templateFiles embed.FS

// Frame serves a set of pages. It is safe for concurrent use.
type Frame struct {
	Config
	secure    bool
	texts     Texts
	templates map[string]*template.Template
	uploads   uploads
}

// New makes a Frame. It fails if the configuration, a text or a template is wrong.
func New(c *Config) (*Frame, error) {
	f := &Frame{Config: *c, templates: map[string]*template.Template{}}
	u, err := url.Parse(f.Issuer)
	switch {
	case err != nil || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return nil, fmt.Errorf("%q is not the origin of a server, such as https://api.example.gov", f.Issuer)
	case u.Scheme == "https":
		f.secure = true
	case u.Scheme != "http" || !loopback(u.Hostname()):
		return nil, fmt.Errorf("people sign in at %s: that must be https, but for loopback addresses", f.Issuer)
	}
	switch {
	case len(f.Key) < 32:
		return nil, errors.New("the key of the forms has fewer than 32 bytes")
	case !cookieWord.MatchString(f.Session):
		return nil, fmt.Errorf("%q cannot name the cookie of a session", f.Session)
	case f.Templates == nil:
		return nil, errors.New("the pages have no templates")
	}
	if f.Zone == nil {
		f.Zone = time.UTC
	}
	if f.Assets == nil {
		if f.Assets, err = NewAssets(nil); err != nil {
			return nil, err
		}
	}
	if f.texts, err = merge(f.Config.Texts); err != nil {
		return nil, err
	}
	return f, f.parse()
}

var cookieWord = regexp.MustCompile(`^[a-z][a-z_]*$`)

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// parse reads the templates: the layout, what all pages of the set share, and each page.
func (f *Frame) parse() error {
	layout := "templates/narrow.html"
	if f.Wide {
		layout = "templates/wide.html"
	}
	base, err := template.ParseFS(templateFiles, "templates/parts.html", layout)
	if err != nil {
		return fmt.Errorf("layout: %w", err)
	}
	files, err := fs.Glob(f.Templates, "*.html")
	if err != nil {
		return err
	}
	for _, file := range files {
		if strings.HasPrefix(file, "_") {
			if base, err = base.ParseFS(f.Templates, file); err != nil {
				return fmt.Errorf("template %s: %w", file, err)
			}
		}
	}
	add := func(of fs.FS, file, name string) error {
		t, err := base.Clone()
		if err == nil {
			t, err = t.ParseFS(of, file)
		}
		if err != nil {
			return fmt.Errorf("template %s: %w", file, err)
		}
		if t.Lookup("content") == nil {
			return fmt.Errorf("template %s does not define the content of a page", file)
		}
		f.templates[name] = t
		return nil
	}
	if err := add(templateFiles, "templates/problem.html", "problem"); err != nil {
		return err
	}
	for _, file := range files {
		if !strings.HasPrefix(file, "_") {
			if err := add(f.Templates, file, strings.TrimSuffix(file, ".html")); err != nil {
				return err
			}
		}
	}
	return nil
}

// Agency is whose pages they are, in a language: as the agency's folder says, or else the configuration.
func (f *Frame) Agency(lang string) string { return cmp.Or(f.Assets.name(lang), f.Name) }

const bodyMax = 64 << 10

// Handle serves a page. Errors become pages too: a *ProblemError its own, others ErrFault.
func (f *Frame) Handle(page func(*Visit) error) http.Handler { return f.HandleUpload(bodyMax, page) }

// HandleUpload is Handle for forms with documents. maxBytes is of the whole body. Little of a document is held in memory, the
// rest is in temporary files until the request is answered; so a page should find out who sends them before it calls ReadForm.
func (f *Frame) HandleUpload(maxBytes int64, page func(*Visit) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := &Visit{W: w, R: r, f: f, most: maxBytes}
		defer v.clean()
		r.Body = http.MaxBytesReader(w, r.Body, maxBytes)
		v.Lang = v.language()
		v.form = v.id("form")
		var err error
		if f.Before != nil {
			err = f.Before(v)
		}
		if err == nil {
			err = page(v)
		}
		if err != nil {
			v.ShowProblem(v.Problem(err))
		}
	})
}

// Missing is the page for addresses at which there is none.
func (f *Frame) Missing() http.Handler { return f.Handle(func(*Visit) error { return ErrMissing }) }

// Static serves the static files: GET /static/{name}. One Frame's handler serves the files of all that share Assets.
func (f *Frame) Static() http.Handler { return f.Assets.handler(f.Missing()) }
