package developers

import (
	"cpcds2fhir/internal/site/desk"
	"cpcds2fhir/internal/site/frame"
)

// PublicMenu is the menu of pages that everybody reads, such as the documentation. Whoever has a session gets a link to
// their own pages, and finds out there whether it still holds.
func (s *Site) PublicMenu(v *frame.Visit) []frame.Link {
	text := func(key string) string { return s.desk.Text(v.Lang, key) }
	list := s.publicLinks(text)
	if v.SessionID() != "" {
		return append(list, frame.Link{Text: text("menu.dashboard"), URL: desk.HomePath, Button: true})
	}
	return append(list, frame.Link{Text: text("menu.signin"), URL: desk.SignInPath, Button: true})
}

// publicLinks are the links of the menu that are the same for everybody.
func (s *Site) publicLinks(text func(key string) string) []frame.Link {
	list := []frame.Link{{Text: text("menu.home"), URL: "/"}}
	if len(s.Documentation) > 0 {
		list = append(list, frame.Link{Text: text("menu.documentation"), URL: s.Documentation[0].URL})
	}
	if s.Portal.Rules.Directory {
		list = append(list, frame.Link{Text: text("menu.directory"), URL: "/apps-directory"})
	}
	return append(list, frame.Link{Text: text("menu.support"), URL: "/support"})
}
