package accounts

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestRequestLog(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		ok(t, w.LogRequests(ctx, nil))
		start := w.now()
		var batch []ClientRequest
		for i := range 250 {
			batch = append(batch, ClientRequest{
				Client: "app", At: start.Add(time.Duration(i) * time.Second), Method: "GET", Route: "GET /Patient/{id}", Status: 200, Request: fmt.Sprint("r", i),
			})
		}
		batch = append(batch,
			ClientRequest{Client: "other", Method: "POST", Route: "token refresh_token", Status: 400, Cause: "invalid_grant", Request: "x"},
			ClientRequest{Client: "none", Method: "POST", Route: "token refresh_token", Status: 401},
			ClientRequest{Client: "a\x00p\xffp", Method: "POST", Route: "token refresh_token", Status: 401})
		ok(t, w.LogRequests(ctx, batch))
		same(t, count(t, w.Accounts, `SELECT COUNT(*) FROM client_requests`), 251) // not of clients that there are not

		got, err := w.Requests(ctx, "other", time.Time{}, 10)
		ok(t, err)
		want := batch[250]
		want.At = start // none was given
		same(t, got, []ClientRequest{want})

		var all []ClientRequest
		for before := (time.Time{}); ; before = all[len(all)-1].At {
			page, err := w.Requests(ctx, "app", before, 100)
			ok(t, err)
			if len(page) == 0 {
				break
			}
			all = append(all, page...)
		}
		same(t, len(all), 250)
		for i, r := range all {
			same(t, r, batch[249-i])
		}
		for _, limit := range []int{0, -1} {
			got, err := w.Requests(ctx, "app", time.Time{}, limit)
			ok(t, err)
			same(t, len(got), 0)
		}
	})
}

func TestRequestsOfOneMillisecondAreOnOnePage(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		var batch []ClientRequest
		for i := range 9 {
			batch = append(batch, ClientRequest{Client: "app", At: w.now().Add(time.Duration(i/3) * time.Millisecond), Route: "GET /metadata", Status: 200})
		}
		ok(t, w.LogRequests(ctx, batch))
		var before time.Time
		for range 3 {
			page, err := w.Requests(ctx, "app", before, 2)
			ok(t, err)
			same(t, len(page), 3)
			before = page[2].At
		}
		page, err := w.Requests(ctx, "app", before, 2)
		ok(t, err)
		same(t, len(page), 0)
	})
}

func TestTextsOfTheRequestLog(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		ok(t, w.LogRequests(ctx, []ClientRequest{{
			Client: "app", Method: "G\x00ET", Route: "GET /a\r\nb" + strings.Repeat("é", 200), Status: 404, Cause: "not-found\xff", Request: strings.Repeat("r", 300),
		}}))
		got, err := w.Requests(ctx, "app", time.Time{}, 1)
		ok(t, err)
		same(t, got, []ClientRequest{{
			Client: "app", At: w.now(), Method: "GET", Route: "GET /ab" + strings.Repeat("é", 96), Status: 404, Cause: "not-found", Request: strings.Repeat("r", 200),
		}})
	})
}

func TestRequestsBy(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		since := w.now()
		ok(t, w.LogRequests(ctx, []ClientRequest{
			{Client: "app", At: since.Add(-time.Millisecond), Route: "GET /Patient/{id}", Status: 200},
			{Client: "app", At: since, Route: "GET /Patient/{id}", Status: 200},
			{Client: "app", At: since.Add(time.Second), Route: "GET /Patient/{id}", Status: 200},
			{Client: "app", At: since.Add(time.Second), Route: "GET /Patient/{id}", Status: 403, Cause: "forbidden"},
			{Client: "app", At: since.Add(time.Second), Route: "token refresh_token", Status: 200},
			{Client: "other", At: since.Add(time.Second), Route: "token refresh_token", Status: 200},
		}))
		got, err := w.RequestsBy(ctx, "app", since)
		ok(t, err)
		same(t, got, map[string]int{"GET /Patient/{id} 200": 2, "GET /Patient/{id} 403": 1, "token refresh_token 200": 1})
		got, err = w.RequestsBy(ctx, "none", since)
		ok(t, err)
		same(t, got, map[string]int{})
	})
}

func TestRequestsExpire(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		batch := make([]ClientRequest, MostRequests+2100)
		for i := range batch {
			batch[i] = ClientRequest{Client: "app", At: w.now().Add(time.Duration(i) * time.Millisecond), Route: "GET /metadata", Status: 200}
		}
		ok(t, w.LogRequests(ctx, batch))
		ok(t, w.LogRequests(ctx, []ClientRequest{{Client: "other", At: w.now(), Route: "GET /metadata", Status: 200}}))
		ok(t, w.Expire(ctx))
		of := func(client string) int {
			return count(t, w.Accounts, `SELECT COUNT(*) FROM client_requests WHERE client = $1`, client)
		}
		same(t, []int{of("app"), of("other")}, []int{MostRequests, 1})
		got, err := w.RequestsBy(ctx, "app", w.now().Add(2100*time.Millisecond)) // the newest are there
		ok(t, err)
		same(t, got, map[string]int{"GET /metadata 200": MostRequests})

		w.pass(KeepRequests)
		ok(t, w.Expire(ctx))
		same(t, []int{of("app"), of("other")}, []int{MostRequests, 1})
		w.pass(time.Millisecond)
		ok(t, w.Expire(ctx))
		same(t, []int{of("app"), of("other")}, []int{MostRequests, 0})
		w.pass(time.Minute)
		ok(t, w.Expire(ctx))
		same(t, of("app"), 0)

		ok(t, w.LogRequests(ctx, []ClientRequest{{Client: "other", Route: "GET /metadata", Status: 200}}))
		ok(t, w.RemoveClient(ctx, "other"))
		same(t, of("other"), 0)
	})
}

func TestRequestsThatCouldNotBeKept(t *testing.T) {
	w := newWorld(t, "sqlite:"+t.TempDir()+"/a.db")
	ok(t, w.Close())
	for _, err := range []error{
		w.LogRequests(ctx, []ClientRequest{{Client: "app"}}),
		func() error { _, err := w.Requests(ctx, "app", time.Time{}, 1); return err }(),
		func() error { _, err := w.RequestsBy(ctx, "app", time.Time{}); return err }(),
		w.Expire(ctx),
	} {
		if err == nil || errors.Is(err, ErrNotFound) {
			t.Errorf("got %v", err)
		}
	}
}
