package main

import (
	"context"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/api"
	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/rates"
)

// clientLog keeps what apps ask for, where their developers read it: route, status and time, and no value. It never
// makes a request wait: what is too much for a moment is left out, and counted.
type clientLog struct {
	accounts *accounts.Accounts
	log      *zap.Logger
	most     *rates.Rates // requests of an app that are kept
	claimed  *rates.Rates // and those that only say that they are of the app

	mu      sync.Mutex
	waiting []accounts.ClientRequest
	lost    int

	stop    func()
	stopped chan struct{}
}

const (
	clientLogWaiting = 4096
	clientLogEvery   = time.Second
)

// newClientLog keeps at most so many requests a minute of an app; 0 is no log, and nil.
func newClientLog(ctx context.Context, a *accounts.Accounts, perMinute int, log *zap.Logger) *clientLog {
	if perMinute == 0 {
		return nil
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx)) // requests that are under way at the end count too
	l := &clientLog{stop: stop, accounts: a, log: log, most: rates.New(float64(perMinute)/60, perMinute),
		claimed: rates.New(float64(max(1, perMinute/20))/60, max(1, perMinute/20)), stopped: make(chan struct{})}
	go l.run(ctx)
	return l
}

func (l *clientLog) run(ctx context.Context) {
	defer close(l.stopped)
	t := time.NewTicker(clientLogEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			l.keep(context.WithoutCancel(ctx))
			return
		case <-t.C:
			l.keep(ctx)
		}
	}
}

// close ends the log, once what was asked for is kept.
func (l *clientLog) close() {
	if l != nil {
		l.stop()
		<-l.stopped
	}
}

func (l *clientLog) keep(ctx context.Context) {
	l.mu.Lock()
	list, lost := l.waiting, l.lost
	l.waiting, l.lost = nil, 0
	l.mu.Unlock()
	if lost > 0 {
		l.log.Warn("requests of apps are missing in their log, because there were too many", zap.Int("requests", lost))
	}
	if len(list) == 0 {
		return
	}
	if err := l.accounts.LogRequests(ctx, list); err != nil {
		l.log.Warn("requests of apps are missing in their log", zap.Int("requests", len(list)), zap.String("error", message(err)))
	}
}

// add keeps a request of an app. proved says that it is the app's: ids of apps are known to everybody, and others must not
// be able to fill its log.
func (l *clientLog) add(r *accounts.ClientRequest, proved bool) {
	if l == nil || r.Client == "" {
		return
	}
	of := l.most
	if !proved {
		of = l.claimed
	}
	if of.Take(r.Client) > 0 {
		return
	}
	r.At = time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) >= clientLogWaiting {
		l.lost++
		return
	}
	l.waiting = append(l.waiting, *r)
}

// answered notes an answer of the API.
func (l *clientLog) answered(a *api.Answer) {
	if l == nil {
		return
	}
	client := a.Client
	if a.Access != nil {
		client = a.Access.Client
	}
	r := &accounts.ClientRequest{Client: client, Method: a.Method, Route: routeOf(a), Status: a.Status, Request: a.Request}
	if a.Client != "" {
		r.Cause = "invalid_token"
	}
	l.add(r, true)
}

// routeOf is the route of an answer as the log has it: a template, and never an id.
func routeOf(a *api.Answer) string {
	path := "/" + a.Type
	switch a.Route {
	case "search":
		if a.Method == http.MethodPost {
			path += "/_search"
		}
		if a.Later {
			path += portal.PageRoute
		}
	case "read":
		path += "/{id}"
	case "vread":
		path += "/{id}/_history/{version}"
	case "history":
		path += "/{id}/_history"
	case "everything":
		path += "/{id}/$everything"
	default:
		path = "/" + a.Route
	}
	return a.Method + " " + path
}

// happened notes what the authorization server did for an app.
func (l *clientLog) happened(client, action string) {
	route := action
	switch action {
	case "token":
		route = portal.CodeRoute
	case "refresh":
		route = portal.RefreshRoute
	case "service":
		route = portal.ServiceRoute
	case "revoke":
		route = portal.RevokeRoute
	}
	l.add(&accounts.ClientRequest{Client: client, Method: http.MethodPost, Route: route, Status: http.StatusOK}, true)
}

// refused notes what the authorization server did not do.
func (l *clientLog) refused(client, endpoint, code, reason string) {
	status := 400
	if code == "invalid_client" {
		status = 401
	}
	cause := code
	if reason != "" && reason != code {
		cause += ": " + reason
	}
	l.add(&accounts.ClientRequest{Client: client, Method: http.MethodPost, Route: endpoint, Status: status, Cause: cause}, false)
}
